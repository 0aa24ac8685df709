import { type Attributes, context, propagation, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';

/** The system, as OpenTelemetry's messaging conventions call it. */
export const SYSTEM = 'waybill';

/** The trace that a task belongs to, as the W3C has it: kept in the ledger, and so there for every attempt. */
export interface TraceContext {
  readonly traceparent: string;
  readonly tracestate?: string;
}

/** The longest `tracestate` that is kept; the W3C asks for 512 characters at least. */
const MAX_STATE = 512;

/** The tracer of the engine; it traces nothing until the app has said to whom. */
export const TRACER = 'waybill.tasks';
const tracer = trace.getTracer(TRACER);

/**
 * Distributes tasks in a span of its own.
 *
 * @param attributes what the messaging conventions ask for besides. @param work is given what is to be kept with the tasks; undefined where nothing is traced.
 */
export async function tracedDistribution<T>(
  queue: string,
  attributes: Attributes,
  work: (kept: TraceContext | undefined) => Promise<T>,
): Promise<T> {
  const all = { 'messaging.system': SYSTEM, 'messaging.operation.name': 'distribute', 'messaging.operation.type': 'send', ...attributes };
  return tracer.startActiveSpan(
    `distribute ${queue}`,
    { kind: SpanKind.PRODUCER, attributes: { 'messaging.destination.name': queue, ...all } },
    async (span) => {
      try {
        return await work(currentTrace());
      } catch (error) {
        // Its words may say something of a person; whoever catches it has them.
        span.setStatus({ code: SpanStatusCode.ERROR });
        span.setAttribute('error.type', error instanceof Error ? error.name : 'unknown');
        throw error;
      } finally {
        span.end();
      }
    },
  );
}

function currentTrace(): TraceContext | undefined {
  const carrier: { traceparent?: string; tracestate?: string } = {};
  propagation.inject(context.active(), carrier);
  const { traceparent, tracestate } = carrier;
  if (traceparent === undefined) return undefined;
  return { traceparent, ...(tracestate !== undefined && tracestate.length <= MAX_STATE && { tracestate }) };
}

/** The id of the trace that a task belongs to, for its lines in the log. */
export function traceIdOf(kept: TraceContext | undefined): string | undefined {
  return kept?.traceparent.split('-')[1];
}
