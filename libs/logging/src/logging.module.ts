import type { DynamicModule, LoggerService } from '@nestjs/common';
import { Config } from '@app/config';
import { describeError, scrub } from '@app/redaction';
import { Logger, LoggerModule, type Params, PinoLogger } from 'nestjs-pino';
import type { Options } from 'pino-http';
import { currentLogFields } from './log-fields.js';

/** Field names whose values are never logged, at whatever depth a caller hangs them. */
const SECRET_FIELD = /^(authorization|cookie|set-cookie|email|full_?name|password.*|payload|secret.*|token.*|to|x-api-key)$/i;

/** Replaces the values of secret fields, and scrubs texts, in what a caller logs. */
function redact(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return scrub(value);
  if (value instanceof Error) return describeError(value);
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  if (depth > 5) return '[deep]';
  if (Array.isArray(value)) return value.map((item) => redact(item, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, SECRET_FIELD.test(key) ? '[redacted]' : redact(item, depth + 1)]),
  );
}

/** Fields for every line of an app, read when the line is logged. */
type LineFields = () => Readonly<Record<string, unknown>>;

function pinoOptions(app: string, config: Config, fields: LineFields): Options {
  return {
    level: config.LOG_LEVEL,
    base: { app },
    // The rpc library logs a line a call on both transports; pino-http knows only one.
    autoLogging: false,
    mixin: () => ({ ...fields(), ...currentLogFields() }),
    formatters: { log: (fields) => redact(fields) as Record<string, unknown> },
    hooks: {
      logMethod(args, method) {
        method.apply(this, args.map((arg) => (typeof arg === 'string' ? scrub(arg) : arg)) as Parameters<typeof method>);
      },
    },
    // The formatter has described the error already; pino's own serializer and pino-http's would copy whatever hangs on it.
    serializers: { err: (description: unknown) => description },
    wrapSerializers: false,
    ...(process.stdout.isTTY && {
      transport: {
        target: 'pino-pretty',
        options: { singleLine: true, ignore: 'pid,hostname,app,context', messageFormat: '{context}: {msg}' },
      },
    }),
  };
}

/** Nest's account of its own start: some thirty lines that say nothing to an operator. */
const NEST_STARTUP = new Set(['InstanceLoader', 'NestFactory', 'RouterExplorer', 'RoutesResolver']);

/** The Nest logger of the apps. */
class AppLogger extends Logger {
  override log(message: unknown, ...optionalParams: unknown[]): void {
    if (NEST_STARTUP.has(optionalParams.at(-1) as string)) this.debug(message, ...optionalParams);
    else super.log(message, ...optionalParams);
  }
}

function loggerParams(app: string, config: Config, fields: LineFields): Params {
  // No routes: pino-http would bind the request, with its URL and headers, to every line.
  return { pinoHttp: pinoOptions(app, config, fields), forRoutes: [] };
}

/**
 * The logger of an app before its modules exist, for `NestFactory`: what happens
 * while it waits for its database is told at once.
 *
 * @param app the name that every line carries.
 * @param fields what else every line carries, such as the id of the request being served.
 */
export function createLogger(app: string, config: Config, fields: LineFields = () => ({})): LoggerService {
  const params = loggerParams(app, config, fields);
  return new AppLogger(new PinoLogger(params), params);
}

/** nestjs-pino for an app: pretty on a terminal, JSON otherwise, and nothing secret in either. */
export class LoggingModule {
  /** @param app and @param fields as of {@link createLogger}. */
  static forRoot(app: string, fields: LineFields = () => ({})): DynamicModule {
    return LoggerModule.forRootAsync({ inject: [Config], useFactory: (config: Config) => loggerParams(app, config, fields) });
  }
}
