export { describeError, type ErrorDescription, MAX_DESCRIPTION } from './error-description.js';
export { redact, redactionRoom, type RedactionRoom } from './redact.js';
export { isSecretName, MAX_STACK, MAX_TEXT, scrub } from './scrub.js';
