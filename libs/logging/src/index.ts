export { Logger } from 'nestjs-pino';
export { LoggingModule } from './logging.module.js';
export { withLogFields } from './log-fields.js';
