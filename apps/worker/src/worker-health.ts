import type { INestApplicationContext } from '@nestjs/common';
import type { Config } from '@app/config';
import { assertDatabase, DatabaseProblem, DatabaseReadiness, pendingMigrations } from '@app/database';
import { TaskHealth } from '@app/tasks';
import type { Health } from '@app/telemetry';
import { migrations } from './migrations.js';

/** A worker that has not started yet: it waits for its database, and says so. */
export function starting(config: Config): Health {
  let looking: Promise<string> | undefined;
  const look = async () => {
    try {
      await assertDatabase(config, [(client) => pendingMigrations(client, migrations)]);
      return 'the worker is starting';
    } catch (error) {
      if (!(error instanceof DatabaseProblem)) throw error;
      return error.message;
    }
  };
  return {
    hung: () => undefined,
    // However many ask at once: each look is a connection to a database that may have none left.
    unready: () => (looking ??= look().finally(() => (looking = undefined))),
  };
}

/** A worker that has: it is ready while it can take tasks, and well while its loops come to an end. */
export function running(app: INestApplicationContext): Health {
  const database = app.get(DatabaseReadiness, { strict: false });
  const tasks = app.get(TaskHealth, { strict: false });
  return {
    hung: () => tasks.hung(),
    async unready() {
      return (await database.isReady()) ? tasks.idleBecause() : database.reason;
    },
  };
}
