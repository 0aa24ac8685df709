export { isCutShort, isDatabaseUnavailable, isMissingInSchema, uniqueViolation } from './errors.js';
export { PoolClient } from './pool-client.js';
