import { hostname } from 'node:os';
import { detectResources, envDetector, type Resource, resourceFromAttributes, serviceInstanceIdDetector } from '@opentelemetry/resources';

/** What an app says of itself. */
export interface Service {
  /** `api` or `worker`: `service.name` is `waybill-api`, unless OTEL_SERVICE_NAME says otherwise. */
  readonly app: string;
  readonly version: string | undefined;
}

/** Who tells something, by OpenTelemetry's names; the environment has the last word. */
export function resourceOf({ app, version }: Service): Resource {
  const own = { 'service.name': `waybill-${app}`, 'host.name': hostname(), ...(version !== undefined && { 'service.version': version }) };
  return resourceFromAttributes(own).merge(detectResources({ detectors: [serviceInstanceIdDetector, envDetector] }));
}
