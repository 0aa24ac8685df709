import { isIPv4 } from 'node:net';

type Environment = Readonly<Record<string, string | undefined>>;

/** Signs verification links on a developer's machine; refused in production. */
export const DEVELOPMENT_SECRET_KEY = 'd2F5YmlsbC1kZXZlbG9wbWVudC1zZWNyZXQta2V5ISE=';

/** What `make start` gives the console; refused in production. The stack's own settings say the same. */
export const DEVELOPMENT_CONSOLE_PASSWORD = 'waybill-operator';

/** What a production process must be told, because its default is for a developer's machine. */
const REQUIRED = ['DATABASE_URL', 'SMTP_URL', 'MAIL_FROM', 'PUBLIC_URL', 'SECRET_KEY'] as const;

/** Of 32 random bytes about 30 are different ones, and fewer than 20 in one of 10^10 keys; so it is with the steps between them. */
const FEWEST_DIFFERENT = 20;

/** Whether a host of a URL is this machine: its traffic leaves it on no wire. */
function isLoopback(hostname: string): boolean {
  const host = hostname.toLowerCase();
  return host === 'localhost' || host.endsWith('.localhost') || host === '[::1]' || (isIPv4(host) && host.startsWith('127.'));
}

/** Whether the database is on this machine: by a loopback address or a socket file. */
function isDatabaseHere(text: string): boolean {
  const { hostname, searchParams } = new URL(text);
  const host = searchParams.get('host') ?? decodeURIComponent(hostname);
  return host === '' || host.startsWith('/') || host === '::1' || isLoopback(host);
}

/** Whether a key looks like anything but 32 random bytes: a word, a pattern, a text in base64, or a text that is read as base64. */
function isGuessable(text: string): boolean {
  const key = Buffer.from(text, 'base64');
  // Of another length it is refused for that.
  if (key.length !== 32) return false;
  const steps = key.map((byte, index) => byte - (key[index - 1] ?? 0));
  return (
    new Set(key).size < FEWEST_DIFFERENT ||
    new Set(steps).size < FEWEST_DIFFERENT ||
    key.every((byte) => byte >= 0x20 && byte < 0x7f) ||
    !/[a-z]/.test(text) ||
    !/[A-Z]/.test(text)
  );
}

/** What an environment leaves out that production must be told, or says too weakly, a line each. What is no URL or key at all is left to the schema. */
export function productionProblems(given: Environment): string[] {
  const problems: string[] = REQUIRED.filter((name) => given[name] === undefined && given[`${name}_FILE`] === undefined).map(
    (name) => `${name}: must be set in production`,
  );
  const { SECRET_KEY, PUBLIC_URL, DATABASE_URL, REDIS_ADDRESS } = given;
  if (SECRET_KEY === DEVELOPMENT_SECRET_KEY) {
    problems.push('SECRET_KEY: is the development key; generate one with: openssl rand -base64 32');
  } else if (SECRET_KEY !== undefined && isGuessable(SECRET_KEY)) {
    problems.push('SECRET_KEY: can be guessed; generate one with: openssl rand -base64 32');
  }
  if (PUBLIC_URL !== undefined && URL.canParse(PUBLIC_URL)) {
    const { protocol, hostname } = new URL(PUBLIC_URL);
    if (protocol === 'http:' && !isLoopback(hostname))
      problems.push('PUBLIC_URL: must be https: in production, because links carry a secret');
  }
  if (DATABASE_URL !== undefined && URL.canParse(DATABASE_URL) && !isDatabaseHere(DATABASE_URL)) {
    if (!new URL(DATABASE_URL).searchParams.get('sslmode'))
      problems.push('DATABASE_URL: says nothing of TLS; add sslmode=verify-full, or sslmode=disable where the network is trusted');
  }
  // With a scheme it says whether.
  if (REDIS_ADDRESS !== undefined && !/^rediss?:\/\//.test(REDIS_ADDRESS) && URL.canParse(`redis://${REDIS_ADDRESS}`)) {
    if (!isLoopback(new URL(`redis://${REDIS_ADDRESS}`).hostname))
      problems.push('REDIS_ADDRESS: says nothing of TLS; write rediss://host:port, or redis://host:port where the network is trusted');
  }
  if (given['CONSOLE_PASSWORD'] === DEVELOPMENT_CONSOLE_PASSWORD)
    problems.push('CONSOLE_PASSWORD: is the one of `make start`, which everybody knows; generate one with: openssl rand -base64 24');
  if (given['FAULTS'] !== undefined) problems.push('FAULTS: is for tests; production has faults of its own');
  return problems;
}

/**
 * What is wrong where nobody has said that this is development, and the database
 * is not a developer's: the key that everybody knows would sign links to real
 * accounts, and server reflection would tell callers the contract.
 */
export function unsaidProblems(given: Environment): string[] {
  const { NODE_ENV, DATABASE_URL } = given;
  if (NODE_ENV !== undefined || DATABASE_URL === undefined || !URL.canParse(DATABASE_URL) || isDatabaseHere(DATABASE_URL)) return [];
  return [
    'NODE_ENV: must be set where DATABASE_URL is on another machine, to production or, with its known key and reflection, development',
  ];
}
