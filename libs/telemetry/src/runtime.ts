import { type EventLoopUtilization, monitorEventLoopDelay, performance } from 'node:perf_hooks';
import type { MeterProvider } from '@opentelemetry/api';

/** How often the event loop is looked at: a delay is what comes on top. Milliseconds. */
const RESOLUTION = 10;
const PERCENTILES = [50, 90, 99] as const;

/**
 * The event loop and the memory of this process, by OpenTelemetry's names, since the
 * last time that somebody asked. OpenTelemetry's own package for it hears of every
 * collection of garbage besides, which cost a busy worker 8 % of its throughput.
 */
export function observeRuntime(provider: MeterProvider): void {
  const meter = provider.getMeter('waybill.runtime');
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION });
  delays.enable();
  const delay = (name: string, description: string) =>
    meter.createObservableGauge(`nodejs.eventloop.delay.${name}`, { unit: 's', description });
  const most = delay('max', 'The longest delay of the event loop.');
  const percentiles = PERCENTILES.map(
    (percentile) => [percentile, delay(`p${percentile}`, `Percentile ${percentile} of its delays.`)] as const,
  );
  const options = { unit: '1', description: 'The part of the time in which the event loop was busy.' };
  const utilization = meter.createObservableGauge('nodejs.eventloop.utilization', options);
  const memory = meter.createObservableUpDownCounter('process.memory.usage', { unit: 'By', description: 'Resident memory.' });
  let last: EventLoopUtilization | undefined;
  meter.addBatchObservableCallback(
    (result) => {
      // None where it was not looked at since.
      const seconds = (nanoseconds: number) => (delays.count === 0 ? 0 : Math.max(0, nanoseconds / 1e9 - RESOLUTION / 1_000));
      result.observe(most, seconds(delays.max));
      for (const [percentile, gauge] of percentiles) result.observe(gauge, seconds(delays.percentile(percentile)));
      delays.reset();
      const present = performance.eventLoopUtilization();
      result.observe(utilization, performance.eventLoopUtilization(present, last).utilization);
      last = present;
      result.observe(memory, process.memoryUsage.rss());
    },
    [most, ...percentiles.map(([, gauge]) => gauge), utilization, memory],
  );
}
