export { Config, InvalidEnvironment } from './config.js';
export { ConfigModule } from './config.module.js';
export { parseQueueWeights, type QueueShare, type QueueWeights } from './queue-weights.js';
