import { Injectable } from '@nestjs/common';
import { EngineOptions } from '../options.js';
import { type Counter, type Histogram, metrics } from '@opentelemetry/api';

/** Counts what claims bring, and tasks that have lost their worker. */
@Injectable()
export class ClaimTelemetry {
  private readonly sizes: Histogram;
  private readonly losses: Counter;

  constructor({ queueNames }: EngineOptions) {
    const meter = metrics.getMeter('waybill.tasks');
    this.sizes = meter.createHistogram('waybill.claim.size', {
      unit: '{task}',
      description: 'How many tasks a claim from the ledger brought.',
    });
    this.losses = meter.createCounter('waybill.task.crashes', {
      unit: '{crash}',
      description: 'How often a task lost the worker that had taken it, whosever fault that was.',
    });
    // A counter that begins with its first crash hides that one from whoever asks for its increase.
    for (const queue of queueNames) this.losses.add(0, { 'messaging.destination.name': queue });
  }

  claimed(queue: string, size: number): void {
    this.sizes.record(size, { 'messaging.destination.name': queue });
  }

  crashed(queue: string, count = 1): void {
    if (count > 0) this.losses.add(count, { 'messaging.destination.name': queue });
  }
}
