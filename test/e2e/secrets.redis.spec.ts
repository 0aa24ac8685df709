import { describeSecrets } from './secrets.suite.js';

describeSecrets('redis');
