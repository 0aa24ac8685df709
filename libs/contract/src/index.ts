export * from './gen/account/v1/user_service_pb.js';
