import { randomBytes } from 'node:crypto';
import { UserService } from '@app/contract';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../../scripts/stack/ports.ts';
import { type Dispatcher, isAvailable } from '../support/engine.js';
import { eventually } from '../support/eventually.js';
import { KIND, OtlpReceiver, type ReceivedSpan } from '../support/otlp-receiver.js';
import { somebody } from '../support/people.js';
import { Waybill } from '../support/waybill.js';

const TYPE = 'account.send_verification_email';
const QUEUE = 'messaging_destination_name="critical"';

/** What the system tells of itself: one sign-up in one trace, and in the metrics. One suite for every dispatcher. */
export function describeTelemetry(dispatcher: Dispatcher): void {
  describe.skipIf(!isAvailable(dispatcher))(`telemetry, with the queues in ${dispatcher}`, { timeout: 120_000 }, () => {
    let waybill: Waybill;
    let collector: OtlpReceiver;
    let ports: { api: number; worker: number };
    beforeAll(async () => {
      collector = await OtlpReceiver.start();
      ports = { api: await freePort(), worker: await freePort() };
      const environment = {
        OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
        OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
        OTEL_BSP_SCHEDULE_DELAY: '200',
        OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test',
        METRICS_PORT: String(ports.api),
        WORKER_HTTP_PORT: String(ports.worker),
      };
      waybill = await Waybill.start(dispatcher, { environment });
      await waybill.retryQuickly(1_000);
    });
    afterAll(async () => {
      await waybill?.close();
      await collector?.close();
    });

    const metrics = async (app: 'api' | 'worker') => (await fetch(`http://127.0.0.1:${ports[app]}/metrics`)).text();
    /** The value of the one line that begins so and has all these labels; 0 where there is none. */
    const valueOf = (text: string, name: string, ...labels: string[]): number => {
      const lines = text.split('\n').filter((line) => line.startsWith(`${name}{`) && labels.every((label) => line.includes(label)));
      return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
    };
    const signUp = async (transport: 'http' | 'grpc', traceId: string, person: ReturnType<typeof somebody>) => {
      const traceparent = `00-${traceId}-${randomBytes(8).toString('hex')}-01`;
      const answer = await waybill[transport].call(UserService.method.createUser, person, { traceparent });
      expect(answer.code).toBe(0);
      return traceparent.split('-')[2]!;
    };
    const whole = (traceId: string, count: number): Promise<ReceivedSpan[]> =>
      eventually(() => {
        const spans = collector.spansOf(traceId);
        if (spans.length < count) throw new Error(`${spans.length} of ${count} spans: ${spans.map(({ name }) => name).join(', ')}`);
        return spans;
      });

    it.each(['http', 'grpc'] as const)(
      'has a sign-up over %s, its task, a retry and both mails in the one trace of the caller',
      async (transport) => {
        const traceId = randomBytes(16).toString('hex');
        const person = somebody();
        waybill.mail.when(person.email, { refuse: 451, at: 'recipient' });
        const caller = await signUp(transport, traceId, person);
        await eventually(() => waybill.mail.triesTo(person.email).length === 1);
        waybill.mail.when(person.email, 'accept');
        await waybill.mail.mailTo(person.email);
        const spans = await whole(traceId, 6);

        const named = (name: string) => spans.filter((span) => span.name === name);
        const [call] = named(transport === 'http' ? 'POST /v1/users' : 'account.v1.UserService/CreateUser');
        const [distribution] = named('distribute critical');
        const attempts = named('process critical').toSorted(
          (a, b) => Number(a.attributes['waybill.task.attempt']) - Number(b.attributes['waybill.task.attempt']),
        );
        const mails = named('send mail');
        expect(spans).toHaveLength(6);
        expect(call).toMatchObject({ service: 'waybill-api', kind: KIND.server, parentSpanId: caller });
        expect(distribution).toMatchObject({ service: 'waybill-api', kind: KIND.producer, parentSpanId: call!.spanId });
        const task = { 'messaging.system': 'waybill', 'messaging.destination.name': 'critical', 'waybill.task.type': TYPE };
        const taskId = distribution!.attributes['messaging.message.id'];
        expect(distribution!.attributes).toMatchObject({ ...task, 'messaging.operation.type': 'send' });
        for (const [index, attempt] of attempts.entries()) {
          expect(attempt).toMatchObject({
            service: 'waybill-worker',
            kind: KIND.consumer,
            parentSpanId: distribution!.spanId,
            links: [{ traceId, spanId: distribution!.spanId }],
            attributes: { ...task, 'messaging.message.id': taskId, 'waybill.task.attempt': index + 1 },
          });
        }
        expect(attempts.map(({ attributes, status }) => [attributes['waybill.task.outcome'], status.code])).toEqual([
          ['retry', 2],
          ['completed', 0],
        ]);
        expect(mails.map(({ kind }) => kind)).toEqual([KIND.client, KIND.client]);
        expect(mails.map(({ parentSpanId }) => parentSpanId).sort()).toEqual(attempts.map(({ spanId }) => spanId).sort());
        const lines = waybill.lines.filter((line) => line['trace_id'] === traceId);
        expect(lines.map(({ msg }) => msg)).toEqual(expect.arrayContaining(['call', 'task completed']));
        expect(collector.bodies.join()).not.toContain(person.email);
        expect(collector.bodies.join()).not.toMatch(/token=|@example\.com/);
      },
    );

    it('counts exactly what has happened, and names nobody', async () => {
      await waybill.idle();
      const person = somebody();
      const refused = { ...somebody(), username: 'x' };
      const before = await eventually(async () => {
        const text = { api: await metrics('api'), worker: await metrics('worker') };
        // Measured by the elected worker.
        return text.worker.includes('waybill_queue_latency_seconds{') ? text : undefined;
      });
      await signUp('http', randomBytes(16).toString('hex'), person);
      expect((await waybill.grpc.call(UserService.method.createUser, refused)).code).not.toBe(0);
      await waybill.mail.mailTo(person.email);
      await waybill.idle();
      const moved = async (app: 'api' | 'worker', name: string, ...labels: string[]) =>
        valueOf(await metrics(app), name, ...labels) - valueOf(before[app], name, ...labels);
      await eventually(async () => (await moved('worker', 'waybill_task_attempts_total', QUEUE, 'outcome="completed"')) === 1);
      await expect(moved('api', 'messaging_client_sent_messages_total', QUEUE, TYPE)).resolves.toBe(1);
      await expect(moved('worker', 'messaging_client_consumed_messages_total', QUEUE, TYPE)).resolves.toBe(1);
      await expect(moved('worker', 'messaging_process_duration_seconds_count', QUEUE, TYPE)).resolves.toBe(1);
      await expect(moved('worker', 'waybill_task_wait_seconds_count', QUEUE, TYPE)).resolves.toBe(1);
      await expect(moved('worker', 'waybill_task_attempts_total', 'outcome="retry"')).resolves.toBe(0);
      await expect(
        moved('api', 'http_server_request_duration_seconds_count', 'http_route="/v1/users"', 'http_response_status_code="200"'),
      ).resolves.toBe(1);
      await expect(
        moved('api', 'rpc_server_call_duration_seconds_count', 'CreateUser', 'rpc_response_status_code="INVALID_ARGUMENT"'),
      ).resolves.toBe(1);
      const { api, worker } = { api: await metrics('api'), worker: await metrics('worker') };
      expect(valueOf(worker, 'waybill_queue_workers', QUEUE)).toBe(1);
      expect(valueOf(worker, 'waybill_worker_slots', 'state="free"') + valueOf(worker, 'waybill_worker_slots', 'state="used"')).toBe(15);
      for (const name of ['db_client_connection_max', 'nodejs_eventloop_delay_p99_seconds', 'nodejs_eventloop_utilization_ratio']) {
        expect([api, worker].map((text) => text.includes(`\n${name}`))).toEqual([true, true]);
      }
      expect(worker.includes('waybill_relay_lag_seconds')).toBe(dispatcher === 'redis');
      expect(worker.includes('waybill_claim_size_count')).toBe(dispatcher === 'postgres');
      for (const text of [api, worker]) expect(text).not.toMatch(/@|token|example\.com|hunter2/);
    });

    it('says what is wrong while it is, and no longer', async () => {
      const kind = 'kind="paused queue with a backlog"';
      const isSaid = async () => (await metrics('worker')).includes(kind);
      expect((await waybill.tasks('pause', 'default')).code).toBe(0);
      await waybill.database.query(
        `INSERT INTO task (id, type, queue, payload, options) VALUES (gen_random_uuid(), 'account.purge_sessions', 'default', '{}', '{"maxRetry": 0, "timeout": 60000}')`,
      );
      await eventually(isSaid);
      expect((await waybill.tasks('resume', 'default')).code).toBe(0);
      await eventually(async () => !(await isSaid()));
    });

    it('labels what anybody may name with nothing of it', async () => {
      const strange = `strange-${randomBytes(4).toString('hex')}`;
      await waybill.fetch(`/${strange}`, { method: 'DELETE' });
      await waybill.database.query(
        `INSERT INTO task (id, type, queue, payload, options) VALUES (gen_random_uuid(), $1, 'default', '{}', '{"maxRetry": 0, "timeout": 1000}')`,
        [strange],
      );
      await eventually(
        async () => valueOf(await metrics('worker'), 'waybill_task_attempts_total', 'waybill_task_type="unknown"', 'outcome="snooze"') > 0,
      );
      expect(`${await metrics('api')}${await metrics('worker')}`).not.toContain(strange);
    });
  });
}
