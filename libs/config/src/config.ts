import { existsSync } from 'node:fs';
import { isIP } from 'node:net';
import ms, { type StringValue } from 'ms';
import { z } from 'zod';
import { DEVELOPMENT_CONSOLE_PASSWORD, DEVELOPMENT_SECRET_KEY, productionProblems, unsaidProblems } from './production.js';
import { parseQueueWeights } from './queue-weights.js';
import { withSecretFiles } from './secret-files.js';
import { type TraceSettings, tracesOf, traceVariables } from './traces.js';

const port = (fallback: number) => z.coerce.number().int().min(0).max(65535).default(fallback);

/** A duration in the words of the `ms` package (`10s`, `5m`, `1h`); read as milliseconds. */
const duration = (fallback: StringValue) =>
  z
    .string()
    .default(fallback)
    .transform((text, context) => {
      const milliseconds = /^\d/.test(text) ? ms(text as StringValue) : undefined;
      if (milliseconds === undefined) {
        context.addIssue({ code: 'custom', message: 'must be a duration such as 500ms, 10s or 5m' });
        return z.NEVER;
      }
      return milliseconds;
    });

const url = (protocols: RegExp, example: string) =>
  z.string().refine((text) => URL.canParse(text) && protocols.test(new URL(text).protocol), {
    message: `must be a URL such as ${example}`,
  });

const redisAddress = z
  .string()
  .default('')
  .transform((text, context) => {
    if (text === '') return undefined;
    const address = /^rediss?:\/\//.test(text) ? text : `redis://${text}`;
    if (!URL.canParse(address) || new URL(address).hostname === '') {
      context.addIssue({ code: 'custom', message: 'must be host:port, or a redis:// or rediss:// URL' });
      return z.NEVER;
    }
    return address;
  });

const queueWeights = z
  .string()
  .default('critical=10,default=5')
  .transform((text, context) => {
    try {
      return parseQueueWeights(text);
    } catch (error) {
      context.addIssue({ code: 'custom', message: (error as Error).message });
      return z.NEVER;
    }
  });

const secretKey = z
  .string()
  .default(DEVELOPMENT_SECRET_KEY)
  .transform((text) => Buffer.from(text, 'base64'))
  .refine((key) => key.length === 32, { message: 'must be 32 bytes in base64' });

/** As `trustProxy` of Fastify takes it: whether, how many hops, or which addresses. */
const trustProxy = z
  .string()
  .default('false')
  .transform((text, context): boolean | number | readonly string[] => {
    if (text === 'true' || text === 'false') return text === 'true';
    if (/^[1-9]\d?$/.test(text)) return Number(text);
    const addresses = text.split(',').map((address) => address.trim());
    if (addresses.every(isAddressRange)) return addresses;
    context.addIssue({ code: 'custom', message: 'must be true, false, a number of hops, or addresses such as 10.0.0.0/8,loopback' });
    return z.NEVER;
  });

/** Exact origins, as a browser sends them: `https://app.example.com`, with a port where it is not the scheme's own. */
const origins = z
  .string()
  .default('')
  .transform((text) => text.split(',').flatMap((part) => part.trim() || []))
  .refine((all) => all.every(isOrigin), {
    message: 'must be origins such as https://app.example.com, with commas between them: no path, no "*"',
  });

function isOrigin(text: string): boolean {
  return /^https?:[^*]*$/.test(text) && URL.canParse(text) && new URL(text).origin === text;
}

function isAddressRange(text: string): boolean {
  if (['loopback', 'linklocal', 'uniquelocal'].includes(text)) return true;
  const [address, bits, ...rest] = text.split('/');
  const version = isIP(address ?? '');
  return (
    version !== 0 && rest.length === 0 && (bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128)))
  );
}

const schema = z
  .object({
    NODE_ENV: z.enum(['development', 'test', 'production']).default('development'),
    DATABASE_URL: url(/^postgres(ql)?:$/, 'postgres://user:password@host:5432/name').optional(),
    DATABASE_POOL_SIZE: z.coerce.number().int().min(1).max(1000).default(10),
    DATABASE_STATEMENT_TIMEOUT: duration('10s').refine((limit) => limit >= 100 && limit <= 86_400_000, {
      message: 'must be between 100ms and 1d',
    }),
    REDIS_ADDRESS: redisAddress,
    REDIS_PREFIX: z
      .string()
      .regex(/^[\w-]+$/, { message: 'must be letters, digits, "_" and "-"' })
      .default('waybill'),
    HOST: z.string().min(1).default('127.0.0.1'),
    HTTP_PORT: port(8080),
    GRPC_PORT: port(9090),
    TRUST_PROXY: trustProxy,
    CORS_ORIGINS: origins,
    SIGN_UP_BURST: z.coerce.number().int().min(1).max(1_000_000).default(100),
    SIGN_UPS_PER_MINUTE: z.coerce.number().int().min(1).max(1_000_000).default(30),
    LOG_IN_BURST: z.coerce.number().int().min(1).max(1_000_000).default(100),
    LOG_INS_PER_MINUTE: z.coerce.number().int().min(1).max(1_000_000).default(30),
    SMTP_URL: url(/^smtps?:$/, 'smtp://user:password@host:587').optional(),
    SMTP_TLS: z.enum(['required', 'opportunistic', 'off']).optional(),
    MAIL_FROM: z.string().min(3).default('Waybill <no-reply@waybill.localhost>'),
    PUBLIC_URL: url(/^https?:$/, 'https://waybill.example.com')
      .refine((text) => !/[?#]/.test(text), { message: 'must have no query and no fragment: paths are added to it' })
      .transform((text) => text.replace(/\/+$/, ''))
      .optional(),
    APP_URL: url(/^https?:$/, 'https://app.example.com').optional(),
    VERIFY_EMAIL_DELAY: duration('10s'),
    QUEUE_WEIGHTS: queueWeights,
    WORKER_CONCURRENCY: z.coerce.number().int().min(1).max(10_000).default(15),
    WORKER_SHUTDOWN_TIMEOUT: duration('10s'),
    CONSOLE_PORT: z.coerce.number().int().min(1).max(65535).optional(),
    CONSOLE_PASSWORD: z.string().min(12, { message: 'must have at least 12 characters' }).optional(),
    CONSOLE_READ_ONLY: z
      .enum(['true', 'false'])
      .default('false')
      .transform((text) => text === 'true'),
    // For probes and scrapes; off where it is not set.
    WORKER_HTTP_PORT: z.coerce.number().int().min(1).max(65535).optional(),
    METRICS_PORT: z.coerce.number().int().min(1).max(65535).optional(),
    // OpenTelemetry's own variables, of which a platform may set some for all that it runs: read where there are traces (traces.ts).
    ...traceVariables,
    LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
    SECRET_KEY: secretKey,
    // Where `make start` and `make services` run Postgres and the mailbox; what is run beside them finds them there.
    POSTGRES_PORT: port(54_329),
    SMTP_PORT: port(1025),
    MAILBOX_URL: url(/^http:$/, 'http://localhost:1080').optional(),
    // For the fault tests alone: where this process is to fail, and how (libs/faults).
    FAULTS: z
      .string()
      .regex(/^[a-z.-]+:[a-z]+(@\d+)?(,[a-z.-]+:[a-z]+(@\d+)?)*$/, { message: 'must be point:action or point:action@pass' })
      .optional(),
  })
  .refine((config) => Object.values(config.QUEUE_WEIGHTS.queues).reduce((sum, { min }) => sum + min, 0) <= config.WORKER_CONCURRENCY, {
    path: ['QUEUE_WEIGHTS'],
    message: 'reserves more slots than WORKER_CONCURRENCY has',
    when: ({ issues }) => issues.length === 0,
  })
  .superRefine((config, context) => {
    const problems = tracesOf(config);
    if (problems instanceof z.ZodError)
      for (const { path, message } of problems.issues) context.addIssue({ code: 'custom', path, message });
  })
  // On a developer's machine each piece knows where the others are; production is told (productionProblems).
  .transform(({ POSTGRES_PORT, SMTP_PORT, ...settings }) => {
    const publicUrl = settings.PUBLIC_URL ?? `http://${linkHost(settings.HOST)}:${settings.HTTP_PORT}`;
    return {
      ...settings,
      DATABASE_URL: settings.DATABASE_URL ?? `postgres://waybill:waybill@127.0.0.1:${POSTGRES_PORT}/waybill`,
      SMTP_URL: settings.SMTP_URL ?? `smtp://127.0.0.1:${SMTP_PORT}`,
      SMTP_TLS: settings.SMTP_TLS ?? (settings.NODE_ENV === 'production' ? ('required' as const) : ('opportunistic' as const)),
      PUBLIC_URL: publicUrl,
      APP_URL: settings.APP_URL ?? `${publicUrl}/`,
    };
  });

/** What a link to a server that listens on `host` says: this machine's name, unless it listens on one address that others know. */
function linkHost(host: string): string {
  if (['127.0.0.1', '0.0.0.0', '::', '::1', 'localhost'].includes(host)) return 'localhost';
  return host.includes(':') ? `[${host}]` : host;
}

/** What a worker's loops need of the database at once, beside its handlers. */
const ENGINE_CONNECTIONS = 5;

type Settings = z.output<typeof schema>;

/** The environment cannot be used; the message lists every problem, a line each. */
export class InvalidEnvironment extends Error {
  override readonly name = 'InvalidEnvironment';
}

/** The process's configuration: the environment, validated once. Durations are in milliseconds. */
// eslint-disable-next-line typescript/no-unsafe-declaration-merging -- the fields are the schema's
export interface Config extends Settings {}
export class Config {
  readonly #given: ReadonlySet<string>;

  private constructor(settings: Settings, given: Iterable<string>) {
    Object.assign(this, settings);
    this.#given = new Set(given);
  }

  /** Whether a variable was set, rather than left to its default. */
  isSet(name: keyof Settings): boolean {
    return this.#given.has(name);
  }

  /** How many connections a worker opens at most: each slot's handler may hold one, and the engine needs some besides, or it would wait for them. */
  get workerPoolSize(): number {
    if (this.isSet('DATABASE_POOL_SIZE')) return this.DATABASE_POOL_SIZE;
    return Math.max(this.DATABASE_POOL_SIZE, this.WORKER_CONCURRENCY + ENGINE_CONNECTIONS);
  }

  /** What the task engine is told. */
  get tasks() {
    return {
      database: { url: this.DATABASE_URL },
      ...(this.REDIS_ADDRESS !== undefined && { redis: { url: this.REDIS_ADDRESS, prefix: this.REDIS_PREFIX } }),
      ...this.QUEUE_WEIGHTS,
      concurrency: this.WORKER_CONCURRENCY,
      shutdownTimeout: this.WORKER_SHUTDOWN_TIMEOUT,
    };
  }

  /** Whether the console's password is the one that everybody knows. */
  get isConsolePasswordKnown(): boolean {
    return this.CONSOLE_PASSWORD === DEVELOPMENT_CONSOLE_PASSWORD;
  }

  /** How spans are sent somewhere; undefined where they are not. */
  get traces(): TraceSettings | undefined {
    const settings = tracesOf(this);
    return settings instanceof z.ZodError ? undefined : settings;
  }

  get isProduction(): boolean {
    return this.NODE_ENV === 'production';
  }

  /**
   * @param use of an app, or of an operator's command, which has neither callers nor links.
   * @throws InvalidEnvironment with every problem at once.
   */
  static parse(environment: Readonly<Record<string, string | undefined>>, use: 'app' | 'command' = 'command'): Config {
    // An empty variable is an unset one: compose files and CI write `NAME=`.
    const set = Object.fromEntries(Object.entries(environment).filter((entry): entry is [string, string] => !!entry[1]));
    const { given, problems: unread } = withSecretFiles(set);
    const result = schema.safeParse(given);
    const problems = [...unread, ...(result.error?.issues ?? []).map((issue) => `${issue.path.join('.')}: ${issue.message}`)];
    if (given['NODE_ENV'] === 'production') problems.push(...productionProblems(given));
    if (use === 'app') {
      problems.push(...unsaidProblems(given));
      // A command opens no console.
      if (given['CONSOLE_PORT'] && !given['CONSOLE_PASSWORD']) problems.push('CONSOLE_PASSWORD: must be set where CONSOLE_PORT is');
    }
    if (problems.length > 0 || !result.success) {
      throw new InvalidEnvironment(`The environment is not valid:\n${problems.map((line) => `  ${line}`).join('\n')}`);
    }
    return new Config(result.data, Object.keys(given));
  }

  /**
   * The configuration of this process, from its environment and, where there
   * is one, the `.env` file of the working directory. Lists what is wrong and
   * exits with 1 when it cannot be used.
   */
  static load(use?: 'app' | 'command'): Config {
    if (existsSync('.env')) process.loadEnvFile('.env');
    try {
      return Config.parse(process.env, use);
    } catch (error) {
      if (!(error instanceof InvalidEnvironment)) throw error;
      process.stderr.write(`${error.message}\n`);
      process.exit(1);
    }
  }
}
