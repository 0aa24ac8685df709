import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { CommandLine } from '../support/command-line.js';
import { createDatabase, type TestDatabase } from '../support/database.js';

const id = (number: number) => `019bf5a2-7a55-7c3a-9d51-00000000000${number}`;
const [DEAD, LIVE, DONE, ODD, LATER, NONE] = [id(1), id(2), id(3), id(4), id(5), id(9)] as const;
const TYPE = 'account.send_verification_email';
const USER = '7e0c5c9e-3c3b-4d0e-8a52-0f5b0b6a1c11';
const TIME = String.raw`\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ \((?:now|in \w+|\w+ ago)\)`;

/** Every form of the operators' commands, with every option, against a real ledger that no worker serves. */
describe('the operators’ commands', () => {
  let database: TestDatabase;
  let operator: CommandLine;
  beforeAll(async () => {
    database = await createDatabase();
    operator = await CommandLine.create({ DATABASE_URL: database.url });
  });
  afterAll(async () => {
    await operator?.close();
    await database?.drop();
  });
  beforeEach(async () => {
    await database.query('DELETE FROM task');
    await database.query('DELETE FROM task_queue_pause');
    await database.query('DELETE FROM task_action');
    await database.query('DELETE FROM task_schedule');
    await database.query(
      `INSERT INTO task_schedule (type, cron, timezone, next_at) VALUES ('test.daily', '0 3 * * *', 'Europe/Berlin', now() + interval '1 hour')`,
    );
    const rows = [
      [DEAD, TYPE, 'critical', 'dead', { userId: USER, note: 'for ada@example.com' }, 'the mail server refused the mail: 550', 1],
      [LIVE, TYPE, 'critical', 'pending', { userId: USER }, null, 0],
      [DONE, 'account.purge_email_verifications', 'default', 'completed', {}, null, 0],
      [LATER, TYPE, 'default', 'pending', { userId: USER }, null, 0],
      // Of a version that is gone, and as unkind as a text can be.
      [ODD, 'gone.with_a_type_that_is_much_too_long_for_any_table_that_one_can_read', 'gone', 'dead', {}, ODD_ERROR, 26],
    ] as const;
    for (const [task, type, queue, state, payload, error, failures] of rows) {
      const finished = state === 'pending' ? null : new Date(Date.now() - 180_000);
      await database.query(
        `INSERT INTO task (id, type, queue, payload, options, state, reason, error, failures, finished_at, keep_until, history)
         VALUES ($1, $2, $3, $4, '{"maxRetry": 10, "timeout": 1000}', $5, CASE WHEN $5 = 'dead' THEN 'retry skipped' END, $6, $7, $8,
                 CASE WHEN $5 = 'completed' THEN now() + interval '1 hour' END, $9)`,
        [task, type, queue, payload, state, error, failures, finished, JSON.stringify(error === null ? [] : [event(error)])],
      );
    }
    await database.query(`UPDATE task SET run_at = now() + interval '1 hour' WHERE id = $1`, [LATER]);
  });
  const ODD_ERROR = `\u001B[2J\u009B31mred\u202Eder\r\nstate         completed\t${'too long '.repeat(40)}`;
  const event = (error: string) => ({ at: '2020-01-01T00:00:00.000Z', what: 'buried: retry skipped', error });

  const world = () =>
    Promise.all(
      ['SELECT * FROM task ORDER BY id', 'SELECT * FROM task_queue_pause', 'SELECT * FROM task_schedule'].map((query) =>
        database.query<object>(query),
      ),
    );
  const command = (...args: string[]) => operator.run(...args);

  const ONE = 'cannot go with the id of one task';
  const WHICH = 'give an id, a filter, or --all';
  const FITTING = JSON.stringify({ userId: USER });
  it.each<[string[], string | RegExp]>([
    [['redrive', DEAD, '--rate', '5'], `--rate ${ONE}`],
    [['redrive', DEAD, '--all'], `--all ${ONE}`],
    [['redrive', DEAD, '--type', TYPE], `--type ${ONE}`],
    [['redrive', DEAD, '--queue', 'critical'], `--queue ${ONE}`],
    [['redrive', DEAD, '--error', '550'], `--error ${ONE}`],
    [['redrive', DEAD, '--older-than', '1m', '--rate', '5', '--dry-run'], `--older-than, --rate ${ONE}`],
    [['redrive', '--all', '--payload', FITTING], '--payload needs the id of one task'],
    [['redrive', '--type', TYPE, '--payload', FITTING, '--dry-run'], '--payload needs the id of one task'],
    [['redrive', '--all', '--type', TYPE], '--all means every one, and a filter some'],
    [['redrive'], WHICH],
    [['redrive', '--dry-run'], WHICH],
    [['redrive', '--rate', '5'], WHICH],
    [['redrive', '--type', TYPE, '--type', 'other'], '--type is given twice'],
    [['redrive', '--rate', '5', '--rate=6', '--all'], '--rate is given twice'],
    [['redrive', '--type', '--dry-run'], 'does not begin with --'],
    [['redrive', '--error', ''], 'must be a text that is not empty'],
    [['redrive', DEAD, LIVE], 'too many arguments'],
    [['redrive', DEAD, '--limit', '1'], "unknown option '--limit'"],
    [['redrive', DEAD, '--payload', '{}'], /the payload does not fit/],
    [['redrive', DEAD, '--payload', '{}', '--dry-run'], /the payload does not fit/],
    [['redrive', LIVE, '--dry-run'], 'it is ready, and only what is dead can be redriven'],
    [['redrive', NONE], 'it is not in the ledger'],
    [['redrive', NONE, '--dry-run', '--json'], 'it is not in the ledger'],
    [['run-now', LIVE], 'it is ready, and only what is delayed can be told to run now'],
    [['run-now', DEAD, '--dry-run'], 'it is dead, and only what is delayed can be told to run now'],
    [['run-now', NONE], 'it is not in the ledger'],
    [['run-now'], WHICH],
    [['run-now', LATER, '--rate', '5'], `--rate ${ONE}`],
    [['run-now', '--all', '--payload', '{}'], "unknown option '--payload'"],
    [['redrive', '--type', 'no.such'], 'there is no task type "no.such"'],
    [['redrive', '--type', 'no.such', '--dry-run'], 'there is no task type "no.such"'],
    [['redrive', '--queue', 'nowhere'], 'there is no queue "nowhere"'],
    [['delete', DEAD, '--state', 'dead'], `--state ${ONE}`],
    [['delete', DEAD, '--error', '550', '--dry-run'], `--error ${ONE}`],
    [['delete', DEAD, '--all'], `--all ${ONE}`],
    [['delete', '--all', '--older-than', '1m'], '--all means every one, and a filter some'],
    [['delete', '--state', 'completed'], WHICH],
    [['delete', '--dry-run'], WHICH],
    [['delete', DEAD, '--rate', '5'], `--rate ${ONE}`],
    [['delete', '--all', '--state', 'pending'], 'Allowed choices are dead, completed'],
    [['delete', LIVE], 'there is no finished task'],
    [['delete', LIVE, '--dry-run'], 'there is no finished task'],
    [['delete', '--type', 'no.such', '--json'], 'there is no task type "no.such"'],
    [['delete', '--queue', 'nowhere', '--dry-run'], 'there is no queue "nowhere"'],
    [['cancel'], WHICH],
    [['cancel', '--state', 'ready'], WHICH],
    [['cancel', LIVE, '--type', TYPE], `--type ${ONE}`],
    [['cancel', LIVE, '--state', 'ready'], `--state ${ONE}`],
    [['cancel', '--all', '--state', 'dead'], 'Allowed choices are ready, delayed, running'],
    [['cancel', '--type', 'no.such'], 'there is no task type "no.such"'],
    [['cancel', DEAD], 'one that is finished is deleted, not cancelled'],
    [['cancel', DEAD, '--dry-run'], 'one that is finished is deleted, not cancelled'],
    [['cancel', NONE, '--dry-run'], 'there is no such task in the ledger'],
    [['list', LIVE], 'too many arguments'],
    [['list', '--type', 'no.such'], 'there is no task type "no.such"'],
    [['list', '--queue', 'nowhere', '--json'], 'there is no queue "nowhere"'],
    [['list', '--all'], "unknown option '--all'"],
    [['list', '--limit', '0'], 'must be a whole number from 1'],
    [['list', '--state', 'silly'], 'ready, running, delayed, dead, completed'],
    [['list', '--older-than', 'long'], 'must be a duration'],
    [['list', '--json', '--limit', '1', '--limit', '2'], '--limit is given twice'],
    [['show', NONE], 'there is no task'],
    [['show', DEAD, '--dry-run'], "unknown option '--dry-run'"],
    [['show', 'nonsense'], 'must be the id of a task, a UUID'],
    [['queues', 'critical'], 'too many arguments'],
    [['stats', '--queue', 'critical'], "unknown option '--queue'"],
    [['list', '--id', 'nonsense'], 'must be the id of a task, a UUID'],
    [['list', '--limit', '201'], 'a page has from 1 to 200 tasks'],
    [['list', '--after', 'nonsense'], 'begin the search anew'],
    [['reveal', NONE], 'not in the ledger'],
    [['reveal', DEAD, '--dry-run'], "unknown option '--dry-run'"],
    [['stop', '12345'], 'there is no action 12345'],
    [['stop', 'nonsense'], 'must be a whole number from 1'],
    [['schedule', 'pause', 'no.such'], 'there is no schedule of "no.such"'],
    [['schedule', 'resume', 'test.daily'], 'the schedule is not paused'],
    [['schedule', 'run-now', 'test.daily'], 'nothing here knows the task "test.daily"'],
    [['schedule', 'delete', 'test.daily'], 'a worker declares the schedule'],
    [['schedule', 'fly', 'test.daily'], "unknown command 'fly'"],
    [['pause'], "missing required argument 'queue'"],
    [['pause', 'critical', 'default'], 'too many arguments'],
    [['pause', 'nowhere'], `the queue "nowhere" is not one of this app's`],
    [['resume', 'gone'], `the queue "gone" is not one of this app's`],
    [['pause', 'critical', '--dry-run'], "unknown option '--dry-run'"],
    [['\u001B[31mfly'], "unknown command '\uFFFD[31mfly'"],
  ])('%j is refused, and changes nothing', async (args, reason) => {
    const before = await world();
    const { code, out, err } = await command(...args);
    expect([code, err]).toEqual([1, typeof reason === 'string' ? expect.stringContaining(reason) : expect.stringMatching(reason)]);
    if (!args.includes('--json')) expect(out).toBe('');
    expect(await world()).toEqual(before);
  });

  it.each<[string[], string | RegExp, object]>([
    [['redrive', DEAD], `Would be redriven: the task ${DEAD}. Nothing was changed.`, { wouldRedrive: 1 }],
    [['redrive', DEAD, '--payload', FITTING], `Would be redriven: the task ${DEAD}. Nothing was changed.`, { wouldRedrive: 1 }],
    [['redrive', '--all'], 'Would be redriven: 2 dead tasks. Nothing was changed.', { wouldRedrive: 2 }],
    [['redrive', '--all', '--rate', '5'], /: 2 dead tasks, at most 5 a second: within about 1s\. Nothing/, { wouldRedrive: 2 }],
    [['redrive', '--type', TYPE], `Would be redriven: 1 dead task of the type "${TYPE}". Nothing was changed.`, { wouldRedrive: 1 }],
    [['redrive', '--queue', 'gone'], /1 dead task in the queue "gone"/, { wouldRedrive: 1 }],
    [['redrive', '--error', 'REFUSED', '--older-than', '1m'], /1 dead task whose last error contains "REFUSED"/, { wouldRedrive: 1 }],
    [['redrive', '--older-than', '1h'], /^There is no dead task .*1h ago: nothing would be redriven\.$/m, { wouldRedrive: 0 }],
    [['delete', DEAD], `Would be deleted: the task ${DEAD}. Nothing was changed.`, { wouldDelete: 1 }],
    [['delete', DONE], `Would be deleted: the task ${DONE}. Nothing was changed.`, { wouldDelete: 1 }],
    [['delete', '--all'], 'Would be deleted: 2 dead tasks. Nothing was changed.', { wouldDelete: 2 }],
    [['delete', '--all', '--state', 'completed'], 'Would be deleted: 1 completed task. Nothing was changed.', { wouldDelete: 1 }],
    [
      ['delete', '--type', TYPE, '--state', 'completed'],
      /^There is no completed task .*: nothing would be deleted\.$/m,
      { wouldDelete: 0 },
    ],
    [['cancel', LIVE], `Would be cancelled: ${LIVE}: the task will not run. Nothing was changed.`, { wouldBe: 'cancelled' }],
    [['cancel', '--all'], 'Would be cancelled: 2 tasks. Nothing was changed.', { wouldCancel: 2 }],
    [['cancel', '--all', '--state', 'delayed'], 'Would be cancelled: 1 delayed task. Nothing was changed.', { wouldCancel: 1 }],
    [['cancel', '--queue', 'critical', '--rate', '5'], /1 task in the queue "critical", at most 5 a second/, { wouldCancel: 1 }],
    [['run-now', LATER], `Would be told to run now: the task ${LATER}. Nothing was changed.`, { wouldRunNow: 1 }],
    [['run-now', '--all'], 'Would be told to run now: 1 delayed task. Nothing was changed.', { wouldRunNow: 1 }],
  ])('%j with --dry-run says what would come of it, and changes nothing', async (args, text, value) => {
    const before = await world();
    const [said, json] = [await command(...args, '--dry-run'), await command(args[0]!, '--json', '--dry-run', ...args.slice(1))];
    expect([said.code, said.err]).toEqual([0, '']);
    expect(said.out).toEqual(typeof text === 'string' ? `${text}\n` : expect.stringMatching(text));
    expect(json).toEqual({ code: 0, err: '', out: `${JSON.stringify(value, null, 2)}\n` });
    expect(await world()).toEqual(before);
  });

  it.each<[string[], string, object, Record<string, string | undefined>]>([
    [['redrive', DEAD], `Redriven: the task ${DEAD}.`, { redriven: 1 }, { [DEAD]: 'pending' }],
    [['redrive', DEAD, '--payload', FITTING], `Redriven: the task ${DEAD}.`, { redriven: 1 }, { [DEAD]: 'pending' }],
    [['redrive', '--all', '--rate', '100'], 'Redriven: 2 dead tasks.', { redriven: 2 }, { [DEAD]: 'pending', [ODD]: 'pending' }],
    [['redrive', '--queue', 'gone'], 'Redriven: 1 dead task in the queue "gone".', { redriven: 1 }, { [ODD]: 'pending' }],
    [
      ['redrive', '--error', 'no such error'],
      'There is no dead task whose last error contains "no such error": nothing was redriven.',
      { redriven: 0 },
      {},
    ],
    [['delete', DEAD], `Deleted: the task ${DEAD}.`, { deleted: 1 }, { [DEAD]: undefined }],
    [['delete', '--all'], 'Deleted: 2 dead tasks.', { deleted: 2 }, { [DEAD]: undefined, [ODD]: undefined }],
    [['delete', '--all', '--state', 'completed'], 'Deleted: 1 completed task.', { deleted: 1 }, { [DONE]: undefined }],
    [
      ['delete', '--type', TYPE, '--state', 'completed'],
      `There is no completed task of the type "${TYPE}": nothing was deleted.`,
      { deleted: 0 },
      {},
    ],
    [['cancel', LIVE], `Is cancelled: ${LIVE}: the task will not run.`, { result: 'cancelled' }, { [LIVE]: undefined }],
    [['cancel', '--all'], 'Cancelled: 2 tasks.', { cancelled: 2 }, { [LIVE]: undefined, [LATER]: undefined }],
    [['cancel', '--all', '--state', 'delayed', '--rate', '100'], 'Cancelled: 1 delayed task.', { cancelled: 1 }, { [LATER]: undefined }],
    [['run-now', LATER], `Told to run now: the task ${LATER}.`, { toldToRun: 1 }, {}],
    [['run-now', '--all'], 'Told to run now: 1 delayed task.', { toldToRun: 1 }, {}],
  ])('%j does it, and says so', async (args, text, value, changed) => {
    const states = async () =>
      Object.fromEntries(
        (await database.query<{ id: string; state: string }>('SELECT id, state FROM task')).map(({ id, state }) => [id, state]),
      );
    const before = await states();
    const asText = args.includes('--payload') || args.includes('--rate');
    const { code, out, err } = await command(...args, ...(asText ? [] : ['--json']));
    expect([code, err, out]).toEqual([0, '', asText ? `${text}\n` : `${JSON.stringify(value, null, 2)}\n`]);
    const expected = Object.entries({ ...before, ...changed }).filter(([, state]) => state !== undefined);
    expect(await states()).toEqual(Object.fromEntries(expected));
  });

  it('say of a dead task whose key another one has that it was skipped, not that there is none', async () => {
    await database.query(`DELETE FROM task WHERE id NOT IN ($1, $2)`, [DEAD, LIVE]);
    await database.query(`UPDATE task SET released_key = 'one' WHERE id = $1`, [DEAD]);
    await database.query(`UPDATE task SET unique_key = 'one' WHERE id = $1`, [LIVE]);
    const before = await world();
    const all = ['redrive', '--all'];
    expect(await command(...all, '--dry-run')).toMatchObject({
      code: 0,
      out: 'Nothing would be redriven.\nWould be skipped: 1, whose unique key another task has.\n',
    });
    expect(await command(...all)).toMatchObject({
      code: 0,
      out: 'Nothing was redriven.\nSkipped: 1, whose unique key another task has, or which have changed meanwhile.\n',
    });
    expect(JSON.parse((await command(...all, '--json')).out)).toEqual({ redriven: 0, skipped: 1 });
    expect(await world()).toEqual(before);
  });

  it('answer in words, and in JSON only when asked for', async () => {
    for (const [args, text, value] of [
      [['pause', 'critical'], /^The queue "critical" is paused: .*\.\n$/, { queue: 'critical', paused: true }],
      [['resume', 'critical'], /^The queue "critical" is not paused: .*\.\n$/, { queue: 'critical', paused: false }],
      [['redrive', DEAD], /^Redriven: the task /, undefined],
      [['delete', ODD], /^Deleted: the task /, undefined],
      [['cancel', LIVE], /^Is cancelled: /, undefined],
    ] as const) {
      expect(await command(...args)).toEqual({ code: 0, err: '', out: expect.stringMatching(text) });
      if (value) expect(JSON.parse((await command(...args, '--json')).out)).toEqual(value);
    }
  });

  it('list tasks in a table that fits 120 columns, with ages', async () => {
    const { code, out } = await command('list');
    const lines = out.trimEnd().split('\n');
    expect([code, lines[0]]).toEqual([0, expect.stringMatching(/^id +type$/)]);
    for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(120);
    expect(lines[3]).toMatch(new RegExp(`^${ODD}  gone\\.with_a_type_that_is.*…  died at ${TIME}$`));
    expect(lines[4]).toMatch(/^dead, queue gone, 26 failures: \uFFFD\[2J\uFFFD31mred\uFFFDder state completed too long .*…$/);
    expect(lines).toEqual(
      expect.arrayContaining([
        expect.stringMatching(new RegExp(`^${DEAD}  ${TYPE} +died at ${TIME}$`)),
        expect.stringMatching(/^dead, queue critical, 1 failure: the mail server refused the mail: 550$/),
        expect.stringMatching(new RegExp(`^${DONE}  account.purge_email_verifications +completed at ${TIME}$`)),
        expect.stringMatching(new RegExp(`^${LIVE}  ${TYPE} +next run ${TIME}$`)),
      ]),
    );
    const none = await command('list', '--state', 'dead', '--older-than', '2d');
    expect(none).toEqual({ code: 0, err: '', out: 'There is no dead task finished, or else committed, at least 2d ago.\n' });
    const shown: string[] = [];
    for (let after: string[] = []; ;) {
      const { out } = await command('list', '--limit', '2', ...after);
      shown.push(...Array.from(out.matchAll(/^019b\S+/gm), ([id]) => id));
      const next = /^There may be more: --after (\S+)$/m.exec(out)?.[1];
      if (next === undefined) break;
      after = ['--after', next];
    }
    expect(shown).toEqual([LATER, ODD, DONE, LIVE, DEAD]);
    await database.query('DELETE FROM task');
    expect((await command('list')).out).toBe('There is no task.\n');
    expect(JSON.parse((await command('list', '--json')).out)).toEqual({ tasks: [], order: 'created', took: expect.any(Number) as number });
  });

  it('show the queues and the counts in tables that fit 120 columns', async () => {
    const [queues, stats] = [await command('queues'), await command('stats')];
    expect(queues.out.split('\n')[0]).toMatch(/^queue +weight +paused +ready +running +delayed +dead +latency$/);
    expect(queues.out).toMatch(/^critical +10 +no +1 +0 +0 +1 +\d+(ms|s)$/m);
    expect(stats.out).toMatch(/^dead +2$/m);
    expect(stats.out).toMatch(/^critical +\d+(ms|s)$/m);
    for (const line of `${queues.out}${stats.out}`.split('\n')) expect(line.length).toBeLessThanOrEqual(120);
  });

  it('show whom a task concerns, when it died, and nothing else of its payload', async () => {
    const [text, json] = [await command('show', DEAD), await command('show', DEAD, '--json')];
    expect(text.out).toMatch(new RegExp(`^concerns +userId ${USER}$`, 'm'));
    expect(text.out).toMatch(new RegExp(`^died at +${TIME}$`, 'm'));
    expect(text.out).toMatch(new RegExp(`^committed +${TIME}$`, 'm'));
    expect(text.out).toMatch(new RegExp(`^  2020-01-01 00:00:00Z \\(\\w+ ago\\) buried: retry skipped: the mail server`, 'm'));
    const story = JSON.parse(json.out) as Record<string, unknown>;
    expect(story).toMatchObject({ id: DEAD, concerns: { userId: USER } });
    expect(Object.keys(story)).not.toContain('payload');
    expect(`${text.out}${json.out}`).not.toContain('ada@');
  });

  it('show the periodic tasks, pause and resume them', async () => {
    expect((await command('schedules')).out).toMatch(/^test.daily: every day at 03:00, Europe\/Berlin \(0 3 \* \* \* Europe\/Berlin\)$/m);
    expect((await command('schedule', 'pause', 'test.daily')).out).toBe('Done: Pause the schedule of "test.daily".\n');
    expect((await command('schedules')).out).toMatch(new RegExp(`^  paused since ${TIME}$`, 'm'));
    expect(JSON.parse((await command('schedule', 'resume', 'test.daily', '--json')).out)).toMatchObject({
      kind: 'resume schedule',
      state: 'done',
    });
    expect(JSON.parse((await command('schedules', '--json')).out)).toMatchObject([{ type: 'test.daily', pausedAt: null }]);
    await database.query(`UPDATE task_schedule SET declared_at = now() - interval '1 hour'`);
    expect((await command('schedules')).out).toContain('no worker declares it any more');
    expect((await command('schedule', 'delete', 'test.daily')).out).toBe('Done: Delete the schedule of "test.daily".\n');
    expect((await command('schedules')).out).toBe('No task runs by itself.\n');
  });

  it('show a payload without what nobody is to see of it, and who has asked for it', async () => {
    const { out } = await command('reveal', DEAD);
    expect(out).toBe(`{\n  "note": "for [address]",\n  "userId": "${USER}"\n}\nSecrets and addresses were taken out.\n`);
    await command('cancel', LIVE);
    const { out: actions } = await command('actions');
    expect(actions).toMatch(new RegExp(`^\\d+ ${TIME} \\S+, by make tasks: Reveal the payload of the task ${DEAD}$`, 'm'));
    expect(actions.split('\n').filter((line) => line.startsWith('  '))).toEqual(['  done: 1 of 1', '  done: 1 of 1']);
    expect(JSON.parse((await command('actions', '--limit', '1', '--json')).out)).toMatchObject([
      { kind: 'cancel', taskId: LIVE, state: 'done' },
    ]);
  });

  it('print no control character of what they show, and no line that is not theirs', async () => {
    const outputs = await Promise.all([command('show', ODD), command('show', ODD, '--json'), command('list'), command('list', '--json')]);
    for (const { code, out } of outputs) {
      expect(code).toBe(0);
      expect(out).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}]/u);
    }
    expect(outputs[0].out).not.toMatch(/^state +completed/m);
    expect((JSON.parse(outputs[1].out) as { error: string }).error).toBe(ODD_ERROR);
  });
});
