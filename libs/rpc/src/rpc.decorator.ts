import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { createParamDecorator, type ExecutionContext, HttpCode, RequestMapping, RequestMethod } from '@nestjs/common';
import { ROUTE_ARGS_METADATA } from '@nestjs/common/constants.js';
import { GrpcMethod } from '@nestjs/microservices';
import { RouteConfig } from '@nestjs/platform-fastify';
import type { FastifyRequest } from 'fastify';
import { type HttpBinding, httpBindings, type HttpRequestParts, requestJson, rpcNameOf } from './http-binding.js';
import { messageFromBinary, messageFromJson } from './request-message.js';

const RPC_METHOD = Symbol('rpc:method');

/** What a Fastify route knows of the RPC that it serves. */
export interface RpcRoute {
  readonly method: DescMethodUnary;
  readonly binding: HttpBinding;
  /** The rule's additional bindings; on the route of its first one only. */
  readonly additional: readonly HttpBinding[];
}

declare module 'fastify' {
  interface FastifyContextConfig {
    rpc?: RpcRoute;
    /** Answers a method that the path has not. */
    isRefusal?: boolean;
  }
}

/** A controller method that fits an RPC: takes its request message first, and returns what its response message is made of. */
type RpcHandler<I extends DescMessage, O extends DescMessage> = (
  request: MessageShape<I>,
  ...rest: never[]
) => MessageInitShape<O> | Promise<MessageInitShape<O>>;

/**
 * Serves an RPC with the decorated controller method: on gRPC, and on HTTP at
 * the routes of its google.api.http rule. The method returns the response
 * message, or the init shape of it. Its first parameter is the request, with {@link Message}.
 *
 * @throws Error, where the class is defined, when the method has no google.api.http rule or one that is not supported,
 * or the controller method no `@Message()`, without which nothing would check the request.
 */
export function Rpc<I extends DescMessage, O extends DescMessage>(method: DescMethodUnary<I, O>) {
  // Code that was not compiled, such as a test, comes this far without the method.
  if (method === undefined) throw new Error('@Rpc() is given no method: generate the code of the contract anew if the RPC is new');
  const [binding, ...additional] = httpBindings(method);
  const route: RpcRoute = { method, binding, additional };
  return <T extends RpcHandler<I, O>>(target: object, key: string, descriptor: TypedPropertyDescriptor<T>): void => {
    const place = `${target.constructor.name}.${key}`;
    const other = rpcMethodOf(descriptor.value as object);
    if (other) throw new Error(`${place} has two @Rpc(): of ${rpcNameOf(other)} and of ${rpcNameOf(method)}`);
    if (messageParameter(target, key) !== 0) {
      throw new Error(`${place} answers ${rpcNameOf(method)}, so its first parameter must be the request, with @Message()`);
    }
    for (const decorate of [
      GrpcMethod(method.parent.typeName, method.name),
      RequestMapping({ path: binding.url, method: RequestMethod[binding.verb] }),
      HttpCode(200),
      RouteConfig({ rpc: route }),
    ]) {
      decorate(target, key, descriptor);
    }
    Reflect.defineMetadata(RPC_METHOD, method, descriptor.value as object);
  };
}

/** The RPC that a method was decorated with, if it was. */
export function rpcMethodOf(handler: object): DescMethodUnary | undefined {
  return Reflect.getMetadata(RPC_METHOD, handler) as DescMethodUnary | undefined;
}

/** Which parameter of a method has `@Message()`; undefined when none has. */
export function messageParameter(prototype: object, key: string): number | undefined {
  const parameters = Reflect.getMetadata(ROUTE_ARGS_METADATA, prototype.constructor, key) as
    Readonly<Record<string, { readonly index: number; readonly factory?: unknown }>> | undefined;
  return Object.values(parameters ?? {}).find(({ factory }) => factory === requestMessage)?.index;
}

function requestMessage(_: unknown, context: ExecutionContext): unknown {
  const method = rpcMethodOf(context.getHandler());
  if (!method) throw new Error(`@Message() needs @Rpc() on ${context.getClass().name}.${context.getHandler().name}`);
  if (context.getType() === 'rpc') return messageFromBinary(method.input, context.switchToRpc().getData<Uint8Array>());
  const request = context.switchToHttp().getRequest<FastifyRequest>();
  const route = request.routeOptions.config.rpc;
  if (!route) throw new Error(`${rpcNameOf(method)} was called on a route that is not its own`);
  return messageFromJson(method.input, requestJson(method.input, route.binding, request as HttpRequestParts));
}

/**
 * The request message of an RPC, decoded and validated, on either transport.
 * Whatever is wrong with it is INVALID_ARGUMENT, with every violation, and the
 * decorated method is not called.
 */
export const Message = createParamDecorator(requestMessage);
