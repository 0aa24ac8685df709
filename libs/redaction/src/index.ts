export { describeError, scrub, type ErrorDescription } from './redaction.js';
