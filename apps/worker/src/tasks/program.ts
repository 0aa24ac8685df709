import { Command } from 'commander';
import { addChangeCommands } from './change.js';
import { addLookCommands } from './look.js';
import { refuseRepetition } from './options.js';
import type { Session } from './session.js';

/** The operators' command line. Parsing throws a `CommanderError` for what cannot be read, once that has been said. */
export function createProgram(session: Session): Command {
  const { terminal } = session;
  const program = new Command('tasks')
    .description('Look at tasks, and take care of them.')
    .showHelpAfterError('(--help says what there is)')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.say(text.trimEnd()),
      writeErr: (text) => terminal.fail(text.trimEnd()),
    });
  addLookCommands(program, session);
  addChangeCommands(program, session);
  program.commands.forEach(refuseRepetition);
  return program;
}
