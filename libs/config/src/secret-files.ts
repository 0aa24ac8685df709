import { readFileSync } from 'node:fs';

/** The variables that hold a secret, or an address with a password in it. */
const SECRETS = ['DATABASE_URL', 'REDIS_ADDRESS', 'SMTP_URL', 'CONSOLE_PASSWORD', 'SECRET_KEY'] as const;

type Environment = Readonly<Record<string, string>>;

/**
 * Reads the secrets that are in files, as containers are given them: where
 * `NAME_FILE` is set, its file's text is `NAME`, without the line's end.
 *
 * @returns the environment with them, and what is wrong, a line each, without the text of a file.
 */
export function withSecretFiles(environment: Environment): { readonly given: Environment; readonly problems: readonly string[] } {
  const given = { ...environment };
  const problems: string[] = [];
  for (const name of SECRETS) {
    const path = environment[`${name}_FILE`];
    if (path === undefined) continue;
    if (environment[name] !== undefined) {
      problems.push(`${name}_FILE: is set, and ${name} as well: only one of them may be`);
      continue;
    }
    try {
      const text = readFileSync(path, 'utf8').replace(/\r?\n$/, '');
      if (text === '') problems.push(`${name}_FILE: the file is empty`);
      else given[name] = text;
    } catch (error) {
      // Not there, not readable for us, or a folder.
      problems.push(`${name}_FILE: the file cannot be read (${(error as NodeJS.ErrnoException).code})`);
    }
  }
  return { given, problems };
}
