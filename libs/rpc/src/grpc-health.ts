import type { sendUnaryData, Server, ServerUnaryCall, ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import type { Readiness } from './readiness.js';

/** How often those who watch are told, in milliseconds; a check asks anew. */
const WATCH_INTERVAL = 5_000;

interface WatchedCall {
  readonly request: { readonly service: string };
  write(answer: { status: string }): void;
}

type Check = (call: ServerUnaryCall<unknown, unknown>, callback: sendUnaryData<unknown>) => void;

/** grpc.health.v1: the readiness of the app, for the whole server and for each of its services alike. */
export class GrpcHealth {
  private readonly health = new HealthImplementation();
  private timer?: NodeJS.Timeout;
  private stopped = false;

  constructor(
    private readonly services: readonly string[],
    private readonly readiness: Readiness,
  ) {
    this.set(false);
  }

  addTo(server: Server): void {
    this.health.addToServer({
      addService: (definition: ServiceDefinition, implementation: UntypedServiceImplementation) => {
        const check = implementation['check'] as Check;
        const checkAnew: Check = (call, callback) => void this.refresh().then(() => check(call, callback));
        const watch = implementation['watch'] as (call: WatchedCall) => void;
        // The package would remember every name that was ever asked for.
        const watchKnown = (call: WatchedCall) => {
          if (['', ...this.services].includes(call.request.service)) watch(call);
          else call.write({ status: 'SERVICE_UNKNOWN' });
        };
        server.addService(definition, { ...implementation, check: checkAnew, watch: watchKnown as never });
      },
    });
    this.timer = setInterval(() => void this.refresh(), WATCH_INTERVAL).unref();
  }

  /** Says NOT_SERVING from now on. */
  stop(): void {
    this.stopped = true;
    clearInterval(this.timer);
    this.set(false);
  }

  private async refresh(): Promise<void> {
    const ready = await this.readiness.isReady();
    this.set(ready && !this.stopped);
  }

  private set(serving: boolean): void {
    for (const service of ['', ...this.services]) this.health.setStatus(service, serving ? 'SERVING' : 'NOT_SERVING');
  }
}
