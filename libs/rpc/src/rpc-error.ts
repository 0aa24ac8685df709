import { create, type DescMessage, isMessage, type JsonObject, type Message, type MessageInitShape, toJson } from '@bufbuild/protobuf';
import { protoCamelCase } from '@bufbuild/protobuf/reflect';
import { anyPack, durationFromMs } from '@bufbuild/protobuf/wkt';
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema, StatusSchema, type Status } from '@app/contract';

/** The canonical codes of an RPC, on either transport. */
export enum Code {
  OK = 0,
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

/** Whose words the reasons of our errors are. */
const ERROR_DOMAIN = 'waybill';

/** After what a caller may try again when nothing better is known, in milliseconds. */
const RETRY_DELAY = 1_000;

/** What is wrong with one field of a request. */
export interface FieldViolation {
  /** The path of the field in the proto's spelling, such as `full_name` or `address.lines[0]`; over HTTP it is told in JSON's. */
  readonly field: string;
  /** For the person who made the request. */
  readonly description: string;
}

/** A message that tells a program more about an error than its code does. */
export interface ErrorDetail<Desc extends DescMessage = DescMessage> {
  readonly desc: Desc;
  readonly value: MessageInitShape<Desc>;
}

/** What an error may have beside its code and its words. */
export interface RpcErrorOptions extends ErrorOptions {
  /** Why, for programs: UPPER_SNAKE_CASE, goes into google.rpc.ErrorInfo. By default the code's name. */
  readonly reason?: string;
  /** After how many milliseconds trying again makes sense: google.rpc.RetryInfo, and Retry-After on HTTP. */
  readonly retryDelay?: number;
  /** The HTTP status, where HTTP has a finer word than the code's. */
  readonly httpStatus?: number;
}

function detail<Desc extends DescMessage>(desc: Desc, value: MessageInitShape<Desc>): ErrorDetail {
  return { desc, value };
}

function badRequest(violations: readonly FieldViolation[]): ErrorDetail {
  return detail(BadRequestSchema, { fieldViolations: [...violations] });
}

/**
 * The error of an RPC: a canonical code, words that the caller may see, and
 * details for programs. Throw one anywhere below a controller. Whatever else is
 * thrown is answered as INTERNAL, and nothing of it reaches the caller.
 */
export class RpcError extends Error {
  override readonly name = 'RpcError';
  readonly reason: string;
  /** In milliseconds. */
  readonly retryDelay: number | undefined;
  readonly httpStatus: number;

  /** @param options.cause what led to it; never sent to the caller. */
  constructor(
    readonly code: Code,
    message: string,
    readonly details: readonly ErrorDetail[] = [],
    options: RpcErrorOptions = {},
  ) {
    // gRPC percent-encodes the message, and half a surrogate pair cannot be encoded.
    const text = message.toWellFormed();
    // An answer, which nobody logs: recording where it was thrown would be the dearest part of a refused call.
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(text, options);
    Error.stackTraceLimit = stackTraceLimit;
    this.reason = options.reason ?? Code[code] ?? Code[Code.UNKNOWN];
    this.retryDelay = options.retryDelay;
    this.httpStatus = options.httpStatus ?? HTTP_STATUS[code];
  }

  /** The request itself is wrong; carries all of its violations as google.rpc.BadRequest. */
  static invalidArgument(violations: readonly FieldViolation[], message = 'the request is not valid', options?: RpcErrorOptions): RpcError {
    return new RpcError(Code.INVALID_ARGUMENT, message, violations.length === 0 ? [] : [badRequest(violations)], options);
  }

  /** What the request wants to create is there already; names the field that clashes as google.rpc.BadRequest. */
  static alreadyExists(message: string, { field, ...options }: RpcErrorOptions & { field?: string } = {}): RpcError {
    return new RpcError(Code.ALREADY_EXISTS, message, field === undefined ? [] : [badRequest([{ field, description: message }])], options);
  }

  /** The request is fine, the state of the system is not: repeating it does not help. */
  static failedPrecondition(message: string, options?: RpcErrorOptions): RpcError {
    return new RpcError(Code.FAILED_PRECONDITION, message, [], options);
  }

  /** What the request names does not exist. */
  static notFound(message: string, options?: RpcErrorOptions): RpcError {
    return new RpcError(Code.NOT_FOUND, message, [], options);
  }

  /** Too much at once: repeating it helps after `retryDelay`, a second unless it is given. */
  static resourceExhausted(message: string, options?: RpcErrorOptions): RpcError {
    return new RpcError(Code.RESOURCE_EXHAUSTED, message, [], { retryDelay: RETRY_DELAY, ...options });
  }

  /** More than is taken in one request: repeating it does not help. */
  static tooLarge(message = 'the request is too large', httpStatus = 413): RpcError {
    return new RpcError(Code.RESOURCE_EXHAUSTED, message, [], { reason: 'REQUEST_TOO_LARGE', httpStatus });
  }

  /** Cannot be answered at the moment: repeating it helps after `retryDelay`, a second unless it is given. */
  static unavailable(message: string, options?: RpcErrorOptions): RpcError {
    return new RpcError(Code.UNAVAILABLE, message, [], { retryDelay: RETRY_DELAY, ...options });
  }

  /** Who is calling is not known. */
  static unauthenticated(message: string, options?: RpcErrorOptions): RpcError {
    return new RpcError(Code.UNAUTHENTICATED, message, [], options);
  }

  /** Who is calling may not do this. */
  static permissionDenied(message: string, options?: RpcErrorOptions): RpcError {
    return new RpcError(Code.PERMISSION_DENIED, message, [], options);
  }

  /** There is no such method. */
  static unimplemented(message: string, options?: RpcErrorOptions): RpcError {
    return new RpcError(Code.UNIMPLEMENTED, message, [], options);
  }

  /** The server's own fault; says nothing of what it was. */
  static internal(options?: ErrorOptions): RpcError {
    return new RpcError(Code.INTERNAL, 'internal error', [], options);
  }

  /** What is wrong with the request, where that is what the error says; in the proto's spelling. */
  get violations(): readonly FieldViolation[] {
    return this.details.flatMap(({ desc, value }) => {
      const detail = create(desc, value);
      if (!isMessage(detail, BadRequestSchema)) return [];
      return detail.fieldViolations.map(({ field, description }) => ({ field, description }));
    });
  }

  /** The error as gRPC carries it. */
  toStatus(): Status {
    const details = this.allDetails().map(({ desc, value }) => anyPack(desc, create(desc, value)));
    return create(StatusSchema, { code: this.code, message: this.message, details });
  }

  /** The error as HTTP carries it: the ProtoJSON of {@link toStatus}, its fields in the spelling of JSON. */
  toStatusJson(): JsonObject {
    const details = this.allDetails().map(({ desc, value }) => ({
      '@type': `type.googleapis.com/${desc.typeName}`,
      ...(toJson(desc, inJsonSpelling(create(desc, value))) as JsonObject),
    }));
    return { code: this.code, message: this.message, details };
  }

  /** Also what every error has. */
  private allDetails(): readonly ErrorDetail[] {
    const retry = this.retryDelay === undefined ? [] : [detail(RetryInfoSchema, { retryDelay: durationFromMs(this.retryDelay) })];
    return [...this.details, detail(ErrorInfoSchema, { reason: this.reason, domain: ERROR_DOMAIN }), ...retry];
  }
}

function inJsonSpelling<T extends Message>(message: T): T {
  if (!isMessage(message, BadRequestSchema)) return message;
  for (const violation of message.fieldViolations) violation.field = jsonPath(violation.field);
  return message;
}

/** A field's path in JSON's spelling. What is between quotes is a key of a map, which has but one. */
function jsonPath(path: string): string {
  return path.replace(/"(?:[^"\\]|\\.)*"|\w+/g, (part) => (part.startsWith('"') ? part : protoCamelCase(part)));
}

/** The HTTP status of a code, as grpc-gateway maps it. */
const HTTP_STATUS: Readonly<Record<Code, number>> = {
  [Code.OK]: 200,
  [Code.CANCELLED]: 499,
  [Code.UNKNOWN]: 500,
  [Code.INVALID_ARGUMENT]: 400,
  [Code.DEADLINE_EXCEEDED]: 504,
  [Code.NOT_FOUND]: 404,
  [Code.ALREADY_EXISTS]: 409,
  [Code.PERMISSION_DENIED]: 403,
  [Code.RESOURCE_EXHAUSTED]: 429,
  [Code.FAILED_PRECONDITION]: 400,
  [Code.ABORTED]: 409,
  [Code.OUT_OF_RANGE]: 400,
  [Code.UNIMPLEMENTED]: 501,
  [Code.INTERNAL]: 500,
  [Code.UNAVAILABLE]: 503,
  [Code.DATA_LOSS]: 500,
  [Code.UNAUTHENTICATED]: 401,
};

const CODE_OF_HTTP_STATUS: Readonly<Record<number, Code>> = {
  401: Code.UNAUTHENTICATED,
  403: Code.PERMISSION_DENIED,
  404: Code.NOT_FOUND,
  405: Code.UNIMPLEMENTED,
  408: Code.DEADLINE_EXCEEDED,
  409: Code.ABORTED,
  410: Code.NOT_FOUND,
  413: Code.RESOURCE_EXHAUSTED,
  431: Code.RESOURCE_EXHAUSTED,
  429: Code.RESOURCE_EXHAUSTED,
  499: Code.CANCELLED,
  501: Code.UNIMPLEMENTED,
  503: Code.UNAVAILABLE,
  504: Code.DEADLINE_EXCEEDED,
};

/** The code that says most nearly what an HTTP status says, for answers that were not made from a code. */
export function codeOfHttpStatus(status: number): Code {
  if (status < 400) return Code.OK;
  return CODE_OF_HTTP_STATUS[status] ?? (status < 500 ? Code.INVALID_ARGUMENT : Code.INTERNAL);
}
