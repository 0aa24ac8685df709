export { Code, RpcError, type ErrorDetail, type FieldViolation, type RpcErrorOptions } from './rpc-error.js';
export { BasePathTaken } from './http-transport.js';
export { Message, Rpc } from './rpc.decorator.js';
export { currentClient, currentRequestId } from './call.js';
export { packageDefinition } from './grpc-transport.js';
export { Readiness } from './readiness.js';
export { InvalidRequest, messageFromJson } from './request-message.js';
export { createRpcApp, type RpcApp, type RpcAppOptions } from './rpc-app.js';
export type { TranslateError } from './rpc.filter.js';
