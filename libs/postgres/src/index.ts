export { Client, type Limits } from './client.js';
export { isCutShort, isDatabaseUnavailable, isLockTimeout, isMissingInSchema, isTransient, uniqueViolation } from './errors.js';
export { limit } from './limit.js';
export { observePool } from './observe-pool.js';
export { Pool } from './pool.js';
export { PoolClient } from './pool-client.js';
