import { UnsupportedError } from '../internal/errors.js';
import { GatewayClient } from './gateway-client.js';

/** Keys of Nest's metadata; they are the same in Nest 11 and 12. */
const ROUTE_ARGUMENTS = '__routeArguments__';
const CUSTOM = '__customRouteArgs__';

/** The part of `reflect-metadata` that is used. */
interface ReflectMetadata {
  getMetadata?(key: string, target: object, name: string | symbol): Record<string, unknown> | undefined;
  defineMetadata?(key: string, value: unknown, target: object, name: string | symbol): void;
}

/** The part of an `ExecutionContext` that is used. */
interface ContextLike {
  switchToWs(): { getClient(): unknown };
}

/**
 * Parameter decorator for handlers of gateways: the presence of the client's user over all their connections, read from
 * Redis at each call.
 *
 * @example
 * ```ts
 * @SubscribeMessage('order')
 * order(@MessageBody() order: Order, @Presence() presence: PresenceData | null) {}
 * ```
 * @throws `UnsupportedError` if `reflect-metadata` is not loaded.
 */
export function Presence(): (target: object, name: string | symbol | undefined, index: number) => void {
  return (target, name, index) => {
    const { getMetadata, defineMetadata } = Reflect as ReflectMetadata;
    if (getMetadata === undefined || defineMetadata === undefined) {
      throw new UnsupportedError("@Presence() needs reflect-metadata: import 'reflect-metadata' first");
    }
    if (name === undefined) throw new UnsupportedError('@Presence() is for parameters of methods');
    const type = target.constructor;
    defineMetadata(
      ROUTE_ARGUMENTS,
      {
        ...getMetadata(ROUTE_ARGUMENTS, type, name),
        [`rollcallPresence${CUSTOM}:${index}`]: { index, factory: readPresence, data: undefined, pipes: [] },
      },
      type,
      name,
    );
  };
}

function readPresence(_data: unknown, context: ContextLike): Promise<unknown> {
  const client = context.switchToWs().getClient();
  if (client instanceof GatewayClient) return client.getPresence();
  throw new UnsupportedError('@Presence() is for handlers of gateways, with RollcallAdapter as adapter');
}
