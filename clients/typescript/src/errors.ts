/** The canonical codes of an RPC that failed. */
export enum Code {
  CANCELLED = 1,
  UNKNOWN = 2,
  INVALID_ARGUMENT = 3,
  DEADLINE_EXCEEDED = 4,
  NOT_FOUND = 5,
  ALREADY_EXISTS = 6,
  PERMISSION_DENIED = 7,
  RESOURCE_EXHAUSTED = 8,
  FAILED_PRECONDITION = 9,
  ABORTED = 10,
  OUT_OF_RANGE = 11,
  UNIMPLEMENTED = 12,
  INTERNAL = 13,
  UNAVAILABLE = 14,
  DATA_LOSS = 15,
  UNAUTHENTICATED = 16,
}

/** What is wrong with one field of a request. */
export interface FieldViolation {
  /** The path of the field in JSON's spelling, such as `fullName`. */
  readonly field: string;
  /** For the person who made the request. */
  readonly description: string;
}

export interface WaybillErrorOptions extends ErrorOptions {
  /** Why, for programs: UPPER_SNAKE_CASE. */
  readonly reason?: string;
  /** After how many milliseconds trying again makes sense. */
  readonly retryDelay?: number;
  /** The id under which the server's log has the request. */
  readonly requestId?: string;
  readonly violations?: readonly FieldViolation[];
}

/** A call that failed, told by the server, or by the network as UNAVAILABLE. */
export class WaybillError extends Error {
  override readonly name: string = 'WaybillError';
  readonly reason: string;
  readonly retryDelay: number | undefined;
  readonly requestId: string | undefined;
  /** Where the error is about fields of the request. */
  readonly violations: readonly FieldViolation[];

  constructor(
    readonly code: Code,
    message: string,
    options: WaybillErrorOptions = {},
  ) {
    super(message, options);
    this.reason = options.reason ?? Code[code];
    this.retryDelay = options.retryDelay;
    this.requestId = options.requestId;
    this.violations = options.violations ?? [];
  }
}

/** The request breaks rules of the contract; `violations` are all of them. */
export class ValidationError extends WaybillError {
  override readonly name = 'ValidationError';

  /** What is wrong with a field, in JSON's spelling; undefined when nothing is. */
  of(field: string): string | undefined {
    return this.violations.find((violation) => violation.field === field)?.description;
  }
}

type Json = Readonly<Record<string, unknown>>;

/** The error that an answer tells: a google.rpc.Status, or whatever stands between us and the server. */
export async function errorOf(response: Response): Promise<WaybillError> {
  const requestId = response.headers.get('x-request-id') ?? undefined;
  const retryAfter = Number(response.headers.get('retry-after'));
  const fromHeader = retryAfter > 0 ? { retryDelay: retryAfter * 1_000 } : {};
  const base = { ...(requestId !== undefined && { requestId }), ...fromHeader };
  const status = (await response.json().catch(() => undefined)) as Json | undefined;
  if (typeof status?.['code'] !== 'number' || typeof status['message'] !== 'string') {
    // A proxy's own words are of no use, and may be a page.
    const code = [429, 502, 503, 504].includes(response.status) ? Code.UNAVAILABLE : Code.UNKNOWN;
    return new WaybillError(code, `the answer is HTTP ${response.status}, and none of Waybill's`, base);
  }
  const details = (status['details'] ?? []) as Json[];
  const detail = (type: string) => details.find((each) => each['@type'] === `type.googleapis.com/google.rpc.${type}`);
  const reason = detail('ErrorInfo')?.['reason'] as string | undefined;
  const delay = detail('RetryInfo')?.['retryDelay'] as string | undefined;
  const violations = (detail('BadRequest')?.['fieldViolations'] ?? []) as FieldViolation[];
  const options = {
    ...base,
    ...(reason !== undefined && { reason }),
    ...(delay !== undefined && { retryDelay: Number.parseFloat(delay) * 1_000 }),
    violations,
  };
  const isValidation = status['code'] === Code.INVALID_ARGUMENT && violations.length > 0;
  return new (isValidation ? ValidationError : WaybillError)(status['code'], status['message'], options);
}
