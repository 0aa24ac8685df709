/**
 * Signs people up over many connections, all at once and again and again, until
 * it is told to stop; in a thread of its own, so that it does not slow down those
 * whose waiting is measured. Then says how often it was answered how.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { create, toBinary } from '@bufbuild/protobuf';
import { CreateUserRequestSchema } from '../bench/lib/contract.ts';
import { GrpcConnection } from '../bench/lib/grpc-caller.ts';
import { HttpConnection } from '../bench/lib/http-caller.ts';

/** How a flood is begun. */
export interface Flood {
  readonly httpPort: number;
  readonly grpcPort: number;
  readonly connections: number;
}

const { httpPort, grpcPort, connections } = workerData as Flood;
const answers: Record<string, number> = {};
const over = new AbortController();
let people = 0;

const somebody = () => {
  const username = `flood_${++people}`;
  return { username, fullName: 'A Flood', email: `${username}@example.com`, password: 'a long enough password' };
};

async function flood(send: () => Promise<string>): Promise<void> {
  while (!over.signal.aborted) {
    const answer = await send().catch(() => 'no answer');
    answers[answer] = (answers[answer] ?? 0) + 1;
    // A connection that has ended is not opened again.
    if (answer === 'no answer') return;
  }
}

const all = Promise.all(
  Array.from({ length: connections }, async (_, index) => {
    // One in five speaks gRPC.
    if (index % 5 === 0) {
      const connection = new GrpcConnection(grpcPort, '/account.v1.UserService/CreateUser');
      const message = () => toBinary(CreateUserRequestSchema, create(CreateUserRequestSchema, somebody()));
      await flood(async () => `grpc ${await connection.call(message())}`);
      connection.close();
    } else {
      const connection = await HttpConnection.open(httpPort, '/v1/users');
      await flood(async () => `http ${(await connection.post(JSON.stringify(somebody()))).status}`);
      connection.close();
    }
  }),
);

parentPort!.once('message', () => {
  over.abort();
  void all.then(() => parentPort!.postMessage(answers, []));
});
