import { format } from 'node:util';
import type { DynamicModule, LoggerService } from '@nestjs/common';
import { Config } from '@app/config';
import { redact, redactionRoom, type RedactionRoom } from '@app/redaction';
import { isSpanContextValid, trace } from '@opentelemetry/api';
import { Logger, LoggerModule, type Params, PinoLogger } from 'nestjs-pino';
import type { Options } from 'pino-http';
import { currentLogFields } from './log-fields.js';

/**
 * What a caller logs, as it may be written: without secrets, bounded, and whatever
 * it holds, a line. A message is put together first, for its parts may be a name
 * and its secret.
 */
function redactArguments(args: readonly unknown[]): unknown[] {
  const room = redactionRoom();
  const [first, ...rest] = args;
  if (typeof first === 'string') return [redact(messageOf(args, room), room)];
  const fields = redact(first, room);
  // An error by itself is a field of the line, and not the line.
  const isError = typeof fields === 'object' && fields !== null && isThrown(first);
  return [isError ? { err: fields } : fields, ...(rest.length > 0 ? [redact(messageOf(rest, room), room)] : [])];
}

/** A message with its placeholders filled in; what is left over is not shown, as pino has it. */
function messageOf([message, ...values]: readonly unknown[], room: RedactionRoom): unknown {
  if (typeof message !== 'string') return message;
  const shown = values.slice(0, message.match(/%[sdifjoOc]/g)?.length ?? 0);
  return shown.length === 0 ? message : format(message, ...shown.map((value) => redact(value, room)));
}

function isThrown(value: unknown): boolean {
  try {
    return value instanceof Error;
  } catch {
    // A proxy that cannot be read.
    return false;
  }
}

/** Fields for every line of an app, read when the line is logged. */
type LineFields = () => Readonly<Record<string, unknown>>;

/** The trace and the span that a line belongs to, by the names that OpenTelemetry gives them. */
function currentTrace(): Readonly<Record<string, string>> {
  const span = trace.getActiveSpan()?.spanContext();
  return span && isSpanContextValid(span) ? { trace_id: span.traceId, span_id: span.spanId } : {};
}

function pinoOptions(app: string, config: Config, fields: LineFields): Options {
  return {
    level: config.LOG_LEVEL,
    base: { app },
    // The rpc library logs a line a call on both transports; pino-http knows only one.
    autoLogging: false,
    mixin: () => redact({ ...fields(), ...currentLogFields(), ...currentTrace() }) as Record<string, unknown>,
    hooks: {
      logMethod(args, method) {
        method.apply(this, redactArguments(args) as Parameters<typeof method>);
      },
    },
    // The hook has described the error already; pino's own serializer and pino-http's would copy whatever hangs on it.
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

/** The Nest logger of the apps. It reads what is to be logged before pino does, and so must take whatever that is. */
class AppLogger extends Logger {
  override log(message: unknown, ...optionalParams: unknown[]): void {
    if (NEST_STARTUP.has(optionalParams.at(-1) as string)) this.debug(message, ...optionalParams);
    else super.log(readable(message), ...optionalParams);
  }

  override debug(message: unknown, ...optionalParams: unknown[]): void {
    super.debug(readable(message), ...optionalParams);
  }

  override verbose(message: unknown, ...optionalParams: unknown[]): void {
    super.verbose(readable(message), ...optionalParams);
  }

  override warn(message: unknown, ...optionalParams: unknown[]): void {
    super.warn(readable(message), ...optionalParams);
  }

  override error(message: unknown, ...optionalParams: unknown[]): void {
    super.error(readable(message), ...optionalParams);
  }

  override fatal(message: unknown, ...optionalParams: unknown[]): void {
    super.fatal(readable(message), ...optionalParams);
  }
}

/** The message itself, when its fields can be read; else what {@link redact} makes of it. */
function readable(message: unknown): unknown {
  if (typeof message !== 'object' || message === null) return message;
  try {
    return message instanceof Error ? message : { ...message };
  } catch {
    // A proxy or a getter that throws.
    return { value: redact(message) };
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
