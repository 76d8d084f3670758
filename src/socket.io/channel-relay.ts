import { InvalidArgumentError, LimitError, UnsupportedError } from '../internal/errors.js';
import { assertName, assertOptions } from '../internal/validate.js';
import type { Backpressure } from '../pubsub/backpressure.js';
import type { ChannelLike } from '../pubsub/channel.js';
import type { Discontinuity } from '../pubsub/discontinuity.js';
import type { MessageContext } from '../pubsub/message-context.js';
import type { Subscription } from '../pubsub/subscribe.js';
import { RELAY_OPTION_NAMES, SOCKET_SUBSCRIBE_OPTION_NAMES } from './option-names.js';
import type {
  ChannelEventContext,
  DiscontinuityPayload,
  RelayedPubSub,
  RelayOptions,
  SocketSubscribeOptions,
} from './options.js';
import type { BroadcastLike, Listener, NamespaceBase } from './socket-io-types.js';
import type { TrackedSocket } from './tracked-socket.js';

/** By Socket.IO and Node; `emit` throws for them. */
const RESERVED: ReadonlySet<string> = new Set([
  'connect',
  'connect_error',
  'disconnect',
  'disconnecting',
  'newListener',
  'removeListener',
]);

/** In packets: Socket.IO queues without a limit. */
const MAX_QUEUED = 32;
/** In bytes, of missed messages that are read at a time. */
const PAGE_BYTES = 65_536;

/** For a socket that disconnected while subscribing. */
const CLOSED_SUBSCRIPTION: Subscription = {
  position: undefined,
  unsubscribe: async () => {},
  [Symbol.asyncDispose]: async () => {},
};

/**
 * Sends to `local` sockets only: every process subscribes, so a broadcast through a cluster adapter would reach
 * each client once per process.
 */
export class ChannelRelay {
  readonly #pubsub: RelayedPubSub | undefined;
  readonly #limit: number;
  readonly #relays = new Set<Subscription>();
  #closed = false;

  constructor(pubsub: RelayedPubSub | undefined, limit: number) {
    this.#pubsub = pubsub;
    this.#limit = limit;
  }

  get size(): number {
    return this.#relays.size;
  }

  async subscribe(
    tracked: TrackedSocket,
    channel: ChannelLike<never, unknown>,
    options: SocketSubscribeOptions = {},
  ): Promise<Subscription> {
    const { subscriptions, socket } = tracked;
    if (subscriptions.size >= this.#limit) {
      throw new LimitError(`a socket may subscribe to at most ${this.#limit} channels`);
    }
    assertOptions('options', options, SOCKET_SUBSCRIBE_OPTION_NAMES);
    const subscribe = this.#prepare(
      channel,
      options,
      (emit) => {
        if (tracked.connected) emit(socket.nsp.local.to(socket.id));
      },
      socket.conn,
    );
    // Counts towards the limit during SUBSCRIBE.
    const pending = { unsubscribe: async () => {} };
    subscriptions.add(pending);
    let subscription: Subscription;
    try {
      subscription = await subscribe();
    } finally {
      subscriptions.delete(pending);
    }
    if (!tracked.connected) {
      await subscription.unsubscribe();
      return CLOSED_SUBSCRIPTION;
    }
    return trackSubscription(subscription, subscriptions);
  }

  async relay(
    space: NamespaceBase,
    channel: ChannelLike<never, unknown>,
    options: RelayOptions = {},
  ): Promise<Subscription> {
    assertOptions('options', options, RELAY_OPTION_NAMES);
    const { room } = options;
    const rooms = room === undefined ? undefined : [room].flat();
    if (rooms?.length === 0) throw new InvalidArgumentError('room', 'must name at least one room');
    for (const each of rooms ?? []) assertName('room', each, Number.POSITIVE_INFINITY);
    const subscribe = this.#prepare(channel, options, (emit) =>
      emit(rooms === undefined ? space.local : space.local.to(rooms)),
    );
    const subscription = await subscribe();
    if (this.#closed) {
      await subscription.unsubscribe();
      return CLOSED_SUBSCRIPTION;
    }
    return trackSubscription(subscription, this.#relays);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#relays].map((relay) => relay.unsubscribe()));
  }

  #prepare(
    channel: ChannelLike<never, unknown>,
    options: SocketSubscribeOptions,
    send: (emit: (target: BroadcastLike) => void) => void,
    connection?: unknown,
  ): () => Promise<Subscription> {
    const pubsub = this.#pubsub;
    if (pubsub === undefined) throw new UnsupportedError('channels need the option pubsub of trackPresence');
    const name = typeof channel === 'string' ? channel : channel?.name;
    const { event = name, since, sharded } = options;
    assertName('event', event);
    if (RESERVED.has(event))
      throw new InvalidArgumentError('event', `must not be "${event}", which Socket.IO reserves`);
    const onMessage = (message: unknown, { position }: MessageContext): void => {
      const context: ChannelEventContext = { channel: name, ...(position === undefined ? {} : { position }) };
      send((target) => target.emit(event, message, context));
    };
    const onDiscontinuity = ({ reason, since: from, recovered }: Discontinuity): void => {
      const gap: DiscontinuityPayload = { channel: name, reason, since: from.getTime(), recovered };
      send((target) => target.emit(`${event}:discontinuity`, gap));
    };
    const subscribeOptions = {
      onDiscontinuity,
      ...(since === undefined ? {} : { since }),
      ...(sharded === undefined ? {} : { sharded }),
      ...(isConnection(connection) ? { backpressure: createBackpressure(connection) } : {}),
    };
    return () => pubsub.subscribe(channel, onMessage, subscribeOptions);
  }
}

/** The declarations of Engine.IO hide `writeBuffer`, which is public at run time. */
interface Connection {
  readonly writeBuffer: readonly unknown[];
  once(event: string, listener: Listener): unknown;
}

function isConnection(given: unknown): given is Connection {
  const { writeBuffer, once } = (given ?? {}) as Partial<Connection>;
  return Array.isArray(writeBuffer) && typeof once === 'function';
}

function createBackpressure(connection: Connection): Backpressure {
  return {
    pageBytes: PAGE_BYTES,
    get full() {
      return connection.writeBuffer.length >= MAX_QUEUED;
    },
    // A connection that closes ends its subscriptions, and Socket.IO closes one that does not answer its pings.
    drained: () => new Promise((resolve) => void connection.once('drain', resolve)),
  };
}

function trackSubscription(
  subscription: Subscription,
  all: Set<Subscription> | Set<Pick<Subscription, 'unsubscribe'>>,
): Subscription {
  const unsubscribe = (): Promise<void> => {
    all.delete(tracked);
    return subscription.unsubscribe();
  };
  const tracked: Subscription = {
    get position() {
      return subscription.position;
    },
    unsubscribe,
    [Symbol.asyncDispose]: unsubscribe,
  };
  all.add(tracked);
  return tracked;
}
