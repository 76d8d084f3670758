import { InvalidArgumentError } from '../internal/errors.js';
import { assertName, assertOptions } from '../internal/validate.js';
import { NamespaceTracker } from './namespace-tracker.js';
import { REVOKE_OPTION_NAMES } from './option-names.js';
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
  RevokeWatchesOptions,
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

/** Ids in one message. */
const MAX_REVOKED = 1_000;

/**
 * Registers the sockets of a Socket.IO namespace (for a server: of `/`) with a presence service while they are
 * connected, or may be recovered. Handles and acknowledges their clients' events `presence:watch`, `presence:unwatch`
 * and `presence:status`. Set the server's adapter first. Connections do not depend on Redis: failed writes are
 * repeated.
 *
 * @example
 * ```ts
 * const tracker = trackPresence(io, { presence, pubsub });
 * io.use((socket, next) => {
 *   socket.data.user = authenticate(socket.handshake.auth.token);
 *   next();
 * });
 * ```
 * @throws `InvalidArgumentError` if `io` is not a Socket.IO server or namespace, or for an invalid option.
 */
export function trackPresence<S extends SocketLike>(
  io: ServerLike<S> | NamespaceLike<S>,
  options: TrackPresenceOptions<S>,
): PresenceTracker<S> {
  if (!isServerOrNamespace(io)) {
    throw new InvalidArgumentError('io', 'must be a Server or Namespace of Socket.IO 4');
  }
  const namespace = namespaceOf(io);
  const tracker = new NamespaceTracker<S>(namespace, resolveSettings(options));
  tracker.start();
  const close = (options?: { handoff?: boolean }): Promise<void> => {
    try {
      assertOptions('options', options, { handoff: true });
    } catch (error) {
      return Promise.reject(error);
    }
    return tracker.close(options?.handoff === true);
  };
  return {
    watch: async (socket, userIds) => tracker.watch(tracker.find(socket), toUserIds(userIds)),
    unwatch: async (socket, userIds) => tracker.unwatch(tracker.find(socket), toUserIds(userIds)),
    setStatus: async (socket, status) => tracker.setStatus(tracker.find(socket), status),
    identify: async (socket) => tracker.identify(tracker.find(socket)),
    revoke: async (userId, options) => {
      tracker.assertOpen();
      assertName('userId', userId);
      assertOptions('options', options ?? null, REVOKE_OPTION_NAMES);
      await tracker.revoke({ userId, watch: toRevoked(options.watch) });
    },
    subscribe: async (socket, channel, options) =>
      tracker.channels.subscribe(tracker.find(socket), channel, options),
    relay: async (channel, options) => {
      tracker.assertOpen();
      assertOptions('options', options);
      return tracker.channels.relay(namespace, channel, options);
    },
    stats: () => tracker.stats,
    close,
    [Symbol.asyncDispose]: () => close(),
  };
}

function toUserIds(userIds: Iterable<string>, argument = 'userIds'): Set<string> {
  if (typeof userIds === 'string' || typeof userIds?.[Symbol.iterator] !== 'function') {
    throw new InvalidArgumentError(argument, 'must be an iterable of strings');
  }
  const ids = new Set(userIds);
  for (const id of ids) assertName('userId', id);
  return ids;
}

function toRevoked(userIds: Iterable<string>): string[] {
  const ids = toUserIds(userIds, 'watch');
  if (ids.size > MAX_REVOKED) throw new InvalidArgumentError('watch', `must have at most ${MAX_REVOKED} ids`);
  return [...ids];
}
