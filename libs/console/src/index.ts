export { startConsole } from './console-server.js';
