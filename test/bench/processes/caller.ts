/** Calls a server, so many calls at a time, and counts the answers by their code. */
import { create, toBinary } from '@bufbuild/protobuf';
import { answer } from '../lib/contestant.ts';
import { CreateSessionRequestSchema, CreateUserRequestSchema, VerifyEmailRequestSchema } from '../lib/contract.ts';
import { GrpcConnection } from '../lib/grpc-caller.ts';
import { HttpConnection } from '../lib/http-caller.ts';
import { now } from '../lib/clock.ts';
import { PASSWORD } from '../lib/password.ts';

interface Load {
  call: 'signUp' | 'logIn' | 'verifyEmail';
  transport: 'grpc' | 'http';
  port: number;
  count: number;
  /** Calls under way at any time. */
  callers: number;
  /** Keeps the names of different runs apart. */
  run: string;
}

const PATHS = {
  signUp: { http: '/v1/users', grpc: '/account.v1.UserService/CreateUser' },
  logIn: { http: '/v1/sessions', grpc: '/account.v1.SessionService/CreateSession' },
  verifyEmail: { http: '/v1/verify_email', grpc: '/account.v1.UserService/VerifyEmail' },
};
/** gRPC calls share a few connections, as a client's do. */
const GRPC_CONNECTIONS = 2;

const signUpOf = (name: string) => ({ username: name, fullName: 'Bench Mark', email: `${name}@example.com`, password: PASSWORD });
/** As long as a token is, or it would be refused unasked. */
const tokenOf = (name: string) => ({ token: `nobody-was-sent-this-${name}`.padEnd(43, '-') });

function requestOf(call: Load['call'], name: string): { json: string; binary: Uint8Array } {
  if (call === 'signUp') {
    const message = signUpOf(name);
    return { json: JSON.stringify(message), binary: toBinary(CreateUserRequestSchema, create(CreateUserRequestSchema, message)) };
  }
  if (call === 'logIn') {
    const message = { login: name, password: PASSWORD };
    return { json: JSON.stringify(message), binary: toBinary(CreateSessionRequestSchema, create(CreateSessionRequestSchema, message)) };
  }
  const message = tokenOf(name);
  return { json: JSON.stringify(message), binary: toBinary(VerifyEmailRequestSchema, create(VerifyEmailRequestSchema, message)) };
}

answer({
  load: async ({ call, transport, port, count, callers, run }: Load) => {
    const codes: Record<string, number> = {};
    // Made before the time is taken: encoding them is no server's work.
    const requests = Array.from({ length: count }, (_, number) => requestOf(call, `${run}_${number}`));
    const path = PATHS[call][transport];
    const grpc = transport === 'grpc' ? Array.from({ length: GRPC_CONNECTIONS }, () => new GrpcConnection(port, path)) : [];
    const http = transport === 'http' ? await Promise.all(Array.from({ length: callers }, () => HttpConnection.open(port, path))) : [];
    let next = 0;
    const startedAt = now();
    const callOn = async (caller: number) => {
      while (next < count) {
        const { json, binary } = requests[next++]!;
        const code = transport === 'grpc' ? await grpc[caller % GRPC_CONNECTIONS]!.call(binary) : (await http[caller]!.post(json)).status;
        codes[code] = (codes[code] ?? 0) + 1;
      }
    };
    await Promise.all(Array.from({ length: callers }, (_, caller) => callOn(caller)));
    const seconds = (now() - startedAt) / 1_000;
    for (const connection of [...grpc, ...http]) connection.close();
    return { seconds, codes };
  },
});
