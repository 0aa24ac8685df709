export { isCutShort, isDatabaseUnavailable, isLockTimeout, isMissingInSchema, isTransient, uniqueViolation } from './errors.js';
export { PoolClient } from './pool-client.js';
