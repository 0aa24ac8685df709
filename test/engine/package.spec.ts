import { randomUUID } from 'node:crypto';
import { BullModule, getQueueToken, Processor, WorkerHost } from '@nestjs/bullmq';
import { type DynamicModule, Injectable, type INestApplicationContext, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Task, type TaskContext, TaskDistributor, type TaskHandler, taskMigrations, TasksModule } from '@app/tasks';
import type { Job, Queue } from 'bullmq';
import { DataSource } from 'typeorm';
import { afterEach, describe, expect, inject, it, onTestFinished } from 'vitest';
import { z } from 'zod';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { hasPrivateRedis, PrivateRedis } from '../support/private-redis.js';

/** How many connections the app's own pool has. */
const POOL_SIZE = 15;

/** How long a handler keeps a connection of the app's. Milliseconds. */
const HELD = 10_000;

const payload = z.object({ greeting: z.string() });
type Greeting = z.output<typeof payload>;

/** Which database's app has run what. */
const ran: { database: string; greeting: string }[] = [];
afterEach(() => void (ran.length = 0));

@Injectable()
@Task({ type: 'team.greet', payload })
class Greet implements TaskHandler<Greeting> {
  constructor(private readonly dataSource: DataSource) {}

  async handle({ greeting }: Greeting): Promise<void> {
    ran.push({ database: String(this.dataSource.driver.database), greeting });
  }
}

/** Holds a connection of the app's pool, or waits for one. */
@Injectable()
@Task({ type: 'team.hold', payload, maxRetry: 0, timeout: '1m' })
class Hold implements TaskHandler<Greeting> {
  static readonly deliveries = new Map<string, number>();

  constructor(private readonly dataSource: DataSource) {}

  async handle(_: Greeting, { id }: TaskContext): Promise<void> {
    Hold.deliveries.set(id, (Hold.deliveries.get(id) ?? 0) + 1);
    await this.dataSource.query('SELECT pg_sleep($1)', [HELD / 1_000]);
  }
}

/** The app's own, with the name of a queue that the engine has too. */
@Processor('default')
class TeamProcessor extends WorkerHost {
  static readonly jobs: { data: unknown; by: string }[] = [];

  async process({ data }: Job): Promise<void> {
    TeamProcessor.jobs.push({ data, by: this.worker.constructor.name });
  }
}

/** What a team has without us, and the engine in it. */
function teamModule(database: TestDatabase, tasks: DynamicModule, bull: DynamicModule[] = []): object {
  @Module({
    imports: [
      TypeOrmModule.forRoot({
        type: 'postgres',
        url: database.url,
        poolSize: POOL_SIZE,
        autoLoadEntities: true,
        migrations: taskMigrations,
        migrationsRun: true,
        migrationsTransactionMode: 'each',
      }),
      ...bull,
      tasks,
    ],
    providers: [Greet, Hold, ...(bull.length > 0 ? [TeamProcessor] : [])],
  })
  class TeamModule {}
  return TeamModule;
}

async function start(module: object): Promise<INestApplicationContext> {
  const app = await NestFactory.createApplicationContext(module as never, { logger: false, abortOnError: false });
  onTestFinished(() => app.close());
  return app;
}

async function ownDatabase(): Promise<TestDatabase> {
  const database = await createDatabase({ empty: true });
  onTestFinished(() => database.drop());
  return database;
}

const optionsOf = ({ url }: TestDatabase, redis = '') => ({
  database: { url },
  ...(redis !== '' && { redis: { url: `redis://${redis}`, prefix: `package-${randomUUID()}` } }),
  shutdownTimeout: '2s' as const,
});
const nameOf = ({ url }: TestDatabase) => new URL(url).pathname.slice(1);
const distributorOf = (app: INestApplicationContext) => app.get(TaskDistributor, { strict: false });
const isEmpty = async (database: TestDatabase) => (await database.query('SELECT FROM task')).length === 0;

const dispatchers: [name: string, redisAddress: string][] = [['the ledger', '']];
if (inject('redisAddress') !== '') dispatchers.push(['Redis', inject('redisAddress')]);

if (!hasPrivateRedis) console.warn('NOT RUN: the engine beside BullMQ queues of the app. There is no redis-server on PATH.');

describe('the engine in a Nest project that has nothing else of ours', () => {
  describe.each(dispatchers)('on %s', (_, redis) => {
    it.runIf(hasPrivateRedis)(
      'runs tasks beside the queues and processors of the app, which stay on its Redis and of its class',
      async () => {
        const database = await ownDatabase();
        await database.query('CREATE SCHEMA bullmq');
        const own = await PrivateRedis.reserve();
        await own.start();
        onTestFinished(() => own.kill());
        const connection = { host: own.host, port: own.port };
        const bull = [BullModule.forRoot({ connection }), BullModule.registerQueue({ name: 'default' })];
        const app = await start(teamModule(database, TasksModule.forRoot({ role: 'process', ...optionsOf(database, redis) }), bull));
        const queue = app.get<Queue>(getQueueToken('default'), { strict: false });

        await distributorOf(app).distribute(Greet, { greeting: 'task' });
        await queue.add('job', { greeting: 'job' });
        await eventually(() => TeamProcessor.jobs.length > 0);
        await eventually(() => isEmpty(database));
        expect(ran).toEqual([{ database: nameOf(database), greeting: 'task' }]);
        expect(TeamProcessor.jobs.splice(0)).toEqual([{ data: { greeting: 'job' }, by: 'Worker' }]);
        expect(await database.query(`SELECT FROM pg_namespace WHERE nspname = 'bullmq'`)).toHaveLength(1);
        const keys = (await own.ask('KEYS', '*')) as string[];
        expect(keys.filter((key) => !key.startsWith('bull:default:'))).toEqual([]);
      },
    );

    it('is one of two engines in a process, each with its own tasks', async () => {
      const databases = [await ownDatabase(), await ownDatabase()];
      const apps: INestApplicationContext[] = [];
      for (const database of databases) {
        apps.push(await start(teamModule(database, TasksModule.forRoot({ role: 'process', ...optionsOf(database, redis) }))));
      }
      await Promise.all(apps.map((app, index) => distributorOf(app).distribute(Greet, { greeting: String(index) })));
      for (const database of databases) await eventually(() => isEmpty(database));
      const expected = databases.map((database, index) => ({ database: nameOf(database), greeting: String(index) }));
      expect(ran.toSorted((a, b) => Number(a.greeting) - Number(b.greeting))).toEqual(expected);

      // The end of one is none of the other's.
      await apps[0]!.close();
      await distributorOf(apps[1]!).distribute(Greet, { greeting: 'after' });
      await eventually(() => isEmpty(databases[1]!));
      expect(ran.at(-1)).toEqual({ database: nameOf(databases[1]!), greeting: 'after' });
    });
  });

  it('takes its options from a factory, which is given what it asks for', async () => {
    const database = await ownDatabase();
    @Module({ providers: [{ provide: 'settings', useValue: { url: database.url } }], exports: ['settings'] })
    class SettingsModule {}
    const tasks = TasksModule.forRootAsync({
      role: 'process',
      imports: [SettingsModule],
      inject: ['settings'],
      useFactory: async (settings: { url: string }) => ({ database: settings, queues: { default: { weight: 1, min: 1 } }, concurrency: 2 }),
    });
    const app = await start(teamModule(database, tasks));
    await expect(distributorOf(app).distribute(Greet, { greeting: 'nowhere' }, { queue: 'critical' })).rejects.toThrow('(default)');
    await distributorOf(app).distribute(Greet, { greeting: 'task' });
    await eventually(() => ran.length === 1);
  });

  it('says which option cannot be used', async () => {
    const database = await ownDatabase();
    // Its TypeORM has migrated the database: that of an app which is refused would still be at it.
    await start(teamModule(database, TasksModule.forRoot({ role: 'distribute', ...optionsOf(database) })));
    const unusable: [object, string][] = [
      [{ database: { url: 'nowhere' } }, 'database.url must be a URL'],
      [{ queues: {} }, 'queues must name one'],
      [{ queues: { Default: 1 } }, 'queues: "Default"'],
      [{ queues: { default: 0 } }, 'queues.default.weight'],
      [{ queues: { default: { weight: 1, min: 16 } } }, 'reserve more slots'],
      [{ concurrency: 0 }, 'concurrency'],
    ];
    for (const [options, message] of unusable) {
      const tasks = TasksModule.forRoot({ role: 'distribute', ...optionsOf(database), ...options });
      await expect(start(teamModule(database, tasks))).rejects.toThrow(message);
    }
  });

  it('claims, completes and renews from a pool of its own, while handlers hold every connection of the app', async () => {
    const database = await ownDatabase();
    const options = { ...optionsOf(database), concurrency: 20 };
    await start(teamModule(database, TasksModule.forRoot({ role: 'process', ...options })));
    const distributor = await start(teamModule(database, TasksModule.forRoot({ role: 'distribute', ...options })));
    const held = Array.from({ length: 15 }, () => ({ greeting: 'held' }));
    const ids = (await distributorOf(distributor).distributeMany(Hold, held)).map(({ id }) => id);
    await eventually(() => Hold.deliveries.size === held.length);
    const begin = performance.now();
    const leases = () => database.query<{ until: Date }>('SELECT lease_until AS until FROM task_worker');
    const [before] = await leases();
    for (let count = 0; count < 20; count++) {
      const sent = performance.now();
      const { id } = await distributorOf(distributor).distribute(Greet, { greeting: String(count) });
      await eventually(async () => (await database.query('SELECT FROM task WHERE id = $1', [id])).length === 0);
      expect(performance.now() - sent).toBeLessThan(1_000);
    }
    expect(performance.now() - begin).toBeLessThan(HELD);
    await eventually(async () => (await leases())[0]!.until > before!.until, HELD);
    await eventually(() => isEmpty(database), 60_000);
    expect(ids.map((id) => Hold.deliveries.get(id))).toEqual(ids.map(() => 1));
  });
});
