import { describeClocks } from './clocks.suite.js';

describeClocks('redis');
