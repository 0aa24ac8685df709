export { type Health, startProbes } from './probes.js';
export type { Service } from './resource.js';
export { startTelemetry, TelemetryModule } from './telemetry.js';
