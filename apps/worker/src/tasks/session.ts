import type { TaskAdmin } from '@app/tasks';
import type { Terminal } from './terminal.js';

/** What the commands work with. */
export interface Session {
  /** Has an action done by a {@link TaskAdmin}, and says what was wrong when it fails. */
  readonly run: (action: (admin: TaskAdmin) => Promise<void>) => Promise<void>;
  readonly terminal: Terminal;
}
