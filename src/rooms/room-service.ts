import { resolveHistoryOptions } from '../history/options.js';
import { assertPosition } from '../history/position.js';
import { systemClock } from '../internal/clock.js';
import { type Json, jsonCodec } from '../internal/codec.js';
import { ErrorReporter } from '../internal/diagnostics.js';
import { ClosedError, DecodeError, InvalidArgumentError } from '../internal/errors.js';
import {
  assertFunction,
  assertName,
  assertOptions,
  choiceOption,
  numberOption,
} from '../internal/validate.js';
import type { PresenceService } from '../presence/presence-service.js';
import { CloseCode } from '../protocol/close-codes.js';
import { DISCONNECT_EVENT, TYPING_EVENT } from '../protocol/frames.js';
import { type ChannelOptions, type ChannelRef, defineChannel } from '../pubsub/channel-definition.js';
import type { HistoryPage, HistoryReadOptions, PublishResult } from '../pubsub/options.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';
import { toRollcallError } from '../redis/replies.js';
import { ChannelAnchors } from './channel-anchors.js';
import { MessageParser } from './encoded-frame.js';
import { MemberFeeds } from './member-feeds.js';
import type {
  AttachOptions,
  BroadcastOptions,
  DetachOptions,
  RoomServiceOptions,
  RoomServiceStats,
} from './options.js';
import type { Peer } from './peer.js';
import { PresenceFeed } from './presence-feed.js';
import type { RoomContext, SocketIdentifiers } from './room-context.js';
import { isEvent, type RoomEvent } from './room-message.js';
import { RoomSocket } from './room-socket.js';

const DEFAULT_HISTORY = { size: 100, ttl: 3_600_000 };

/**
 * Rooms for peers on any transport: what is said in a room reaches every peer in it, on whichever
 * process, and what is sent to a user all his peers. One Redis subscription per room that has local
 * peers, one per local user; payloads are relayed unparsed, each made into a frame once.
 *
 * @example
 * ```ts
 * const rooms = new RoomService({ pubsub, presence });
 * const socket = await rooms.attach(peer, { userId: 'alice' });
 * await socket.join('lobby', { last: 50 });
 * await rooms.broadcast('lobby', 'message', { text: 'hello' }, { from: 'alice' });
 * ```
 */
export class RoomService {
  /** What carries the messages. */
  readonly pubsub: PubSubService;
  /** Who is where, if it was given. */
  readonly presence: PresenceService | undefined;
  readonly #host: RoomContext;
  readonly #channels: RoomChannels;
  readonly #sockets = new Map<string, RoomSocket>();
  readonly #byUser = new Map<string, Set<RoomSocket>>();
  #closing: Promise<void> | undefined;

  /** @throws {@link InvalidArgumentError} for an option out of range. */
  constructor(options: RoomServiceOptions) {
    if (typeof options?.pubsub?.publish !== 'function') {
      throw new InvalidArgumentError('pubsub', 'must be a PubSubService');
    }
    const { pubsub, presence, clock = systemClock, onError } = options;
    if (onError !== undefined) assertFunction('onError', onError);
    const reporter = new ErrorReporter(onError);
    const maxBufferedBytes = numberOption('maxBufferedBytes', options.maxBufferedBytes, 1_048_576, {
      min: 1,
    });
    const slowPeers = choiceOption('slowPeers', options.slowPeers, 'close', ['close', 'drop']);
    this.pubsub = pubsub;
    this.presence = presence;
    this.#channels = new RoomChannels(options);
    const undecodable = (channel: string) => {
      const error = new DecodeError(`a payload on channel ${JSON.stringify(channel)} is no room event`);
      reporter.report(error, { stage: 'decode', channel });
    };
    this.#host = {
      pubsub,
      presence,
      reporter,
      outlets: {
        clock,
        reporter,
        maxBufferedBytes: maxBufferedBytes,
        slowPeers,
        counters: { delivered: 0, dropped: 0, closedSlow: 0 },
      },
      rooms: new ChannelAnchors(pubsub, () => {}),
      users: new ChannelAnchors(pubsub, (payload, channel) => this.#handleUserMessage(payload, channel)),
      rosters: presence && new MemberFeeds(presence, clock),
      watched: presence && new PresenceFeed(presence),
      reading: new MessageParser(undecodable),
      room: (name) => this.#channels.room(name),
      user: (id) => this.#channels.user(id),
      detached: (socket) => this.#detached(socket),
    };
  }

  /**
   * Attaches a peer: its user is online with one more socket, and what is sent to him reaches it. Who is
   * attached must be detached when the connection ends. Whom `disconnectUser` or `close` meets on his way
   * in is detached already when this resolves: `attached` tells.
   *
   * @throws {@link InvalidArgumentError} for a bad peer, id or option, and for a socket id in use here;
   * {@link LimitError} when the user has too many sockets; {@link TimeoutError}, {@link ConnectionError},
   * {@link CommandError} from Redis. The peer is not attached then, and stays open.
   */
  async attach(peer: Peer, options: AttachOptions): Promise<RoomSocket> {
    this.#assertOpen();
    if (
      typeof peer?.send !== 'function' ||
      typeof peer.close !== 'function' ||
      typeof peer.bufferedAmount !== 'number'
    ) {
      throw new InvalidArgumentError('peer', 'must have send, close and bufferedAmount');
    }
    assertOptions('options', options);
    assertName('userId', options?.userId);
    if (options.socketId !== undefined) assertName('socketId', options.socketId);
    if (options.since !== undefined) assertPosition('since', options.since);
    const socket = new RoomSocket(this.#host, peer, options);
    if (this.#sockets.has(socket.id)) throw new InvalidArgumentError('socketId', 'is attached already');
    this.#sockets.set(socket.id, socket);
    const own = this.#byUser.get(socket.userId);
    if (own === undefined) this.#byUser.set(socket.userId, new Set([socket]));
    else own.add(socket);
    try {
      await socket.start(options);
    } catch (error) {
      await socket.detach();
      throw error;
    }
    return socket;
  }

  /**
   * Sends an event to everybody in a room, from any process.
   *
   * @throws {@link InvalidArgumentError} for a bad name, data JSON cannot say, or an event that begins with
   * `$`; and whatever `PubSubService.publish` throws.
   */
  async broadcast(
    room: string,
    event: string,
    data: Json = null,
    options: BroadcastOptions = {},
  ): Promise<PublishResult> {
    assertName('room', room);
    return this.#publish(this.#channels.room(room, options.transient), event, data, options);
  }

  /**
   * Sends an event to all sockets of a user, on whichever processes they are. One who comes back later with
   * his last position gets it as well.
   *
   * @throws as {@link RoomService.broadcast} does.
   */
  async sendToUser(
    userId: string,
    event: string,
    data: Json = null,
    options: BroadcastOptions = {},
  ): Promise<PublishResult> {
    assertName('userId', userId);
    return this.#publish(this.#channels.user(userId, options.transient), event, data, options);
  }

  /**
   * Says that a user types in a room, for `ttl` ms, or has stopped, with 0; nothing is kept of that. Better use
   * a `TypingService`, which does not say it more often than needed.
   */
  async broadcastTyping(
    room: string,
    userId: string,
    options: { ttl: number; except?: string },
  ): Promise<void> {
    assertName('room', room);
    assertName('userId', userId);
    assertOptions('options', options);
    const { ttl, except } = options;
    numberOption('ttl', ttl, 0, { min: 0, max: 3_600_000 });
    const event: RoomEvent = { ...toExceptField(except), event: TYPING_EVENT, from: userId, data: { ttl } };
    await this.pubsub.publish(this.#channels.room(room, true), event, { transient: this.hasHistory });
  }

  /**
   * Ends all connections of a user, on whichever processes they are, with a code that says not to come
   * back, and without grace. What keeps him from coming back all the same is your `authenticate`.
   */
  async disconnectUser(userId: string, reason = ''): Promise<void> {
    assertName('userId', userId);
    if (typeof reason !== 'string') throw new InvalidArgumentError('reason', 'must be a string');
    await this.pubsub.publish(this.#channels.user(userId), { event: DISCONNECT_EVENT, data: { reason } });
  }

  /** Reads a page of what was said in a room. See `PubSubService.history`. */
  async history(room: string, options?: HistoryReadOptions): Promise<HistoryPage<RoomEvent>> {
    assertName('room', room);
    return this.pubsub.history<RoomEvent>(this.#channels.room(room), options);
  }

  /** Whether what is said is kept, unless a call says otherwise. */
  get hasHistory(): boolean {
    return this.#channels.hasHistory;
  }

  /** The channel of a room, for `PubSubService.subscribe` and the like. */
  channel(room: string): ChannelRef<RoomEvent> {
    assertName('room', room);
    return this.#channels.room(room);
  }

  /** The attached sockets of a user on this process. */
  socketsOf(userId: string): RoomSocket[] {
    return [...(this.#byUser.get(userId) ?? [])];
  }

  /** Counters and gauges. */
  stats(): RoomServiceStats {
    const { outlets, rooms } = this.#host;
    return {
      sockets: this.#sockets.size,
      users: this.#byUser.size,
      rooms: rooms.size,
      ...outlets.counters,
    };
  }

  /**
   * Detaches everybody; connections are their transport's to end. With `handoff` their sockets are left to
   * `PresenceService.close({ handoff: true })`. Idempotent.
   */
  close({ handoff = false }: Pick<DetachOptions, 'handoff'> = {}): Promise<void> {
    this.#closing ??= this.#close(handoff);
    return this.#closing;
  }

  /** The same, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(handoff: boolean): Promise<void> {
    await Promise.all([...this.#sockets.values()].map((socket) => socket.detach({ handoff })));
    const { watched, reporter } = this.#host;
    try {
      await watched?.close();
    } catch (error) {
      // Redis is away, and forgets us with the connection.
      reporter.report(toRollcallError(error), { stage: 'close' });
    }
  }

  async #publish(
    channel: ChannelRef<RoomEvent>,
    event: string,
    data: Json,
    { except, from, transient = false, idempotencyKey }: BroadcastOptions,
  ): Promise<PublishResult> {
    this.#assertOpen();
    assertName('event', event, 128);
    if (event.startsWith('$')) throw new InvalidArgumentError('event', 'must not begin with "$"');
    if (from !== undefined) assertName('from', from);
    // Others are refused on the way to JSON; these would be left out.
    if (typeof data === 'function' || typeof data === 'symbol') {
      throw new InvalidArgumentError('data', `must be JSON, not a ${typeof data}`);
    }
    const message: RoomEvent = {
      ...toExceptField(except),
      event,
      ...(from === undefined ? {} : { from }),
      data,
    };
    return this.pubsub.publish(channel, message, {
      transient: this.hasHistory && transient,
      ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    });
  }

  #handleUserMessage(payload: string, channel: string): void {
    if (!isEvent(payload, DISCONNECT_EVENT)) return;
    const userId = this.#channels.userOf(channel);
    const { data } = JSON.parse(payload) as { data?: { reason?: unknown } };
    const reason = typeof data?.reason === 'string' ? data.reason : '';
    for (const socket of userId === undefined ? [] : this.socketsOf(userId)) {
      socket.close(CloseCode.DISCONNECTED, reason, { immediate: true });
    }
  }

  #detached({ id, userId }: SocketIdentifiers): void {
    const socket = this.#sockets.get(id);
    if (socket === undefined) return;
    this.#sockets.delete(id);
    const own = this.#byUser.get(userId);
    if (own?.delete(socket) === true && own.size === 0) this.#byUser.delete(userId);
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw new ClosedError('this RoomService is closed');
  }
}

/** The channels of rooms and users, with history and without. */
class RoomChannels {
  readonly #stored: Definitions;
  readonly #transient: Definitions;

  constructor({ history = DEFAULT_HISTORY, sharded = false }: RoomServiceOptions) {
    this.#transient = defineChannels({ sharded });
    this.#stored =
      history === false
        ? this.#transient
        : defineChannels({ sharded, history: resolveHistoryOptions(history) });
  }

  get hasHistory(): boolean {
    return this.#stored !== this.#transient;
  }

  room(room: string, transient = false): ChannelRef<RoomEvent> {
    return (transient ? this.#transient : this.#stored).room({ room });
  }

  user(user: string, transient = false): ChannelRef<RoomEvent> {
    return (transient ? this.#transient : this.#stored).user({ user });
  }

  userOf(channel: string): string | undefined {
    return this.#stored.user.parse(channel)?.user;
  }
}

type Definitions = ReturnType<typeof defineChannels>;

function defineChannels(options: ChannelOptions<undefined>) {
  // Whatever the service's codec is: peers are relayed what was published.
  const json = { ...options, codec: jsonCodec };
  return {
    room: defineChannel<RoomEvent>()('room:{room}', json),
    user: defineChannel<RoomEvent>()('user:{user}', json),
  };
}

function toExceptField(except: string | undefined): Pick<RoomEvent, 'except'> {
  if (except === undefined) return {};
  assertName('except', except);
  return { except };
}
