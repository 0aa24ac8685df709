import { describeLifecycle } from './lifecycle.suite.js';

describeLifecycle('redis');
