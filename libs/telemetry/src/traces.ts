import type { TraceSettings } from '@app/config';
import { context, propagation, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type Sampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import { resourceOf, type Service } from './resource.js';

/** How long the last spans may take to be sent. Milliseconds. */
const STOP_TIMEOUT = 2_000;

/** Begins to trace, in this process. @returns what sends the spans that were not yet sent; it takes {@link STOP_TIMEOUT} at most. */
export async function startTraces(settings: TraceSettings, service: Service): Promise<() => Promise<void>> {
  const { OTLPTraceExporter } = await (settings.OTEL_EXPORTER_OTLP_PROTOCOL === 'http/json'
    ? import('@opentelemetry/exporter-trace-otlp-http')
    : import('@opentelemetry/exporter-trace-otlp-proto'));
  const processor = new BatchSpanProcessor({
    // Its address, headers and timeout are the standard variables', which it reads itself.
    exporter: new OTLPTraceExporter(),
    scheduledDelayMillis: settings.OTEL_BSP_SCHEDULE_DELAY,
    exportTimeoutMillis: settings.OTEL_BSP_EXPORT_TIMEOUT,
    maxQueueSize: settings.OTEL_BSP_MAX_QUEUE_SIZE,
    maxExportBatchSize: settings.OTEL_BSP_MAX_EXPORT_BATCH_SIZE,
  });
  const provider = new TracerProvider({ sampler: samplerOf(settings), resource: resourceOf(service), spanProcessors: [processor] });
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  trace.setGlobalTracerProvider(provider);
  return async () => {
    const bound = AbortSignal.timeout(STOP_TIMEOUT);
    const over = new Promise<void>((resolve) => bound.addEventListener('abort', () => resolve(), { once: true }));
    // A collector that is away is no reason to end badly.
    await Promise.race([provider.shutdown().catch(() => undefined), over]);
  };
}

/** Which traces are kept, as the standard variables say it; those that begin elsewhere are kept where their beginning is. */
function samplerOf({ OTEL_TRACES_SAMPLER: name, OTEL_TRACES_SAMPLER_ARG: ratio }: TraceSettings): Sampler {
  const root = name.endsWith('always_on')
    ? new AlwaysOnSampler()
    : name.endsWith('always_off')
      ? new AlwaysOffSampler()
      : new TraceIdRatioBasedSampler(ratio);
  return name.startsWith('parentbased_') ? new ParentBasedSampler({ root }) : root;
}
