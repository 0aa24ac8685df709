import { describeClocks } from './clocks.suite.js';

describeClocks('postgres');
