import {
  assertHandlerOptions,
  type ConnectionHandler,
  createConnectionHandler,
} from '../server/connection-handler.js';
import type { Handshake } from '../server/handshake.js';
import { CONNECTION_HANDLER_OPTION_NAMES } from '../server/option-names.js';
import type {
  ConnectionHandlerOptions,
  ConnectionIdentity,
  ServeCloseOptions,
  ServeStats,
} from '../server/options.js';
import type { ServeHandle } from '../server/serve-handle.js';
import { CrosswsConnection } from './crossws-connection.js';
import type { CrosswsHooks, CrosswsMessage, CrosswsPeer } from './crossws-types.js';

/** Handle of served crossws connections. */
export interface CrosswsHandle extends ServeHandle {
  /** For the option `hooks` of a crossws adapter, or `websocket` of a crossws server. */
  readonly hooks: CrosswsHooks;
}

/**
 * Serves the WebSockets of crossws on Node, Bun and Deno with the protocol of docs/protocol.md. Clients receive the
 * messages they missed when they reconnect.
 *
 * @example
 * ```ts
 * import crossws from 'crossws/adapters/node';
 *
 * const serving = serveCrossws({ rooms, authenticate, authorize });
 * const ws = crossws({ hooks: serving.hooks });
 * server.on('upgrade', ws.handleUpgrade);
 * ```
 * @throws `InvalidArgumentError` for an option out of range.
 */
export function serveCrossws<User extends ConnectionIdentity = ConnectionIdentity>(
  options: ConnectionHandlerOptions<User, Request>,
): CrosswsHandle {
  assertHandlerOptions(options, CONNECTION_HANDLER_OPTION_NAMES);
  return new CrosswsServing(createConnectionHandler(options));
}

/** In the context of a crossws connection. */
const HANDSHAKE = Symbol.for('rollcall.handshake');

class CrosswsServing implements CrosswsHandle {
  readonly hooks: CrosswsHooks;
  readonly #handler: ConnectionHandler;

  constructor(handler: ConnectionHandler) {
    this.#handler = handler;
    const connections = new WeakMap<CrosswsPeer, CrosswsConnection>();
    /** Events before `open` are of no interest: a connection may fail before. */
    const ifOpen = (peer: CrosswsPeer, tell: (connection: CrosswsConnection) => void) => {
      const connection = connections.get(peer);
      if (connection !== undefined) tell(connection);
    };
    // Functions without `this`: servers copy hooks into other objects.
    this.hooks = {
      async upgrade(request) {
        const handshake = await handler.upgrade(request);
        const { rejection, headers = {} } = handshake;
        if (rejection !== undefined) {
          const { status, text, headers } = rejection;
          return new Response(text, { status, statusText: text, headers });
        }
        return { headers: { ...headers }, context: { [HANDSHAKE]: handshake } };
      },
      open(peer) {
        const connection = new CrosswsConnection(peer);
        connections.set(peer, connection);
        const handshake = peer.context?.[HANDSHAKE as unknown as string] as Handshake | undefined;
        // A server with an `upgrade` hook of its own may not pass ours on.
        handler.open(connection, handshake ?? { request: peer.request as Request });
      },
      message: (peer, message) => ifOpen(peer, (open) => handler.message(open, toFrame(message))),
      ping: (peer) => ifOpen(peer, (open) => handler.ping(open)),
      pong: (peer, data) => ifOpen(peer, (open) => handler.pong(open, data)),
      error: (peer) => ifOpen(peer, (open) => handler.error(open)),
      close: (peer) => ifOpen(peer, (open) => handler.close(open)),
    };
  }

  stats(): ServeStats {
    return this.#handler.stats();
  }

  close(options?: ServeCloseOptions): Promise<void> {
    return this.#handler.shutdown(options);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** With uWebSockets.js, text arrives as an ArrayBuffer that is only valid during the call. */
function toFrame(message: CrosswsMessage): string | object {
  const { rawData } = message;
  if (rawData instanceof ArrayBuffer) return message.text();
  return rawData as string | object;
}
