import { InvalidArgumentError } from '../internal/errors.js';
import { assertName, assertOptions } from '../internal/validate.js';
import { NamespaceTracker } from './namespace-tracker.js';
import type { PresenceTracker, TrackPresenceOptions } from './options.js';
import { resolveSettings } from './settings.js';
import {
  isServerOrNamespace,
  type NamespaceLike,
  namespaceOf,
  type ServerLike,
  type SocketLike,
} from './socket-io-types.js';

export type {
  ChannelEventContext,
  DiscontinuityPayload,
  PresencePayload,
  PresenceTracker,
  PresenceTrackerRequest,
  PresenceTrackerStats,
  RelayedPubSub,
  RelayOptions,
  SocketIdentity,
  SocketSubscribeOptions,
  TrackedPresence,
  TrackPresenceOptions,
} from './options.js';
export type { ErrorAck } from './requests.js';
export type {
  AdapterLike,
  BroadcastLike,
  Listener,
  NamespaceBase,
  NamespaceLike,
  ServerLike,
  SocketLike,
} from './socket-io-types.js';

/**
 * Registers the sockets of a Socket.IO namespace (of a server: `/`) with a presence service, from `connection`
 * to `disconnect`, and answers what their clients ask of it: `presence:watch`, `presence:unwatch` and
 * `presence:status`, each with an acknowledgement. Set the server's adapter first.
 *
 * A socket whose session Socket.IO may recover stays registered meanwhile. Redis away is no matter for
 * connections: what could not be written is written later.
 *
 * @example
 * ```ts
 * const tracking = trackPresence(io, { presence, pubsub });
 * io.use((socket, next) => {
 *   socket.data.user = authenticate(socket.handshake.auth.token);
 *   next();
 * });
 * ```
 * @throws `InvalidArgumentError` for what is no Socket.IO server, or an option out of range.
 */
export function trackPresence<S extends SocketLike>(
  io: ServerLike<S> | NamespaceLike<S>,
  options: TrackPresenceOptions<S>,
): PresenceTracker<S> {
  if (!isServerOrNamespace(io)) {
    throw new InvalidArgumentError('io', 'must be a server or a namespace of Socket.IO 4');
  }
  const space = namespaceOf(io);
  const tracking = new NamespaceTracker<S>(space, resolveSettings(options));
  tracking.start();
  const close = (closing?: { handoff?: boolean }): Promise<void> => tracking.close(closing?.handoff === true);
  return {
    watch: async (socket, userIds) => tracking.watch(tracking.find(socket), idSet(userIds)),
    unwatch: async (socket, userIds) => tracking.unwatch(tracking.find(socket), idSet(userIds)),
    setStatus: async (socket, status) => tracking.setStatus(tracking.find(socket), status),
    subscribe: async (socket, channel, subscribing) =>
      tracking.channels.subscribe(tracking.find(socket), channel, subscribing),
    relay: async (channel, relaying) => {
      tracking.assertOpen();
      assertOptions('options', relaying);
      return tracking.channels.relay(space, channel, relaying);
    },
    stats: () => tracking.stats,
    close,
    [Symbol.asyncDispose]: () => close(),
  };
}

function idSet(userIds: Iterable<string>): Set<string> {
  if (typeof userIds === 'string' || typeof userIds?.[Symbol.iterator] !== 'function') {
    throw new InvalidArgumentError('userIds', 'must be an iterable of strings');
  }
  const ids = new Set(userIds);
  for (const id of ids) assertName('userId', id);
  return ids;
}
