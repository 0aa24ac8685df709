import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Waybill } from '../support/waybill.js';
import { eventually } from '../support/eventually.js';

/** As many as an outage of some hours may leave behind. */
const MANY = 100_000;

/** What operators do with very many tasks at once. It is the ledger's work alone: no app runs, and no dispatcher is met. */
describe('operators, with a hundred thousand dead tasks', { timeout: 180_000 }, () => {
  let waybill: Waybill;
  beforeAll(async () => {
    waybill = await Waybill.create('postgres');
    await waybill.database.query(
      `INSERT INTO task (id, type, queue, payload, options, state, reason, error, failures, finished_at)
       SELECT uuidv7(), 'test.many', 'default', '{}', '{"maxRetry":0,"timeout":1000}', 'dead', 'retries exhausted', 'the Outage of ' || number, 1,
              now() - interval '1 hour'
       FROM generate_series(1, ${MANY} + 10) AS number`,
    );
    // Not all of them match.
    await waybill.database.query(`UPDATE task SET error = 'of its own making' WHERE id IN (SELECT id FROM task LIMIT 10)`);
  });
  afterAll(() => waybill?.close());

  const states = async () => {
    const rows = await waybill.database.query<{ state: string; count: number }>('SELECT state, count(*)::int FROM task GROUP BY state');
    return Object.fromEntries(rows.map(({ state, count }) => [state, count]));
  };
  /** Runs a command that must succeed, and reads its JSON. */
  const json = async (...args: string[]): Promise<unknown> => {
    const command = waybill.run('tasks', {}, [...args, '--json']);
    expect([await command.end(120_000), command.output]).toEqual([0, expect.anything()]);
    return JSON.parse(command.output);
  };
  const matching = ['--type', 'test.many', '--error', 'outage', '--older-than', '30m'];

  it('are told how many match before anything happens', async () => {
    expect(await json('redrive', ...matching, '--dry-run')).toEqual({ wouldRedrive: MANY });
    expect(await states()).toEqual({ dead: MANY + 10 });
  });

  it('bring them all back, also when the command is killed on its way and given again', async () => {
    const first = waybill.run('tasks', {}, ['redrive', ...matching]);
    const begun = await eventually(async () => (await states())['pending']);
    first.crash();
    await first.exited;
    // What was under way ends without its client.
    const ofCommand = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'waybill-admin'`;
    await eventually(async () => (await waybill.database.query(ofCommand)).length === 0);
    const { pending = 0, dead } = await states();
    expect(pending).toBeGreaterThanOrEqual(begun);
    expect(dead, 'the command was killed before its end').toBeGreaterThan(10);
    expect(pending % 1_000, 'nothing is left half done').toBe(0);

    expect(await json('redrive', ...matching)).toEqual({ redriven: MANY - pending });
    expect(await states()).toEqual({ dead: 10, pending: MANY });
    const [again] = await waybill.database.query<{ fresh: number }>(
      `SELECT count(*)::int AS fresh FROM task WHERE state = 'pending' AND generation = 1 AND failures = 0 AND error IS NULL`,
    );
    expect(again?.fresh, 'each once, with all of its retries').toBe(MANY);
  });

  it('delete them all', async () => {
    await waybill.database.query(
      `UPDATE task SET state = 'dead', finished_at = now() - interval '1 hour', error = 'outage' WHERE state = 'pending'`,
    );
    expect(await json('delete', ...matching)).toEqual({ deleted: MANY });
    expect(await states()).toEqual({ dead: 10 });
  });
});
