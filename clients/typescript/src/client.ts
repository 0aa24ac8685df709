import {
  create,
  type DescMessage,
  type DescMethodUnary,
  type DescService,
  fromJson,
  type JsonObject,
  type MessageInitShape,
  type MessageShape,
  toJson,
} from '@bufbuild/protobuf';
import { Code, errorOf, WaybillError } from './errors.js';
import { httpRequest } from './http.js';

export interface ClientOptions {
  /** Where the api is, with its path if it has one: `https://api.example.com`. */
  readonly baseUrl: string;
  /** How often a call is tried at most; by default 4 times. */
  readonly attempts?: number;
  /** Milliseconds that a call may take, with all of its attempts; by default 30,000. */
  readonly timeout?: number;
  /** In place of the platform's. */
  readonly fetch?: typeof fetch;
}

export interface CallOptions {
  /** Ends the call. */
  readonly signal?: AbortSignal;
  /** Milliseconds, in place of the client's. */
  readonly timeout?: number;
}

/** A method of a service as a function: from a request to its response. */
export type Call<I extends DescMessage, O extends DescMessage> = (
  request: MessageInitShape<I>,
  options?: CallOptions,
) => Promise<MessageShape<O>>;

/** A client of a service: a function for each of its methods. */
export type Client<Service extends DescService> = {
  readonly [Name in keyof Service['method']]: Service['method'][Name] extends DescMethodUnary<infer I, infer O> ? Call<I, O> : never;
};

/** Milliseconds. The pause before the first repetition, which grows, and the longest one. */
const FIRST_PAUSE = 200;
const LONGEST_PAUSE = 10_000;

/**
 * A client of one of the api's services, over HTTP.
 *
 * It tries again what the server could not answer (UNAVAILABLE, or too many
 * requests) after as long as the server says. What the network has lost is
 * repeated only where that is safe: a request that has a `request_id` gets one of
 * its own when it has none, the same for all attempts, so that it is done once.
 *
 * A call throws {@link ValidationError} for a request that breaks rules, and
 * {@link WaybillError} for every other failure.
 */
export function createClient<Service extends DescService>(service: Service, options: ClientOptions): Client<Service> {
  const calls = Object.entries(service.method).map(([name, method]) => {
    if (method.methodKind !== 'unary') throw new TypeError(`${method.name} streams`);
    const unary = method as DescMethodUnary;
    return [name, (request: MessageInitShape<DescMessage>, each?: CallOptions) => callMethod(unary, request, options, each)];
  });
  return Object.fromEntries(calls) as Client<Service>;
}

async function callMethod<I extends DescMessage, O extends DescMessage>(
  method: DescMethodUnary<I, O>,
  request: MessageInitShape<I>,
  { baseUrl, attempts = 4, timeout = 30_000, fetch = globalThis.fetch }: ClientOptions,
  options: CallOptions = {},
): Promise<MessageShape<O>> {
  const message = toJson(method.input, create(method.input, request)) as JsonObject;
  const hasId = method.input.fields.some(({ name }) => name === 'request_id');
  if (hasId) message['requestId'] ||= randomId();
  const { verb, path, body } = httpRequest(method, message);
  const isSafe = verb === 'GET' || hasId;
  const ends = [AbortSignal.timeout(options.timeout ?? timeout), ...(options.signal ? [options.signal] : [])];
  const signal = AbortSignal.any(ends);
  for (let attempt = 1; ; attempt++) {
    let error: WaybillError;
    try {
      const response = await fetch(`${baseUrl.replace(/\/+$/, '')}${path}`, {
        method: verb,
        signal,
        headers: body === undefined ? {} : { 'content-type': 'application/json' },
        ...(body !== undefined && { body }),
      });
      if (response.ok) return fromJson(method.output, (await response.json()) as JsonObject, { ignoreUnknownFields: true });
      error = await errorOf(response);
      if (!isWorthRepeating(error)) throw error;
    } catch (thrown) {
      if (thrown instanceof WaybillError) throw thrown;
      if (signal.aborted) throw ended(options.signal, thrown);
      // fetch throws a TypeError for whatever happened to the network.
      error = new WaybillError(Code.UNAVAILABLE, 'the server cannot be reached', { cause: thrown });
      if (!isSafe) throw error;
    }
    if (attempt >= attempts) throw error;
    await pause(Math.max(error.retryDelay ?? 0, backoff(attempt)), signal).catch((thrown: unknown) => {
      throw ended(options.signal, thrown, error);
    });
  }
}

/** A random UUID; `crypto.randomUUID` is there for pages over HTTPS only. */
function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

function isWorthRepeating({ code, retryDelay }: WaybillError): boolean {
  return code === Code.UNAVAILABLE || (code === Code.RESOURCE_EXHAUSTED && retryDelay !== undefined);
}

/** Grows, and differs from client to client: they would all come back at the same moment. Milliseconds. */
function backoff(attempt: number): number {
  return Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1)) * (0.5 + Math.random());
}

/** The end of a call that took too long, which says what had failed last, or was ended by its caller. */
function ended(caller: AbortSignal | undefined, thrown: unknown, last?: WaybillError): WaybillError {
  if (caller?.aborted) return new WaybillError(Code.CANCELLED, 'the call was cancelled', { cause: thrown });
  return last ?? new WaybillError(Code.DEADLINE_EXCEEDED, 'the call took too long', { cause: thrown });
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = () => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', end);
      resolve();
    }, milliseconds);
    if (signal.aborted) end();
    else signal.addEventListener('abort', end, { once: true });
  });
}
