import { InvalidArgumentError, LimitError, UnsupportedError } from '../internal/errors.js';
import { assertName, assertOptions } from '../internal/validate.js';
import type { ChannelLike } from '../pubsub/channel.js';
import type { Discontinuity } from '../pubsub/discontinuity.js';
import type { MessageContext } from '../pubsub/message-context.js';
import type { Subscription } from '../pubsub/subscribe.js';
import type {
  ChannelEventContext,
  DiscontinuityPayload,
  RelayedPubSub,
  RelayOptions,
  SocketSubscribeOptions,
} from './options.js';
import type { BroadcastLike, NamespaceBase } from './socket-io-types.js';
import type { TrackedSocket } from './tracked-socket.js';

/** Events that Socket.IO or Node keeps for itself; `emit` would throw. */
const RESERVED: ReadonlySet<string> = new Set([
  'connect',
  'connect_error',
  'disconnect',
  'disconnecting',
  'newListener',
  'removeListener',
]);

/** What a socket has that was gone before it was subscribed. */
const CLOSED_SUBSCRIPTION: Subscription = {
  position: undefined,
  unsubscribe: async () => {},
  [Symbol.asyncDispose]: async () => {},
};

/**
 * Channels for sockets. Everything is sent to sockets of this process only: every process subscribes for its own,
 * and the broadcasts of a cluster's adapter would bring it to each as often as there are processes.
 */
export class ChannelRelay {
  readonly #pubsub: RelayedPubSub | undefined;
  readonly #limit: number;
  readonly #relays = new Set<Subscription>();
  #ended = false;

  constructor(pubsub: RelayedPubSub | undefined, limit: number) {
    this.#pubsub = pubsub;
    this.#limit = limit;
  }

  /** How many relays there are. */
  get size(): number {
    return this.#relays.size;
  }

  /** A channel for one socket. */
  async subscribe(
    tracked: TrackedSocket,
    channel: ChannelLike<never, unknown>,
    options: SocketSubscribeOptions = {},
  ): Promise<Subscription> {
    const { subscriptions, socket } = tracked;
    if (subscriptions.size >= this.#limit) {
      throw new LimitError(`a socket may be subscribed to ${this.#limit} channels`);
    }
    const begin = this.#prepare(channel, options, (emit) => {
      if (tracked.connected) emit(socket.nsp.local.to(socket.id));
    });
    // In its place from the start: the limit counts those under way.
    const place = { unsubscribe: async () => {} };
    subscriptions.add(place);
    let subscription: Subscription;
    try {
      subscription = await begin();
    } finally {
      subscriptions.delete(place);
    }
    if (!tracked.connected) {
      await subscription.unsubscribe();
      return CLOSED_SUBSCRIPTION;
    }
    return trackSubscription(subscription, subscriptions);
  }

  /** A channel for all sockets of a namespace, or of some of its rooms. */
  async relay(
    space: NamespaceBase,
    channel: ChannelLike<never, unknown>,
    options: RelayOptions = {},
  ): Promise<Subscription> {
    assertOptions('options', options);
    const { room } = options;
    const rooms = room === undefined ? undefined : [room].flat();
    if (rooms?.length === 0) throw new InvalidArgumentError('room', 'must name one at least');
    for (const each of rooms ?? []) assertName('room', each, Number.POSITIVE_INFINITY);
    const begin = this.#prepare(channel, options, (emit) =>
      emit(rooms === undefined ? space.local : space.local.to(rooms)),
    );
    const subscription = await begin();
    if (this.#ended) {
      await subscription.unsubscribe();
      return CLOSED_SUBSCRIPTION;
    }
    return trackSubscription(subscription, this.#relays);
  }

  /** Ends the relays. */
  async close(): Promise<void> {
    this.#ended = true;
    await Promise.all([...this.#relays].map((relay) => relay.unsubscribe()));
  }

  #prepare(
    channel: ChannelLike<never, unknown>,
    options: SocketSubscribeOptions,
    send: (emit: (target: BroadcastLike) => void) => void,
  ): () => Promise<Subscription> {
    const pubsub = this.#pubsub;
    if (pubsub === undefined) throw new UnsupportedError('trackPresence was given no pubsub');
    assertOptions('options', options);
    const name = typeof channel === 'string' ? channel : channel?.name;
    const { event = name, since, sharded } = options;
    assertName('event', event);
    if (RESERVED.has(event))
      throw new InvalidArgumentError('event', `must not be "${event}", which is taken`);
    const onMessage = (message: unknown, { position }: MessageContext): void => {
      const context: ChannelEventContext = { channel: name, ...(position === undefined ? {} : { position }) };
      send((target) => target.emit(event, message, context));
    };
    const onDiscontinuity = ({ reason, since: from, recovered }: Discontinuity): void => {
      const gap: DiscontinuityPayload = { channel: name, reason, since: from.getTime(), recovered };
      send((target) => target.emit(`${event}:discontinuity`, gap));
    };
    const subscribing = {
      onDiscontinuity,
      ...(since === undefined ? {} : { since }),
      ...(sharded === undefined ? {} : { sharded }),
    };
    return () => pubsub.subscribe(channel, onMessage, subscribing);
  }
}

/** `subscription`, in `all` until it ends. */
function trackSubscription(
  subscription: Subscription,
  all: Set<Subscription> | Set<Pick<Subscription, 'unsubscribe'>>,
): Subscription {
  const unsubscribe = (): Promise<void> => {
    all.delete(held);
    return subscription.unsubscribe();
  };
  const held: Subscription = {
    get position() {
      return subscription.position;
    },
    unsubscribe,
    [Symbol.asyncDispose]: unsubscribe,
  };
  all.add(held);
  return held;
}
