import { Logger, Module, type OnApplicationShutdown } from '@nestjs/common';
import type { Config } from '@app/config';
import { scrub } from '@app/redaction';
import { diag, DiagLogLevel } from '@opentelemetry/api';
import type { Service } from './resource.js';

/** How often the same trouble with a collector is told. Milliseconds. */
const REMINDER_INTERVAL = 60_000;

/** Sends the spans that were not yet sent. OpenTelemetry's providers are the process's, and so is this. */
let flush: () => Promise<void> = () => Promise.resolve();

/** Has the last spans sent when an app ends. */
@Module({})
export class TelemetryModule implements OnApplicationShutdown {
  onApplicationShutdown(): Promise<void> {
    return flush();
  }
}

/**
 * Begins to count and to trace, by OpenTelemetry's packages, in this process; before
 * anything is made that has something to count. What is off is not even loaded: metrics
 * where nobody asks for them, traces without `OTEL_EXPORTER_OTLP_ENDPOINT`.
 *
 * @param hasMetrics whether somebody asks for metrics.
 * @returns what gives all metrics as Prometheus reads them; undefined where none are counted.
 */
export async function startTelemetry(config: Config, service: Service, hasMetrics: boolean): Promise<(() => Promise<string>) | undefined> {
  const { traces } = config;
  if (hasMetrics || traces) diag.setLogger(sparingLogger(), DiagLogLevel.WARN);
  if (traces) flush = await (await import('./traces.js')).startTraces(traces, service);
  return hasMetrics ? (await import('./metrics.js')).startMetrics(service) : undefined;
}

/** OpenTelemetry's own words; a collector that is away would be told of with every batch. */
function sparingLogger() {
  const logger = new Logger('Telemetry');
  let toldAt = 0;
  const tell = (message: string) => {
    if (Date.now() - toldAt < REMINDER_INTERVAL) return;
    toldAt = Date.now();
    logger.warn(scrub(message));
  };
  const nothing = () => undefined;
  return { error: tell, warn: tell, info: nothing, debug: nothing, verbose: nothing };
}
