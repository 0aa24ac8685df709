export { Code, RpcError, type ErrorDetail, type FieldViolation, type RpcErrorOptions } from './rpc-error.js';
export { BasePathTaken } from './http-transport.js';
export type { Authenticate } from './access.guard.js';
export { Message, Rpc } from './rpc.decorator.js';
export {
  callIsCostly,
  currentClient,
  currentIdentity,
  currentRequestId,
  currentSource,
  currentUserAgent,
  type Identity,
  identifyCaller,
} from './call.js';
export { sourceOf } from './client-address.js';
export { packageDefinition } from './grpc-transport.js';
export { Readiness } from './readiness.js';
export { InvalidRequest, messageFromJson } from './request-message.js';
export { createRpcApp, type RpcApp, type RpcAppOptions } from './rpc-app.js';
export { type SourceAllowance, SourceLimiter } from './source-limiter.js';
export type { TranslateError } from './rpc.filter.js';
export { type DocumentOptions, openApiDocument } from './openapi/document.js';
