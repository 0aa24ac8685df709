export * from './gen/account/v1/session_service_pb.js';
export * from './gen/account/v1/user_service_pb.js';
// The error model, and the option that binds a method to HTTP: libs/rpc builds on them.
export { http as httpOption } from './gen/google/api/annotations_pb.js';
export type { HttpRule } from './gen/google/api/http_pb.js';
export {
  BadRequestSchema,
  type BadRequest,
  ErrorInfoSchema,
  type ErrorInfo,
  RetryInfoSchema,
  type RetryInfo,
} from './gen/google/rpc/error_details_pb.js';
export { StatusSchema, type Status } from './gen/google/rpc/status_pb.js';
// Who may call a method.
export { Access, access as accessOption } from './gen/access/v1/access_pb.js';
// grpc.health.v1, which the rpc library serves: what server reflection tells of it.
export { file_health_v1_health as healthFile } from './gen/health/v1/health_pb.js';
// The contract as OpenAPI says it.
export { default as openApi } from './openapi.json' with { type: 'json' };
