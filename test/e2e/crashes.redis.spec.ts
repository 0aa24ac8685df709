import { describeCrashes } from './crashes.suite.js';

describeCrashes('redis');
