import {
  type Attributes,
  type Context,
  context,
  type Histogram,
  isSpanContextValid,
  metrics,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import { Code } from './rpc-error.js';

/** The codes of gRPC that are the server's fault, by the RPC conventions; of the others the caller's span speaks. */
const FAULTS: ReadonlySet<Code> = new Set([
  Code.UNKNOWN,
  Code.DEADLINE_EXCEEDED,
  Code.UNIMPLEMENTED,
  Code.INTERNAL,
  Code.UNAVAILABLE,
  Code.DATA_LOSS,
]);

/** What came with a call beside its message: the headers, or the metadata as an object. */
type Carrier = Readonly<Record<string, unknown>>;

/** What a call is to others, as its transport's conventions have it; never the caller's text. */
export type CallSubject =
  | { readonly transport: 'grpc'; /** `package.Service/Method`. */ readonly rpc: string }
  | { readonly transport: 'http'; readonly method: string; /** Undefined where no route answers. */ readonly route: string | undefined };

/** How a call has ended. */
export interface CallEnd {
  readonly code: Code;
  /** Of HTTP; undefined where nothing was answered. */
  readonly status?: number | undefined;
  /** As `performance.now()` tells it. */
  readonly startedAt: number;
}

/** The span of a call, and the context in which it is handled: by OpenTelemetry's conventions for RPC and HTTP servers. */
export class CallSpan {
  /** Undefined where nothing is traced. */
  readonly traceId: string | undefined;

  private constructor(
    private readonly subject: CallSubject,
    private readonly span: Span | undefined,
    private readonly context: Context,
  ) {
    const traced = span?.spanContext();
    this.traceId = traced && isSpanContextValid(traced) ? traced.traceId : undefined;
  }

  /** Begins in the trace that the caller says it is part of. @param isProbe a health check, which would only fill the traces. */
  static begin(subject: CallSubject, carrier: Carrier, isProbe: boolean): CallSpan {
    if (isProbe) return new CallSpan(subject, undefined, ROOT_CONTEXT);
    const parent = propagation.extract(ROOT_CONTEXT, carrier);
    const name = subject.transport === 'grpc' ? subject.rpc : [subject.method, subject.route].filter(Boolean).join(' ');
    const options = { kind: SpanKind.SERVER, attributes: attributesOf(subject) };
    const span = trace.getTracer('waybill.rpc').startSpan(name, options, parent);
    return new CallSpan(subject, span, trace.setSpan(parent, span));
  }

  /** Runs what handles the call so that what it does, at any depth, is part of the trace. */
  run<T>(work: () => T): T {
    return context.with(this.context, work);
  }

  /** Ends the span, and counts the call. */
  end({ code, status, startedAt }: CallEnd): void {
    const { subject, span } = this;
    const name = Code[code] ?? 'UNKNOWN';
    const isFault = subject.transport === 'grpc' ? FAULTS.has(code) : status !== undefined && status >= 500;
    const answer: Attributes = {
      ...(subject.transport === 'grpc' && { 'rpc.response.status_code': name }),
      ...(status !== undefined && { 'http.response.status_code': status }),
      ...(isFault && { 'error.type': name }),
    };
    durations(subject.transport).record((performance.now() - startedAt) / 1_000, { ...attributesOf(subject), ...answer });
    if (!span) return;
    span.setAttributes(answer);
    if (isFault) span.setStatus({ code: SpanStatusCode.ERROR });
    span.end();
  }
}

function attributesOf(subject: CallSubject): Attributes {
  if (subject.transport === 'grpc') return { 'rpc.system.name': 'grpc', 'rpc.method': subject.rpc };
  return { 'http.request.method': subject.method, ...(subject.route !== undefined && { 'http.route': subject.route }) };
}

const made = new Map<string, Histogram>();

/** Made when it is first needed: when this file is loaded, nobody has said yet who reads it. */
function durations(transport: CallSubject['transport']): Histogram {
  let histogram = made.get(transport);
  if (!histogram) {
    const name = transport === 'grpc' ? 'rpc.server.call.duration' : 'http.server.request.duration';
    histogram = metrics.getMeter('waybill.rpc').createHistogram(name, { unit: 's', description: 'How long calls took.' });
    made.set(transport, histogram);
  }
  return histogram;
}
