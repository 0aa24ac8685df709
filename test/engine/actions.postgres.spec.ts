import { describeActions } from './actions.suite.js';

describeActions('postgres');
