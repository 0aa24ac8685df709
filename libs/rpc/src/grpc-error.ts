import { toBinary } from '@bufbuild/protobuf';
import { Metadata } from '@grpc/grpc-js';
import { StatusSchema } from '@app/contract';
import { Code, RpcError } from './rpc-error.js';

const STATUS_DETAILS = 'grpc-status-details-bin';

/** What grpc-js makes a status of. */
export interface GrpcStatus {
  readonly code: number;
  readonly details: string;
  readonly metadata: Metadata;
}

/** An error as gRPC carries it; its google.rpc.Status is in `grpc-status-details-bin`. */
export function grpcError(error: RpcError): GrpcStatus {
  const metadata = new Metadata();
  metadata.set(STATUS_DETAILS, Buffer.from(toBinary(StatusSchema, error.toStatus())));
  return { code: error.code, details: error.message, metadata };
}

/** A status with the details that every error has, also where grpc-js made it itself. */
export function withDetails(code: Code, message: string, metadata: Metadata): Metadata {
  if (code === Code.OK || metadata.get(STATUS_DETAILS).length > 0) return metadata;
  // What grpc-js finds too large is all that it calls exhausted.
  const error = code === Code.RESOURCE_EXHAUSTED ? RpcError.tooLarge(message) : new RpcError(code, message);
  metadata.merge(grpcError(error).metadata);
  return metadata;
}
