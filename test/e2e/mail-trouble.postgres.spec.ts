import { describeMailTrouble } from './mail-trouble.suite.js';

describeMailTrouble('postgres');
