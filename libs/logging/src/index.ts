export { createLogger, LoggingModule } from './logging.module.js';
export { withLogFields } from './log-fields.js';
