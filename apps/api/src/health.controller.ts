import { Controller, Get, Res } from '@nestjs/common';
import { DatabaseReadiness } from '@app/database';
import type { FastifyReply } from 'fastify';

/** Health over HTTP; `grpc.health.v1` says the same on gRPC. */
@Controller()
export class HealthController {
  constructor(private readonly readiness: DatabaseReadiness) {}

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
    return { status: 'unavailable', reason: this.readiness.reason };
  }
}
