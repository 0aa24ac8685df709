import { describeConsole } from './console.suite.js';

describeConsole('redis');
