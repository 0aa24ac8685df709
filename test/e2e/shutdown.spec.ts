import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { UserService } from '@app/contract';
import pLimit from 'p-limit';
import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { type AppProcess, WARN, withLoopBlockedFor } from '../support/app-process.js';
import { Code } from '../support/callers.js';
import { type Dispatcher, isAvailable } from '../support/engine.js';
import { eventually } from '../support/eventually.js';
import { somebody } from '../support/people.js';
import { hasPrivateRedis, PrivateRedis } from '../support/private-redis.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { Waybill } from '../support/waybill.js';
import { freePort } from '../../scripts/stack/ports.ts';

const { createUser } = UserService.method;

/** Starts both apps, and a worker's task that does not end by itself. */
async function hangingIn(waybill: Waybill): Promise<{ worker: AppProcess; person: ReturnType<typeof somebody> }> {
  const [, worker] = await Promise.all([waybill.startApi(), waybill.startWorker({ WORKER_SHUTDOWN_TIMEOUT: '500ms' })]);
  const person = somebody();
  waybill.mail.when(person.email, 'hang');
  await waybill.http.call(createUser, person);
  await eventually(() => waybill.mail.triesTo(person.email).length === 1);
  return { worker, person };
}

/** Blocks the event loop of an api that was started for that. */
async function standStill(waybill: Waybill): Promise<void> {
  waybill.api.signal('SIGCONT');
  await eventually(() =>
    waybill.fetch('/healthz', { signal: AbortSignal.timeout(100) }).then(
      () => false,
      () => true,
    ),
  );
}

/** Keeps every sign-up waiting for the database, as a slow one would. */
async function holdSignUps(waybill: Waybill): Promise<{ waiting(count: number): Promise<unknown>; release(): Promise<void> }> {
  const client = new pg.Client({ connectionString: waybill.database.url });
  client.on('error', () => undefined);
  await client.connect();
  await client.query('BEGIN');
  await client.query('LOCK TABLE users IN ACCESS EXCLUSIVE MODE');
  return {
    waiting: (count) =>
      eventually(async () => {
        const { rowCount } = await client.query(
          // Of this database: those that were cloned from one template have the same ids for their tables.
          `SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database
           WHERE datname = current_database() AND relation = 'users'::regclass AND NOT granted`,
        );
        return rowCount === count;
      }),
    // Ending the session ends its transaction.
    release: () => client.end(),
  };
}

describe.concurrent('the api, when it is told to end', () => {
  it('answers what had arrived before, also while its process stood still', async () => {
    const waybill = await Waybill.create('postgres');
    try {
      const api = await waybill.startApi(withLoopBlockedFor(1_000));
      const port = Number(waybill.environment['HTTP_PORT']);
      const request = 'GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n';
      /** @returns the status of each answer that comes until the connection ends. */
      const answersOn = async (socket: Socket) => {
        const chunks: Buffer[] = [];
        for await (const chunk of socket) chunks.push(chunk as Buffer);
        return [
          ...Buffer.concat(chunks)
            .toString()
            .matchAll(/^HTTP\/1\.1 (\d+)/gm),
        ].map(([, status]) => status);
      };
      const old = Array.from({ length: 20 }, () => connect(port, '127.0.0.1'));
      for (const socket of old) {
        socket.write(request);
        await once(socket, 'data');
      }

      await standStill(waybill);
      const sockets = [...old, ...Array.from({ length: 20 }, () => connect(port, '127.0.0.1'))];
      const answers = sockets.map(answersOn);
      await Promise.all(sockets.slice(old.length).map((socket) => once(socket, 'connect')));
      for (const socket of sockets) await new Promise((resolve) => socket.write(request, resolve));
      api.signal('SIGTERM');

      expect(await Promise.all(answers)).toEqual(sockets.map(() => ['200']));
      expect(await api.end()).toBe(0);
    } finally {
      await waybill.close();
    }
  });

  it('answers what had arrived before over gRPC, too', async () => {
    const waybill = await Waybill.create('postgres');
    try {
      const api = await waybill.startApi(withLoopBlockedFor(1_000));
      await standStill(waybill);
      const clients = Array.from({ length: 20 }, () => connectHttp2(`http://127.0.0.1:${waybill.environment['GRPC_PORT']}`));
      for (const client of clients) client.on('error', () => undefined);
      await Promise.all(clients.map((client) => once(client, 'connect')));
      const { name } = UserService.method.verifyEmail;
      const calls = clients.map((client) =>
        client.request({
          ':method': 'POST',
          ':path': `/${UserService.typeName}/${name}`,
          'content-type': 'application/grpc',
          te: 'trailers',
        }),
      );
      const statuses = calls.map(
        (call) =>
          new Promise((resolve) => {
            call.resume();
            // A call that is refused has its status in the headers.
            for (const event of ['response', 'trailers']) call.on(event, ({ 'grpc-status': said }) => said !== undefined && resolve(said));
            call.on('error', resolve);
          }),
      );
      // An empty message: its token is missing, so it is refused, by whoever has read it.
      for (const call of calls) await new Promise<void>((resolve) => call.end(Buffer.alloc(5), resolve));
      api.signal('SIGTERM');

      expect(await Promise.all(statuses)).toEqual(calls.map(() => String(Code.INVALID_ARGUMENT)));
      expect(await api.end()).toBe(0);
    } finally {
      await waybill.close();
    }
  });

  it('answers the calls under way, on both transports, takes no more, and exits with 0', async () => {
    const waybill = await Waybill.create('postgres');
    try {
      const api = await waybill.startApi();
      const signUps = await holdSignUps(waybill);
      const idle = connect(Number(waybill.environment['HTTP_PORT']), '127.0.0.1');
      idle.on('error', () => undefined);
      const people = [somebody(), somebody()];
      const answers = people.map((person, index) => waybill.callers[index]!.call(createUser, person));
      await signUps.waiting(2);

      const exit = api.stop();
      await eventually(() =>
        waybill.fetch('/healthz').then(
          () => false,
          () => true,
        ),
      );
      expect(api.isRunning).toBe(true);
      await signUps.release();
      const answered = performance.now();
      expect((await Promise.all(answers)).map(({ code }) => code)).toEqual([Code.OK, Code.OK]);
      expect(await exit).toBe(0);
      // Not when its patience ended, but when there was nothing more to wait for.
      expect(performance.now() - answered).toBeLessThan(5_000);
      // Their tasks are as good as any.
      await waybill.startWorker();
      for (const { email } of people) await waybill.mail.mailTo(email);
      expect(api.lines.filter(({ level }) => level >= WARN)).toEqual([]);
    } finally {
      await waybill.close();
    }
  });

  it('waits for them for some ten seconds, and not for ever', async () => {
    const waybill = await Waybill.create('postgres');
    try {
      const api = await waybill.startApi();
      const signUps = await holdSignUps(waybill);
      const answers = waybill.callers.map((caller) => caller.call(createUser, somebody()).catch((error: unknown) => error));
      await signUps.waiting(2);
      const begin = performance.now();
      expect(await api.stop(25_000)).toBe(0);
      expect(performance.now() - begin).toBeLessThan(20_000);
      await Promise.all(answers);
      await signUps.release();
      await eventually(async () => (await waybill.database.query('SELECT FROM users')).length === 0);
      expect(await waybill.ledger()).toEqual([]);
    } finally {
      await waybill.close();
    }
  });
});

describe.each(['redis', 'postgres'] as const)('the worker, with the queues in %s, when it is told to end', (dispatcher: Dispatcher) => {
  describe.skipIf(!isAvailable(dispatcher))('as a deploy does', { concurrent: true }, () => {
    it('lets its handlers finish, takes no more, and exits with 0', async () => {
      const waybill = await Waybill.start(dispatcher);
      try {
        const [running, waiting] = [somebody(), somebody()];
        const sending = Promise.withResolvers<void>();
        const { worker } = waybill;
        waybill.mail.when(running.email, () => sending.promise);
        await waybill.http.call(createUser, running);
        await eventually(() => waybill.mail.triesTo(running.email).length === 1);

        const exit = worker.stop();
        await worker.line(({ msg }) => msg === 'task processor is stopping');
        await waybill.http.call(createUser, waiting);
        sending.resolve();
        expect(await exit).toBe(0);
        expect(waybill.mail.triesTo(running.email)).toHaveLength(1);
        const left = await waybill.ledger();
        expect(left).toHaveLength(1);

        await waybill.startWorker();
        await waybill.mail.mailTo(waiting.email);
        await waybill.idle();
        expect(await waybill.ledger()).toEqual([]);
        expect(waybill.mail.mails).toHaveLength(2);
        expect(worker.lines.filter(({ level }) => level >= WARN)).toEqual([]);
      } finally {
        await waybill.close();
      }
    });

    it('gives back what does not finish in time: it costs no attempt, and the next worker sends the same mail at once', async () => {
      const waybill = await Waybill.create(dispatcher);
      try {
        const { worker, person } = await hangingIn(waybill);

        const begin = performance.now();
        expect(await worker.stop()).toBe(0);
        expect(performance.now() - begin).toBeLessThan(8_000);
        expect(await waybill.ledger()).toMatchObject([
          { state: dispatcher === 'redis' ? 'dispatched' : 'pending', failures: 0, crashes: 0 },
        ]);

        waybill.mail.when(person.email, 'accept');
        const next = await waybill.startWorker();
        // Long before a crash would have been found.
        const mail = await waybill.mail.mailTo(person.email, 1, 8_000);
        expect(waybill.mail.triesTo(person.email).map((attempt) => attempt.mail)).toEqual([mail, mail]);
        expect(await next.line(({ msg }) => msg === 'task completed')).toMatchObject({ attempt: 1 });
        await waybill.idle();
        expect(await waybill.ledger()).toEqual([]);
      } finally {
        await waybill.close();
      }
    });
  });
});

/** What a process may take beyond WORKER_SHUTDOWN_TIMEOUT or, the api, beyond its calls' ten seconds; with a bit for a busy machine. Milliseconds. */
const MARGIN = 12_000;

describe('every app ends within its bound when it is told to', () => {
  const listening = async (server: Server): Promise<number> => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return (server.address() as AddressInfo).port;
  };
  const measure = async (ended: Promise<unknown>) => {
    const begin = performance.now();
    return { code: await ended, inTime: performance.now() - begin < MARGIN };
  };

  it.skipIf(!hasPrivateRedis)('whatever has kept it from Redis', { timeout: 120_000 }, async () => {
    const waybill = await Waybill.create('redis');
    const redis = await PrivateRedis.reserve();
    await redis.start();
    await redis.ask('CONFIG', 'SET', 'requirepass', 'secret');
    // One that accepts and says nothing, and one that speaks TLS; it has no certificate to show, which nobody asks for in plain words.
    const sockets = new Set<{ destroy(): void }>();
    const silent = createServer((socket) => sockets.add(socket.on('error', () => undefined)));
    const encrypted = createTlsServer().on('tlsClientError', () => undefined);
    try {
      const addresses = {
        'nobody listens': `127.0.0.1:${await freePort()}`,
        'another password': `redis://:guess@${redis.address}`,
        'no password': redis.address,
        'TLS where there is none': `rediss://:secret@${redis.address}`,
        'no TLS where there is': `127.0.0.1:${await listening(encrypted)}`,
        'no answer': `127.0.0.1:${await listening(silent)}`,
      };
      // A start loads all of Nest: two of them at once, on two cores.
      const turns = pLimit(2);
      const end = async (why: string, REDIS_ADDRESS: string, index: number) => {
        const worker = waybill.run('worker', { REDIS_ADDRESS, WORKER_SHUTDOWN_TIMEOUT: '500ms' });
        await worker.line(({ msg }) => msg === 'task processor started');
        const signal = index % 2 ? 'SIGINT' : 'SIGTERM';
        // A terminal tells the process and `make` does once more.
        return [why, await measure(Promise.all([worker.stop(30_000, signal), worker.stop(30_000, signal)]))];
      };
      const ends = Object.entries(addresses).map(([why, address], index) => turns(end, why, address, index));
      const command = waybill.run('tasks', { REDIS_ADDRESS: addresses['no answer'] }, ['resume', 'critical']);
      expect(Object.fromEntries(await Promise.all(ends))).toEqual(
        Object.fromEntries(Object.keys(addresses).map((why) => [why, { code: [0, 0], inTime: true }])),
      );
      expect(await measure(command.end(30_000))).toEqual({ code: 1, inTime: true });
    } finally {
      await waybill.close();
      await redis.kill();
      for (const socket of sockets) socket.destroy();
      silent.close();
      encrypted.close();
    }
  });

  it.skipIf(!hasPrivateRedis)(
    'with 1 when it has to leave a task behind, since what it came from has fallen silent',
    { timeout: 120_000 },
    async () => {
      const redis = await PrivateRedis.reserve();
      await redis.start();
      const proxy = await TcpProxy.to(redis);
      const waybill = await Waybill.create('redis', { environment: { REDIS_ADDRESS: `127.0.0.1:${proxy.port}` } });
      try {
        const { worker } = await hangingIn(waybill);
        proxy.freeze();
        expect(await measure(worker.stop(30_000))).toEqual({ code: 1, inTime: true });
        expect(worker.lines).toContainEqual(
          expect.objectContaining({ msg: 'task processor stopped, and left running tasks behind', left: 1 }),
        );
      } finally {
        await waybill.close();
        await proxy.close();
        await redis.kill();
      }
    },
  );

  it('when its database has fallen silent, and while it waits for one', { timeout: 120_000 }, async () => {
    const waybill = await Waybill.create('postgres');
    const { hostname, port } = new URL(waybill.database.url);
    const proxy = await TcpProxy.to({ host: hostname, port: Number(port) });
    const through = (to: number) => {
      const url = new URL(waybill.database.url);
      url.port = String(to);
      return { DATABASE_URL: url.href, WORKER_SHUTDOWN_TIMEOUT: '500ms' };
    };
    try {
      const apps = await Promise.all([waybill.startApi(through(proxy.port)), waybill.startWorker(through(proxy.port))]);
      proxy.freeze();
      expect(await Promise.all(apps.map((app) => measure(app.stop(30_000))))).toEqual(apps.map(() => ({ code: 0, inTime: true })));

      const nowhere = through(await freePort());
      const waiting = (['api', 'worker'] as const).map((program) => waybill.run(program, nowhere));
      for (const app of waiting) {
        await app.line(({ msg }) => /^the database at .* cannot be reached/.test(msg));
        expect(await measure(app.stop(30_000))).toEqual({ code: 0, inTime: true });
      }
    } finally {
      await waybill.close();
      await proxy.close();
    }
  });
});
