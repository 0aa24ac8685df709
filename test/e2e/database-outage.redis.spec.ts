import { describeDatabaseOutage } from './database-outage.suite.js';

describeDatabaseOutage('redis');
