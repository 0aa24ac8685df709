import { describeOperators } from './operators.suite.js';

describeOperators('redis');
