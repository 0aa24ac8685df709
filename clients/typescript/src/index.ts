/** A typed client of Waybill's API, for Node 20 and later and for browsers. */
export { type Call, type CallOptions, type Client, type ClientOptions, createClient } from './client.js';
export { Code, type FieldViolation, ValidationError, WaybillError } from './errors.js';
export * from './gen/account/v1/session_service_pb.js';
export * from './gen/account/v1/user_service_pb.js';
