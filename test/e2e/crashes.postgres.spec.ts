import { describeCrashes } from './crashes.suite.js';

describeCrashes('postgres');
