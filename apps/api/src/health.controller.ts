import { Controller, Get, Injectable, Logger, type OnModuleDestroy, Res } from '@nestjs/common';
import { Readiness } from '@app/rpc';
import type { FastifyReply } from 'fastify';
import { DataSource } from 'typeorm';

/** How long the database may take to answer, in milliseconds, before the app counts as not ready. */
const DEADLINE = 2_000;

/** Ready means: the database answers, and no shutdown has begun. */
@Injectable()
export class DatabaseReadiness extends Readiness implements OnModuleDestroy {
  private readonly logger = new Logger('Readiness');
  private probe?: Promise<boolean>;
  private last = true;
  private closing = false;

  constructor(private readonly dataSource: DataSource) {
    super();
  }

  override async isReady(): Promise<boolean> {
    if (this.closing) return false;
    // One probe at a time: while the database hangs, checks must not take connections away from calls.
    this.probe ??= this.dataSource
      .query('SELECT 1')
      .then(
        () => true,
        () => false,
      )
      .finally(() => (this.probe = undefined));
    const answered = await withDeadline(this.probe);
    if (answered !== this.last) {
      this.last = answered;
      if (answered) this.logger.log('the database answers again');
      else this.logger.warn('the database does not answer');
    }
    return answered;
  }

  onModuleDestroy(): void {
    this.closing = true;
  }
}

function withDeadline(probe: Promise<boolean>): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), DEADLINE);
    void probe.then((answered) => {
      clearTimeout(timer);
      resolve(answered);
    });
  });
}

/** Health over HTTP; `grpc.health.v1` says the same on gRPC. */
@Controller()
export class HealthController {
  constructor(private readonly readiness: Readiness) {}

  /** The process is alive. */
  @Get('healthz')
  alive() {
    return { status: 'ok' };
  }

  /** The process can serve. */
  @Get('readyz')
  async ready(@Res({ passthrough: true }) reply: FastifyReply) {
    if (await this.readiness.isReady()) return { status: 'ok' };
    reply.code(503);
    return { status: 'unavailable' };
  }
}
