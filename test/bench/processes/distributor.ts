/** Whatever makes tasks: the product's distributor as an api has it, and its anchors, a bare INSERT and a bare `queue.add`. */
import { pipeline } from 'node:stream/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Queue } from 'bullmq';
import pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { DataSource } from 'typeorm';
import { v7 as uuidv7 } from 'uuid';
import { answer } from '../lib/contestant.ts';
import { now } from '../lib/clock.ts';
import { NoOp, TASK_TYPE } from '../lib/no-op.task.ts';
import { Config, ConfigModule, createLogger, DatabaseModule, LoggingModule, TaskDistributor, TasksModule } from '../lib/product.ts';

const config = Config.parse(process.env);

class DistributorModule {}
Module({
  imports: [
    ConfigModule.forRoot(config),
    LoggingModule.forRoot('bench'),
    DatabaseModule.forRoot('bench', { keepsPlans: true }),
    TasksModule.forRoot({ role: 'distribute', ...config.tasks }),
  ],
})(DistributorModule);

const app = await NestFactory.createApplicationContext(DistributorModule, { logger: createLogger('bench', config), abortOnError: false });
const tasks = app.get(TaskDistributor, { strict: false });
const dataSource = app.get(DataSource, { strict: false });
const pool = new pg.Pool({ connectionString: config.DATABASE_URL, max: config.DATABASE_POOL_SIZE });
const [host, port] = (process.env['REDIS_ADDRESS'] ?? '').split(':');
const plainQueue = port === undefined ? undefined : new Queue('default', { connection: { host: host!, port: Number(port) } });

type Make = (number: number) => Promise<void>;

/** Into a table like the ledger's, with its indexes, and nothing else. */
const insertRow = `INSERT INTO bench_task (id, type, queue, payload, version, options) VALUES ($1, $2, $3, $4, $5, $6)`;
const rowOf = (number: number) => [
  uuidv7(),
  TASK_TYPE,
  'default',
  JSON.stringify({ number }),
  1,
  JSON.stringify({ maxRetry: 25, timeout: 1_800_000 }),
];

/** A business row and its task, in one transaction. */
const withOrder: Make = (number) =>
  dataSource.transaction(async (manager) => {
    await manager.query('INSERT INTO bench_order (number) VALUES ($1)', [number]);
    await tasks.distribute(NoOp, { number }, { manager });
  });

const inTransaction: Make = (number) =>
  dataSource.transaction(async (manager) => {
    await tasks.distribute(NoOp, { number }, { manager });
  });

const alone: Make = async (number) => {
  await tasks.distribute(NoOp, { number });
};

const bareTransaction: Make = async (number) => {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    await client.query(insertRow, rowOf(number));
    await client.query('COMMIT');
  } finally {
    client.release();
  }
};

const bareStatement: Make = async (number) => {
  await pool.query(insertRow, rowOf(number));
};

const add: Make = async (number) => {
  await plainQueue!.add('no_op', { number });
};

const ways: Record<string, Make> = { withOrder, inTransaction, alone, bareTransaction, bareStatement, add };

/** All of them in one transaction. */
const atOnce: Record<string, (count: number) => Promise<void>> = {
  distributeMany: async (count) => {
    const payloads = Array.from({ length: count }, (_, number) => ({ number }));
    await dataSource.transaction((manager) => tasks.distributeMany(NoOp, payloads, { manager }));
  },
  copy: async (count) => {
    const client = await pool.connect();
    try {
      await client.query('BEGIN');
      const rows = Array.from({ length: count }, (_, number) => `${rowOf(number).join('\t')}\n`);
      await pipeline([rows.join('')], client.query(copyFrom('COPY bench_task (id, type, queue, payload, version, options) FROM STDIN')));
      await client.query('COMMIT');
    } finally {
      client.release();
    }
  },
};

/** The moment before the commit, or the add, is sent: where the waiting for the task begins. */
const marked: Record<string, (number: number, mark: () => void) => Promise<void>> = {
  distribute: (number, mark) =>
    dataSource.transaction(async (manager) => {
      await tasks.distribute(NoOp, { number }, { manager });
      mark();
    }),
  add: async (number, mark) => {
    mark();
    await plainQueue!.add('no_op', { number });
  },
};

answer({
  /** Makes `count` tasks, as many at a time as there are producers. */
  make: async ({ way, count, producers }: { way: string; count: number; producers: number }) => {
    const make = ways[way]!;
    let next = 0;
    const startedAt = now();
    const produce = async () => {
      while (next < count) await make(next++);
    };
    await Promise.all(Array.from({ length: producers }, produce));
    return { startedAt, seconds: (now() - startedAt) / 1_000 };
  },
  /** Makes `count` tasks in one transaction. @returns the seconds that it took. */
  makeAtOnce: async ({ way, count }: { way: string; count: number }) => {
    const startedAt = now();
    await atOnce[way]!(count);
    return (now() - startedAt) / 1_000;
  },
  /** Makes tasks at a steady rate, whatever becomes of them. @returns when each was committed or added. */
  pace: async ({ way, count, interval }: { way: string; count: number; interval: number }) => {
    const make = marked[way]!;
    const at = Array.from({ length: count }, () => 0);
    const open: Promise<void>[] = [];
    const startedAt = now();
    for (let number = 0; number < count; number++) {
      const ahead = startedAt + number * interval - now();
      if (ahead > 1) await wait(ahead);
      open.push(make(number, () => (at[number] = now())));
    }
    await Promise.all(open);
    return at;
  },
});
