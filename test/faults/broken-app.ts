/**
 * Negative controls: two ways of handing over work that look right and are not,
 * on plain BullMQ. `VARIANT=inside` adds the job within the open transaction;
 * `VARIANT=after` adds it once that has committed, with nothing that remembers.
 * `ROLE=worker` runs the jobs of either.
 */
import { writeSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import { Queue, Worker } from 'bullmq';
import pg from 'pg';

const { DATABASE_URL, REDIS_ADDRESS = '', REDIS_PREFIX = '', ROLE, VARIANT, DIE_AT = '0' } = process.env;
const { hostname: host, port } = new URL(`redis://${REDIS_ADDRESS}`);
const options = { connection: { host, port: Number(port) }, prefix: `{${REDIS_PREFIX}-default}` };
const pool = new pg.Pool({ connectionString: DATABASE_URL, max: 4 });
pool.on('error', () => undefined);

if (ROLE === 'worker') {
  const worker = new Worker<{ order: string }>(
    'default',
    async (job) => {
      const run = randomUUID();
      writeSync(1, `${JSON.stringify({ started: job.id, run, attempt: 1, pid: process.pid, at: Date.now() })}\n`);
      await pool.query(`INSERT INTO fault_effect (order_id, task_id, run, mode) VALUES ($1, $2, $3, 'transaction')`, [
        job.data.order,
        job.id,
        run,
      ]);
    },
    options,
  );
  await worker.waitUntilReady();
  process.once('SIGTERM', () => void worker.close().then(() => process.exit(0)));
  process.stdout.write('worker ready\n');
} else {
  const queue = new Queue('default', options);
  let commits = 0;
  process.on('message', (message) => void place(message as { ids: string[]; rollBack?: boolean }));
  process.once('SIGTERM', () => process.exit(0));
  process.stdout.write('distributor ready\n');

  async function place({ ids, rollBack }: { ids: string[]; rollBack?: boolean }): Promise<void> {
    const order = ids[0]!;
    const add = () => queue.add('order', { order }, { jobId: randomUUID() });
    const client = await pool.connect();
    await client.query('BEGIN');
    await client.query('INSERT INTO fault_order (id) VALUES ($1)', [order]);
    if (VARIANT === 'inside') await add();
    await client.query(rollBack ? 'ROLLBACK' : 'COMMIT');
    client.release();
    if (VARIANT === 'after' && !rollBack) {
      if (++commits === Number(DIE_AT)) process.kill(process.pid, 'SIGKILL');
      await add();
    }
    process.send?.({ ids, committed: !rollBack, why: 'rolled back, as the test asked' });
  }
}
