export { isCutShort, isDatabaseUnavailable, isMissingInSchema, isTransient, uniqueViolation } from './errors.js';
export { PoolClient } from './pool-client.js';
