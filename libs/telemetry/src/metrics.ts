import { metrics } from '@opentelemetry/api';
import { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import {
  AggregationTemporality,
  AggregationType,
  DataPointType,
  InstrumentType,
  MeterProvider,
  type MetricData,
  type ResourceMetrics,
} from '@opentelemetry/sdk-metrics';
import { resourceOf, type Service } from './resource.js';
import { observeRuntime } from './runtime.js';

/** How many different sets of labels a metric has at most; what is beyond is counted in one that says so. */
const MOST_SERIES = 2_000;

/** Seconds: from a fast call or task to one that is slow, and beyond into what waits. */
const DURATIONS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200];
const SIZES = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500];

/** What the names of Prometheus end in, by the unit. */
const SUFFIXES: Readonly<Record<string, string>> = { s: 'seconds', By: 'bytes' };

/**
 * A gauge says what is seen now. Added up over time, as everything else is, it would
 * go on with the last value of what is not seen any more: of a problem that is over,
 * or of all queues when another worker was elected.
 */
class Reader extends PrometheusExporter {
  override selectAggregationTemporality(type: InstrumentType): AggregationTemporality {
    return type === InstrumentType.OBSERVABLE_GAUGE ? AggregationTemporality.DELTA : AggregationTemporality.CUMULATIVE;
  }
}

/** Begins to count, in this process. @returns what gives all metrics as Prometheus reads them. */
export function startMetrics(service: Service): () => Promise<string> {
  const reader = new Reader({ preventServerStart: true });
  const histogram = (instrumentUnit: string, boundaries: number[]) => ({
    instrumentType: InstrumentType.HISTOGRAM,
    instrumentUnit,
    aggregation: { type: AggregationType.EXPLICIT_BUCKET_HISTOGRAM, options: { boundaries } } as const,
    aggregationCardinalityLimit: MOST_SERIES,
  });
  const provider = new MeterProvider({
    resource: resourceOf(service),
    readers: [reader],
    views: [histogram('s', DURATIONS), histogram('{task}', SIZES)],
  });
  metrics.setGlobalMeterProvider(provider);
  observeRuntime(provider);
  const serializer = new PrometheusSerializer(undefined, false, undefined, false, true);
  return async () => serializer.serialize(withUnits((await reader.collect()).resourceMetrics));
}

/** Names with their units, as OpenTelemetry's rules for Prometheus ask for; the serializer leaves them out. */
function withUnits(metrics: ResourceMetrics): ResourceMetrics {
  const named = (metric: MetricData): MetricData => {
    const { name, unit } = metric.descriptor;
    const suffix = unit === '1' && metric.dataPointType === DataPointType.GAUGE ? 'ratio' : SUFFIXES[unit];
    return suffix === undefined ? metric : { ...metric, descriptor: { ...metric.descriptor, name: `${name}.${suffix}` } };
  };
  return { ...metrics, scopeMetrics: metrics.scopeMetrics.map((scope) => ({ ...scope, metrics: scope.metrics.map(named) })) };
}
