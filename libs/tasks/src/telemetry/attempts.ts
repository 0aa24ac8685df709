import { Injectable } from '@nestjs/common';
import {
  type Attributes,
  context,
  type Histogram,
  metrics,
  propagation,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import type { Delivery, Outcome } from '../dispatch/delivery.js';
import { DatabaseClock } from '../ledger/database-clock.js';
import { TaskRegistry } from '../run/registry.js';
import { Tally } from './tally.js';
import { SYSTEM, TRACER } from './trace-context.js';

/** What stands for a type that this worker does not know: anybody's text, and no label. */
const UNKNOWN = 'unknown';

/** Tells of every attempt: a span, linked to the one that has distributed the task, and what is counted and measured of it. */
@Injectable()
export class AttemptTelemetry {
  private readonly waits: Histogram;
  private readonly runs: Histogram;
  private readonly consumed: Tally;
  private readonly attempts: Tally;
  private readonly tracer = trace.getTracer(TRACER);

  constructor(
    private readonly registry: TaskRegistry,
    private readonly clock: DatabaseClock,
  ) {
    const meter = metrics.getMeter('waybill.tasks');
    this.waits = meter.createHistogram('waybill.task.wait', { unit: 's', description: 'How long tasks that were due waited to begin.' });
    this.runs = meter.createHistogram('messaging.process.duration', { unit: 's', description: 'How long attempts took.' });
    this.consumed = new Tally('messaging.client.consumed.messages', { unit: '{message}', description: 'Attempts that were begun.' });
    this.attempts = new Tally('waybill.task.attempts', { unit: '{attempt}', description: 'How attempts ended.' });
  }

  /** Runs an attempt, and tells of it; what it logs and distributes is part of the task's trace. */
  async run(delivery: Delivery, work: () => Promise<Outcome>): Promise<Outcome> {
    const { queue, dueAt } = delivery;
    const type = this.registry.find(delivery.type) ? delivery.type : UNKNOWN;
    const named = { 'messaging.destination.name': queue, 'waybill.task.type': type };
    const conventional = { 'messaging.system': SYSTEM, 'messaging.operation.name': 'process', ...named };
    if (dueAt !== undefined) this.waits.record(Math.max(0, this.clock.now() - dueAt) / 1_000, named);
    this.consumed.add(`${type} ${queue}`, () => conventional);
    const { parent, span } = this.spanOf(delivery, { ...conventional, 'messaging.operation.type': 'process' });
    const begun = performance.now();
    const outcome = await context.with(trace.setSpan(parent, span), work);
    const failure = outcome.kind === 'retry' || outcome.kind === 'buried' ? outcome.failure.error : undefined;
    const error = failure && { 'error.type': failure.type };
    this.runs.record((performance.now() - begun) / 1_000, { ...conventional, ...error });
    const ending = outcomeOf(outcome);
    this.attempts.add(`${type} ${queue} ${ending}`, () => ({ ...named, outcome: ending }));
    span.setAttributes({ 'waybill.task.outcome': ending, ...error });
    // Without its words, which may say something of a person: the log has them, under the trace's id.
    if (failure) span.setStatus({ code: SpanStatusCode.ERROR });
    span.end();
    return outcome;
  }

  /** Of the distribution's trace, so that one story has both; and linked to it, as the conventions have it for what runs later. */
  private spanOf(delivery: Delivery, attributes: Attributes) {
    const { id, failures, options } = delivery;
    const parent = options.trace ? propagation.extract(ROOT_CONTEXT, options.trace) : ROOT_CONTEXT;
    const distributed = trace.getSpanContext(parent);
    const span = this.tracer.startSpan(
      `process ${delivery.queue}`,
      {
        kind: SpanKind.CONSUMER,
        attributes: { ...attributes, 'messaging.message.id': id, 'waybill.task.attempt': failures + 1 },
        links: distributed ? [{ context: distributed }] : [],
      },
      parent,
    );
    return { parent, span };
  }
}

function outcomeOf(outcome: Outcome): string {
  return outcome.kind === 'completed' && outcome.moot !== undefined ? 'moot' : outcome.kind;
}
