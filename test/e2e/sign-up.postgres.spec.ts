import { describeSignUp } from './sign-up.suite.js';

describeSignUp('postgres');
