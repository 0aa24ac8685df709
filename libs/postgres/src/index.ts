export { isCutShort, isDatabaseUnavailable, uniqueViolation } from './errors.js';
export { PoolClient } from './pool-client.js';
