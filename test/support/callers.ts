import {
  create,
  type DescMessage,
  type DescMethodUnary,
  fromBinary,
  fromJson,
  getOption,
  type JsonObject,
  type JsonValue,
  type MessageInitShape,
  type MessageShape,
  toBinary,
  toJson,
} from '@bufbuild/protobuf';
import { anyUnpack } from '@bufbuild/protobuf/wkt';
import { Client, credentials, Metadata, status as Code } from '@grpc/grpc-js';
import { BadRequestSchema, ErrorInfoSchema, httpOption, StatusSchema } from '@app/contract';
import { httpRequest } from '../../clients/typescript/src/http.js';

export { Code };

/** What an RPC was answered with, the same on both transports. */
export interface Answer<O extends DescMessage> {
  readonly code: Code;
  readonly message: string;
  /** Why, for programs; present when the code is not OK. */
  readonly reason?: string;
  readonly violations: readonly { readonly field: string; readonly description: string }[];
  /** Present when the code is OK. */
  readonly response?: MessageShape<O>;
  readonly requestId: string | undefined;
}

/** Calls the api's RPCs over one of its transports. */
export interface Caller {
  readonly transport: 'http' | 'grpc';
  call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    headers?: Readonly<Record<string, string>>,
  ): Promise<Answer<O>>;
  close(): void;
}

/** The HTTP statuses of the contract. */
const HTTP_STATUS: Readonly<Partial<Record<Code, number>>> = {
  [Code.OK]: 200,
  [Code.INVALID_ARGUMENT]: 400,
  [Code.NOT_FOUND]: 404,
  [Code.ALREADY_EXISTS]: 409,
  [Code.ABORTED]: 409,
  [Code.RESOURCE_EXHAUSTED]: 429,
  [Code.FAILED_PRECONDITION]: 400,
  [Code.UNAUTHENTICATED]: 401,
  [Code.PERMISSION_DENIED]: 403,
  [Code.INTERNAL]: 500,
  [Code.UNAVAILABLE]: 503,
};

/** The statuses that say more than the code's. */
const HTTP_STATUS_OF_REASON: Readonly<Record<string, number>> = { REQUEST_TOO_LARGE: 413, UNSUPPORTED_MEDIA_TYPE: 415 };

/** Where the contract's HTTP rule puts a method. */
export function httpPath(method: DescMethodUnary): string {
  const { pattern } = getOption(method, httpOption);
  if (pattern.case !== 'post') throw new Error(`${method.toString()} is not a POST`);
  return pattern.value;
}

/** Reads the error body of an HTTP answer. @throws when it is not the one that the contract promises for that status. */
export async function readHttpError(response: Response): Promise<Omit<Answer<DescMessage>, 'response'>> {
  const body = (await response.json()) as {
    code: Code;
    message: string;
    details: { '@type': string; reason?: string; fieldViolations: { field: string; description: string }[] }[];
  };
  const reason = body.details.find((detail) => detail['@type'] === 'type.googleapis.com/google.rpc.ErrorInfo')?.reason;
  if (reason === undefined) throw new Error(`no reason in ${JSON.stringify(body)}`);
  if ((HTTP_STATUS_OF_REASON[reason] ?? HTTP_STATUS[body.code]) !== response.status)
    throw new Error(`status ${response.status} with ${JSON.stringify(body)}`);
  return {
    code: body.code,
    message: body.message,
    reason,
    violations: body.details
      .filter((detail) => detail['@type'] === 'type.googleapis.com/google.rpc.BadRequest')
      .flatMap((detail) => detail.fieldViolations),
    requestId: response.headers.get('x-request-id') ?? undefined,
  };
}

/** Calls with fetch, as a browser would. */
export class HttpCaller implements Caller {
  readonly transport = 'http';

  constructor(readonly origin: string) {}

  async call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Answer<O>> {
    const message = toJson(method.input, create(method.input, request) as MessageShape<I>) as JsonObject;
    const { verb, path, body } = httpRequest(method as DescMethodUnary, message);
    const response = await fetch(`${this.origin}${path}`, {
      method: verb,
      headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
      ...(body !== undefined && { body }),
    });
    if (!response.ok) return readHttpError(response);
    return {
      code: Code.OK,
      message: '',
      violations: [],
      response: fromJson(method.output, (await response.json()) as JsonValue),
      requestId: response.headers.get('x-request-id') ?? undefined,
    };
  }

  close(): void {
    // fetch keeps its connections to itself.
  }
}

/** Calls with grpc-js, straight from the descriptors. */
export class GrpcCaller implements Caller {
  readonly transport = 'grpc';
  private readonly client: Client;

  constructor(address: string) {
    // A server that was away is tried again at once, and not after a minute.
    this.client = new Client(address, credentials.createInsecure(), {
      'grpc.initial_reconnect_backoff_ms': 50,
      'grpc.max_reconnect_backoff_ms': 200,
    });
  }

  /** Resolves when a server answers there. */
  ready(within: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.client.waitForReady(Date.now() + within, (error) => (error ? reject(error) : resolve()));
    });
  }

  call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Answer<O>> {
    const metadata = new Metadata();
    for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
    return new Promise((resolve) => {
      let initial: Metadata | undefined;
      const call = this.client.makeUnaryRequest(
        `/${method.parent.typeName}/${method.name}`,
        (message: MessageShape<I>) => Buffer.from(toBinary(method.input, message)),
        (bytes) => fromBinary(method.output, bytes),
        create(method.input, request) as MessageShape<I>,
        metadata,
        { deadline: Date.now() + 30_000 },
        (error, response) => {
          if (!error) return resolve({ code: Code.OK, message: '', violations: [], response: response!, requestId: idOf(initial) });
          const [details] = error.metadata.get('grpc-status-details-bin');
          resolve({
            code: error.code,
            message: error.details,
            ...(details instanceof Buffer ? detailsOf(details) : { violations: [] }),
            requestId: idOf(error.metadata),
          });
        },
      );
      call.on('metadata', (received: Metadata) => (initial = received));
    });
  }

  close(): void {
    this.client.close();
  }
}

function idOf(metadata: Metadata | undefined): string | undefined {
  return metadata?.get('x-request-id')[0]?.toString();
}

function detailsOf(status: Buffer): Pick<Answer<DescMessage>, 'violations' | 'reason'> {
  const { details } = fromBinary(StatusSchema, status);
  const reason = details.map((any) => anyUnpack(any, ErrorInfoSchema)?.reason).find((found) => found !== undefined);
  const violations = details.flatMap((any) => {
    const detail = anyUnpack(any, BadRequestSchema);
    return (detail?.fieldViolations ?? []).map(({ field, description }) => ({ field, description }));
  });
  return { violations, ...(reason !== undefined && { reason }) };
}
