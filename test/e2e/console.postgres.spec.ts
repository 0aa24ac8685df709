import { describeConsole } from './console.suite.js';

describeConsole('postgres');
