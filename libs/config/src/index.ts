export { Config, InvalidEnvironment } from './config.js';
export { ConfigModule } from './config.module.js';
export { assertPortsAvailable, portUnavailable, PortUnavailable, type PortVariable } from './ports.js';
export type { TraceSettings } from './traces.js';
export { version } from './version.js';
