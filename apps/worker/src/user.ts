import 'reflect-metadata';
import { type Role, ROLES, UserAdmin } from '@app/account';
import { Config } from '@app/config';
import { Argument, Command } from 'commander';
import { command } from './command.js';

await command(Config.load(), ({ terminal, run }) => {
  const program = new Command('user')
    .description('What those who run this installation do about people.')
    .showHelpAfterError('(--help says what there is)')
    .exitOverride()
    .configureOutput({ writeOut: (text) => terminal.say(text.trimEnd()), writeErr: (text) => terminal.fail(text.trimEnd()) });
  const role = new Argument('<role>', 'what they may be').choices(ROLES);
  program
    .command('grant')
    .description('give a person a role')
    .argument('<username>')
    .addArgument(role)
    .action((username: string, role: Role) =>
      run(async (app) => {
        const isNew = await app.get(UserAdmin, { strict: false }).grant(username, role);
        terminal.say(isNew ? `${username} is ${role} now` : `${username} was ${role} already`);
      }),
    );
  program
    .command('revoke')
    .description('take a role from a person')
    .argument('<username>')
    .addArgument(role)
    .action((username: string, role: Role) =>
      run(async (app) => {
        const had = await app.get(UserAdmin, { strict: false }).revoke(username, role);
        terminal.say(had ? `${username} is not ${role} any more` : `${username} was not ${role}`);
      }),
    );
  program
    .command('log-out')
    .description('end all sessions of a person')
    .argument('<username>')
    .action((username: string) =>
      run(async (app) => {
        const ended = await app.get(UserAdmin, { strict: false }).logOut(username);
        terminal.say(`${ended} ${ended === 1 ? 'session of' : 'sessions of'} ${username} ended`);
      }),
    );
  return program;
});
