export { boundShutdown } from './bound-shutdown.js';
