export { Config, InvalidEnvironment } from './config.js';
export { ConfigModule } from './config.module.js';
export { assertPortsAvailable, portUnavailable, PortUnavailable } from './ports.js';
