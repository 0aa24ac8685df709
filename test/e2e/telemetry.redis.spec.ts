import { describeTelemetry } from './telemetry.suite.js';

describeTelemetry('redis');
