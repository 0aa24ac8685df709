import type { DescMethod, DescMethodUnary, DescService } from '@bufbuild/protobuf';
import type { Type } from '@nestjs/common';
import { PATH_METADATA } from '@nestjs/common/constants.js';
import { MetadataScanner } from '@nestjs/core';
import { httpBindings, rpcNameOf } from './http-binding.js';
import { messageParameter, rpcMethodOf } from './rpc.decorator.js';

/**
 * Checks that every RPC of the services has one handler among the controllers,
 * and that nothing else stands in the way of serving it on both transports.
 *
 * @throws Error with every mistake, a line each, that names the RPC.
 */
export function assertRpcHandlers(controllers: readonly Type[], services: readonly DescService[]): void {
  const mistakes: string[] = [];
  const handlers = new Map<DescMethod, { readonly method: DescMethodUnary; readonly places: string[] }>();
  for (const controller of controllers) {
    const prototype = controller.prototype as Readonly<Record<string, object>>;
    for (const key of new MetadataScanner().getAllMethodNames(prototype)) {
      const place = `${controller.name}.${key}`;
      const method = rpcMethodOf(prototype[key]!);
      if (method) {
        const handled = handlers.get(method) ?? { method, places: [] };
        handlers.set(method, handled);
        handled.places.push(place);
        const path: unknown = Reflect.getMetadata(PATH_METADATA, controller);
        if (path !== '/') mistakes.push(`${place} answers ${rpcNameOf(method)}, whose path is in the proto: give @Controller() none`);
      } else if (messageParameter(prototype, key) !== undefined) {
        mistakes.push(`${place} has @Message(), and no @Rpc() that says what its request is`);
      }
    }
  }

  for (const method of services.flatMap(({ methods }) => methods)) {
    if (method.methodKind !== 'unary') {
      mistakes.push(`${rpcNameOf(method)} streams, and only unary RPCs can be served`);
      continue;
    }
    const places = handlers.get(method)?.places ?? [];
    if (places.length === 0) {
      const decorator = `@Rpc(${method.parent.name}.method.${method.localName})`;
      mistakes.push(`${rpcNameOf(method)} has no handler: give a method of a controller that the app's module lists ${decorator}`);
    } else if (places.length > 1) {
      mistakes.push(`${rpcNameOf(method)} has more than one handler: ${places.join(', ')}`);
    }
  }

  const routes = new Map<string, DescMethodUnary>();
  for (const { method, places } of handlers.values()) {
    if (!services.includes(method.parent)) {
      mistakes.push(
        `${places.join(', ')} answers ${rpcNameOf(method)}, but ${method.parent.typeName} is not among the services of the app`,
      );
    }
    for (const { verb, url } of httpBindings(method)) {
      // What a parameter is called tells no two routes apart.
      const route = `${verb} ${url.replace(/(?<!:):\w+(?:\(\[\^\/\]\+\))?/g, '{}').replaceAll('::', ':')}`;
      const other = routes.get(route);
      routes.set(route, method);
      if (other) mistakes.push(`${rpcNameOf(method)} and ${rpcNameOf(other)} are both bound to ${route}`);
    }
  }
  if (mistakes.length > 0) throw new Error(mistakes.join('\n'));
}
