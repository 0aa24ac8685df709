/**
 * The anchors of a call: a bare grpc-js and a bare Fastify handler that do the
 * query of VerifyEmail and answer that there is no such token. No framework, no
 * validation, no log, no request id.
 */
import type { AddressInfo } from 'node:net';
import { createHash } from 'node:crypto';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { Server, ServerCredentials, type handleUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import { fastify } from 'fastify';
import pg from 'pg';
import { answer } from '../lib/contestant.ts';
import { VerifyEmailRequestSchema, VerifyEmailResponseSchema } from '../lib/contract.ts';
import type { VerifyEmailRequest, VerifyEmailResponse } from '@app/contract';

const MESSAGE = 'this verification link is not valid, or no longer';
const FAILED_PRECONDITION = 9;
const pool = new pg.Pool({ connectionString: process.env['DATABASE_URL'], max: 10 });

async function redeem(token: string): Promise<boolean> {
  const { rowCount } = await pool.query(
    `SELECT link.email
     FROM email_verification AS link JOIN users ON users.id = link.user_id AND users.email = link.email
     WHERE link.token_digest = $1 AND (users.is_email_verified OR (link.used_at IS NULL AND link.expires_at > now() AND NOT EXISTS (
       SELECT FROM users AS owner WHERE lower(owner.email) = lower(users.email) AND owner.is_email_verified)))`,
    [createHash('sha256').update(token).digest()],
  );
  return rowCount === 1;
}

const http = fastify();
http.post<{ Body: { token: string } }>('/v1/verify_email', async (request, reply) => {
  if (await redeem(request.body.token)) return {};
  reply.code(400);
  return { code: FAILED_PRECONDITION, message: MESSAGE, details: [] };
});
await http.listen({ host: '127.0.0.1', port: 0 });

const grpc = new Server();
const refuse = async (token: string, callback: sendUnaryData<VerifyEmailResponse>): Promise<void> => {
  try {
    await redeem(token);
    callback({ code: FAILED_PRECONDITION, details: MESSAGE });
  } catch (error) {
    callback(error as Error);
  }
};
const verifyEmail: handleUnaryCall<VerifyEmailRequest, VerifyEmailResponse> = (call, callback) => void refuse(call.request.token, callback);
grpc.addService(
  {
    verifyEmail: {
      path: '/account.v1.UserService/VerifyEmail',
      requestStream: false,
      responseStream: false,
      requestSerialize: (message: VerifyEmailRequest) => Buffer.from(toBinary(VerifyEmailRequestSchema, message)),
      requestDeserialize: (bytes: Buffer) => fromBinary(VerifyEmailRequestSchema, bytes),
      responseSerialize: (message: VerifyEmailResponse) => Buffer.from(toBinary(VerifyEmailResponseSchema, message)),
      responseDeserialize: (bytes: Buffer) => fromBinary(VerifyEmailResponseSchema, bytes),
    },
  },
  { verifyEmail: verifyEmail as never },
);
const grpcPort = await new Promise<number>((resolve, reject) => {
  grpc.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => (error ? reject(error) : resolve(port)));
});

answer({ ports: () => ({ http: (http.server.address() as AddressInfo).port, grpc: grpcPort }) });
