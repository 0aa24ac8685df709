import { Logger } from '@nestjs/common';
import { Task, type TaskContext, type TaskHandler } from '@app/tasks';
import { z } from 'zod';
import { SigningKeys } from './signing-keys.js';

const payload = z.object({});

/**
 * Makes a new key for access tokens once a month, and deletes those that signed
 * nothing for a day. Looks once a day.
 *
 * Run twice, it finds nothing to do the second time.
 */
@Task({ type: 'account.rotate_signing_keys', payload, maxRetry: 3, timeout: '1m', schedule: { cron: '40 3 * * *', missed: 'once' } })
export class RotateSigningKeys implements TaskHandler<z.output<typeof payload>> {
  private readonly logger = new Logger('RotateSigningKeys');

  constructor(private readonly keys: SigningKeys) {}

  async handle(_: z.output<typeof payload>, task: TaskContext): Promise<void> {
    this.logger.log(await task.transaction((manager) => this.keys.rotate(manager)), 'looked after the keys for access tokens');
  }
}
