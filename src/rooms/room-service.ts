import { resolveHistoryOptions } from '../history/options.js';
import { assertPosition } from '../history/position.js';
import { clockOption } from '../internal/clock.js';
import { assertJson, type Json, jsonCodec } from '../internal/codec.js';
import { assertErrorListener, ErrorReporter } from '../internal/diagnostics.js';
import { ClosedError, DecodeError, InvalidArgumentError } from '../internal/errors.js';
import { MultiMap } from '../internal/multi-map.js';
import { runInSlices } from '../internal/promises.js';
import {
  assertName,
  assertOptions,
  booleanOption,
  choiceOption,
  numberOption,
} from '../internal/validate.js';
import { assertVisible } from '../internal/viewer-filter.js';
import type { ForgottenPresence } from '../presence/options.js';
import type { PresenceService } from '../presence/presence-service.js';
import { parseForgetOptions, toIdSet } from '../presence/validate.js';
import { CloseCode } from '../protocol/close-codes.js';
import { DISCONNECT_EVENT, KICK_EVENT, REVOKE_EVENT, TYPING_EVENT } from '../protocol/frames.js';
import { type ChannelOptions, type ChannelRef, defineChannel } from '../pubsub/channel-definition.js';
import type { HistoryPage, HistoryReadOptions, PublishResult } from '../pubsub/options.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';
import { databaseSuffix } from '../redis/database.js';
import { toRollcallError } from '../redis/replies.js';
import { Bans } from './bans.js';
import { ChannelAnchors } from './channel-anchors.js';
import { MemberFeeds } from './member-feeds.js';
import {
  ATTACH_OPTION_NAMES,
  BROADCAST_OPTION_NAMES,
  FORGET_USER_OPTION_NAMES,
  KICK_OPTION_NAMES,
  REVOKE_OPTION_NAMES,
  ROOM_SERVICE_OPTION_NAMES,
} from './option-names.js';
import type {
  AttachOptions,
  BroadcastOptions,
  DetachOptions,
  ForgetUserOptions,
  ForgottenUser,
  KickOptions,
  RevokeOptions,
  RoomServiceOptions,
  RoomServiceStats,
} from './options.js';
import type { Peer } from './peer-writer.js';
import { PresenceFeed } from './presence-feed.js';
import { removeMessages } from './remove-messages.js';
import type { RoomContext } from './room-context.js';
import { isEvent, MessageParser, type RoomEvent } from './room-message.js';
import { RoomSocket } from './room-socket.js';
import { TaskQueue } from './task-queue.js';

const YEAR = 31_536_000_000;
/** Ids in one message. */
const MAX_REVOKED = 1_000;
const NOTHING_FORGOTTEN: ForgottenPresence = {
  record: false,
  status: false,
  sockets: 0,
  rooms: [],
  remaining: { sockets: 0, removals: 0 },
};
const DEFAULT_HISTORY = { size: 100, ttl: 3_600_000 };

/**
 * Rooms for peers on any transport: a message to a room reaches every peer in it, and a message to a user every
 * peer of the user, on all processes. A process holds one Redis subscription per room with local peers and one
 * per local user.
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
  /** Carries the messages. */
  readonly pubsub: PubSubService;
  /** Tracks users and members; `undefined` without the option. */
  readonly presence: PresenceService | undefined;
  readonly #context: RoomContext;
  readonly #channels: RoomChannels;
  readonly #sockets = new Map<string, RoomSocket>();
  readonly #byUser = new MultiMap<string, RoomSocket>();
  readonly #unlisten: (() => void) | undefined;
  #closing: Promise<void> | undefined;

  /** @throws {@link InvalidArgumentError} for an option out of range. */
  constructor(options: RoomServiceOptions) {
    if (typeof options?.pubsub?.publish !== 'function') {
      throw new InvalidArgumentError('pubsub', 'must be a PubSubService: pass the pubsub of createRollcall');
    }
    assertOptions('options', options, ROOM_SERVICE_OPTION_NAMES);
    const { pubsub, presence, onError } = options;
    const clock = clockOption(options.clock);
    assertErrorListener(onError);
    const reporter = new ErrorReporter(onError);
    const maxBufferedBytes = numberOption('maxBufferedBytes', options.maxBufferedBytes, 1_048_576, {
      min: 1,
    });
    const slowPeers = choiceOption('slowPeers', options.slowPeers, 'close', ['close', 'drop']);
    this.pubsub = pubsub;
    this.presence = presence;
    this.#channels = new RoomChannels(options, databaseSuffix(pubsub.database));
    const onUndecodable = (channel: string) => {
      const error = new DecodeError(
        `a payload on channel ${JSON.stringify(channel)} is not a room event: publish with broadcast or sendToUser`,
      );
      reporter.report(error, { stage: 'decode', channel });
    };
    this.#context = {
      pubsub,
      presence,
      reporter,
      writerSettings: {
        clock,
        reporter,
        maxBufferedBytes,
        slowPeers,
        counters: { delivered: 0, dropped: 0, closedSlow: 0 },
      },
      parser: new MessageParser(onUndecodable),
      releases: new TaskQueue(clock),
      checks: new TaskQueue(clock),
      roomAnchors: new ChannelAnchors(pubsub),
      userAnchors: new ChannelAnchors(
        pubsub,
        (payload, channel) => this.#handleUserMessage(payload, channel),
        (channel) => this.#handleLostMessages(channel),
      ),
      grace: graceOption(options),
      bans: booleanOption('bans', options.bans, false) ? new Bans(pubsub) : undefined,
      memberFeeds: presence && new MemberFeeds(presence, clock),
      presenceFeed: presence && new PresenceFeed(presence, clock),
      roomChannel: (room) => this.#channels.room(room),
      userChannel: (userId) => this.#channels.user(userId),
      addUser: (socketId, userId) => this.#addUser(socketId, userId),
      removeUser: (socketId, userId) => this.#removeUser(socketId, userId),
      onDetached: (socketId) => this.#sockets.delete(socketId),
    };
    this.#unlisten = presence?.onDisconnected((userId, socketId, reason) => {
      const socket = this.#sockets.get(socketId);
      // It may have another user by now.
      if (socket !== undefined && this.#byUser.hasValue(userId, socket)) {
        socket.close(CloseCode.DISCONNECTED, reason, { immediate: true });
      }
    });
  }

  /**
   * Attaches a peer: its user is online with one more socket, and the peer receives messages to the user. Detach the
   * socket when the connection ends. Check `attached` afterwards: `disconnectUser` or `close` may have detached the
   * socket in the meantime.
   *
   * @throws {@link InvalidArgumentError} for a bad peer, id or option, and for a socket id in use here;
   * {@link LimitError} when the user has too many sockets; {@link TimeoutError}, {@link ConnectionError},
   * {@link CommandError} from Redis. After an error the peer is open and not attached.
   */
  async attach(peer: Peer, options: AttachOptions): Promise<RoomSocket> {
    this.#assertOpen();
    if (
      typeof peer?.send !== 'function' ||
      typeof peer.close !== 'function' ||
      typeof peer.bufferedAmount !== 'number'
    ) {
      throw new InvalidArgumentError(
        'peer',
        'must have the methods send and close, and the number bufferedAmount',
      );
    }
    assertOptions('options', options, ATTACH_OPTION_NAMES);
    assertName('userId', options?.userId);
    if (options.socketId !== undefined) assertName('socketId', options.socketId);
    if (options.clientId !== undefined) assertName('clientId', options.clientId);
    if (options.since !== undefined) assertPosition('since', options.since);
    assertVisible(options.visible);
    const socket = new RoomSocket(this.#context, peer, options);
    if (this.#sockets.has(socket.id))
      throw new InvalidArgumentError('socketId', 'is attached already: use another id for every connection');
    this.#sockets.set(socket.id, socket);
    this.#addUser(socket.id, socket.userId);
    try {
      await socket.start(options);
    } catch (error) {
      await socket.detach();
      throw error;
    }
    return socket;
  }

  /**
   * Sends an event to every peer in a room on all processes. With history at-least-once for clients that
   * reconnect, otherwise at-most-once.
   *
   * @throws {@link InvalidArgumentError} for a bad name, data that is not JSON, or an event that begins with
   * `$`; all errors of `PubSubService.publish`.
   */
  async broadcast(
    room: string,
    event: string,
    data: Json = null,
    options: BroadcastOptions = {},
  ): Promise<PublishResult> {
    assertName('room', room);
    assertOptions('options', options, BROADCAST_OPTION_NAMES);
    return this.#publish(this.#channels.room(room, options.transient), event, data, options);
  }

  /**
   * Sends an event to all sockets of a user on all processes. Guarantees and errors as {@link
   * RoomService.broadcast}.
   */
  async sendToUser(
    userId: string,
    event: string,
    data: Json = null,
    options: BroadcastOptions = {},
  ): Promise<PublishResult> {
    assertName('userId', userId);
    assertOptions('options', options, BROADCAST_OPTION_NAMES);
    return this.#publish(this.#channels.user(userId, options.transient), event, data, options);
  }

  /**
   * Publishes that a user types for the next `ttl` ms, or with 0 has stopped; not stored. Prefer `TypingService`,
   * which limits the rate. Publishes nothing for an `invisible` user, whose presence is read if they have no sockets
   * here.
   */
  async broadcastTyping(
    room: string,
    userId: string,
    options: { ttl: number; except?: string },
  ): Promise<void> {
    assertName('room', room);
    assertName('userId', userId);
    assertOptions('options', options, { ttl: true, except: true });
    const { ttl, except } = options;
    numberOption('ttl', ttl, 0, { unit: 'ms', min: 0, max: 3_600_000 });
    const { presence } = this;
    if (presence !== undefined) {
      if (presence.isInvisible(userId)) return;
      if (!this.#byUser.has(userId)) {
        const found = await presence.getPresence(userId, { reveal: true });
        if (found?.status === 'invisible') return;
      }
    }
    const event: RoomEvent = { ...toExceptField(except), event: TYPING_EVENT, from: userId, data: { ttl } };
    await this.pubsub.publish(this.#channels.room(room, true), event, { transient: this.hasHistory });
  }

  /**
   * Closes all connections of a user on all processes with 4403, without grace period; clients do not
   * reconnect. `authenticate` must reject the user, too, to exclude them. With presence this is final, also for a process
   * that is frozen or cut off; without it, such a process learns of it from the history of messages to the user.
   */
  async disconnectUser(userId: string, reason = ''): Promise<void> {
    assertName('userId', userId);
    if (typeof reason !== 'string') throw new InvalidArgumentError('reason', 'must be a string');
    await Promise.all([
      this.pubsub.publish(this.#channels.user(userId), { event: DISCONNECT_EVENT, data: { reason } }),
      this.presence?.disconnectUser(userId, reason),
    ]);
  }

  /**
   * Removes what is stored of a user: messages to them, and everything of `PresenceService.forget`. Their connections are closed
   * on all processes with 4403, unless `keepSockets`. Their messages in rooms stay, except in `messagesIn`; so do their bans.
   * `Rollcall.forget` covers notifications, too.
   *
   * @throws as `PresenceService.forget`, `PubSubService.deleteHistory` and {@link removeMessages}. After an error some of it may be
   * removed: call it again.
   */
  async forget(userId: string, options: ForgetUserOptions = {}): Promise<ForgottenUser> {
    this.#assertOpen();
    assertName('userId', userId);
    assertOptions('options', options, FORGET_USER_OPTION_NAMES);
    const { messagesIn = [], ...others } = options;
    const { keepSockets, reason } = parseForgetOptions(others);
    const rooms = toIdSet('messagesIn', 'room', messagesIn);
    const channel = this.#channels.user(userId);
    if (this.presence === undefined && !keepSockets) {
      const event = { event: DISCONNECT_EVENT, data: { reason } };
      // Not stored, because it would be deleted.
      await this.pubsub.publish(channel, event, { transient: this.hasHistory });
    }
    // Presence also notifies the owners of the sockets. Without a second notification no owner removes a socket by itself, and
    // takes the missing record for lost.
    const presence = (await this.presence?.forget(userId, others)) ?? NOTHING_FORGOTTEN;
    const messages = await this.pubsub.deleteHistory(channel);
    let removedMessages = 0;
    // After the connections are closed, and one room at a time, which bounds the load.
    for (const room of rooms) removedMessages += await this.removeMessages(room, userId);
    return { ...presence, messages, removedMessages };
  }

  /**
   * Removes the messages from a user (`from`) in the history of a room. An empty event between servers takes the place of each, so
   * that positions stay, and clients that recover find neither a gap nor the message. Clients that have received a
   * message keep it. Reads the whole history, 100 messages at a time. An unknown room or user is no error.
   *
   * @returns the number of messages that the call has removed.
   * @throws {@link InvalidArgumentError} for a bad name; all errors of `PubSubService.history`. After an error some may be removed:
   * call it again.
   */
  async removeMessages(room: string, userId: string): Promise<number> {
    this.#assertOpen();
    assertName('room', room);
    assertName('userId', userId);
    return removeMessages(this.pubsub, this.#channels.room(room), userId);
  }

  /**
   * Puts a user out of a room on all processes: their sockets leave it, and their clients have the room in the state
   * `refused`, with the error `KICKED` and the reason, and do not join again by themselves. With `ban`, joins are refused in
   * the same way until it ends. Sockets that only `PresenceService.join` has put into the room are not affected.
   *
   * @throws {@link InvalidArgumentError} for a bad name or option, a ban without a reason, and a ban without the option
   * `bans`; all errors of `PubSubService.publish`. After an error the ban may exist. Repeating the call is safe.
   */
  async kick(room: string, userId: string, options: KickOptions = {}): Promise<void> {
    this.#assertOpen();
    assertName('room', room);
    assertName('userId', userId);
    assertOptions('options', options, KICK_OPTION_NAMES);
    const { reason = '', ban } = options;
    if (typeof reason !== 'string') throw new InvalidArgumentError('reason', 'must be a string');
    if (ban !== undefined) {
      numberOption('ban', ban, 0, { unit: 'ms', min: 1, max: YEAR, integer: true });
      if (reason === '') throw new InvalidArgumentError('reason', 'must say why, because the user is banned');
      // Before the message: a socket that has left must not come back in between.
      await this.#bans().set(room, userId, reason, ban);
    }
    const message = { event: KICK_EVENT, data: { room, reason } };
    await Promise.all([
      this.pubsub.publish(this.#channels.user(userId), message),
      this.#context.grace > 0 ? this.presence?.endRoomGrace(room, userId) : undefined,
    ]);
  }

  /**
   * Ends what clients of a user show already and may no longer see, on all processes: watches of users, and lists or numbers
   * of members. Their frames end with `FORBIDDEN`, and clients do not ask again by themselves on that connection. Change the
   * answer of `authorize` first: it is asked with the next `watch` or `join`. A user or room that the user does not
   * watch, and an unknown user, are no error. Resolves when the message is published.
   *
   * @throws {@link InvalidArgumentError} for a bad id or option, or without one; all errors of `PubSubService.publish`. Repeating
   * the call is safe.
   */
  async revoke(userId: string, options: RevokeOptions): Promise<void> {
    this.#assertOpen();
    assertName('userId', userId);
    assertOptions('options', options ?? null, REVOKE_OPTION_NAMES);
    const [watch, members] = [toNames('watch', options.watch), toNames('members', options.members)];
    if (options.watch === undefined && options.members === undefined)
      throw new InvalidArgumentError('options', 'must name users to watch, or rooms in members');
    if (watch.length + members.length === 0) return;
    const message = { event: REVOKE_EVENT, data: { watch, members } };
    await this.pubsub.publish(this.#channels.user(userId), message);
  }

  /** Ends a ban; resolves with false if there was none. */
  async unban(room: string, userId: string): Promise<boolean> {
    this.#assertOpen();
    assertName('room', room);
    assertName('userId', userId);
    return this.#bans().remove(room, userId);
  }

  /** Reads a page of history; see `PubSubService.history`. */
  async history(room: string, options?: HistoryReadOptions): Promise<HistoryPage<RoomEvent>> {
    assertName('room', room);
    return this.pubsub.history<RoomEvent>(this.#channels.room(room), options);
  }

  /** True if messages are stored. */
  get hasHistory(): boolean {
    return this.#channels.hasHistory;
  }

  /** The channel of a room. */
  channel(room: string): ChannelRef<RoomEvent> {
    assertName('room', room);
    return this.#channels.room(room);
  }

  /** The attached sockets of a user on this process. For all processes: {@link kick}, {@link disconnectUser}. */
  socketsOf(userId: string): RoomSocket[] {
    return this.#byUser.get(userId);
  }

  /** Counters and gauges. */
  stats(): RoomServiceStats {
    const { writerSettings, roomAnchors } = this.#context;
    return {
      sockets: this.#sockets.size,
      users: this.#byUser.size,
      rooms: roomAnchors.size,
      ...writerSettings.counters,
    };
  }

  /**
   * Detaches all sockets in batches; their transport ends the connections. `handoff` leaves the sockets to
   * `PresenceService.close({ handoff: true })`. Idempotent.
   */
  close(options: Pick<DetachOptions, 'handoff'> = {}): Promise<void> {
    try {
      assertOptions('options', options, { handoff: true });
    } catch (error) {
      return Promise.reject(error);
    }
    const { handoff = false } = options;
    this.#closing ??= this.#close(handoff);
    return this.#closing;
  }

  /** Calls `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(handoff: boolean): Promise<void> {
    this.#unlisten?.();
    await runInSlices([...this.#sockets.values()], (socket) => socket.detach({ handoff }));
    const { presenceFeed, reporter } = this.#context;
    try {
      await presenceFeed?.close();
    } catch (error) {
      // The subscription ends with the connection.
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
    if (event.startsWith('$'))
      throw new InvalidArgumentError(
        'event',
        'must not begin with "$", which rollcall uses for its own events',
      );
    if (from !== undefined) assertName('from', from);
    assertJson('data', data);
    const message: RoomEvent = {
      // The socket's client may receive the message on a later connection.
      ...toExceptField(this.#sockets.get(except ?? '')?.clientId ?? except),
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
    const userId = this.#channels.parseUser(channel);
    if (userId !== undefined && isEvent(payload, KICK_EVENT)) return this.#handleKick(payload, userId);
    if (userId !== undefined && isEvent(payload, REVOKE_EVENT)) return this.#handleRevoke(payload, userId);
    if (!isEvent(payload, DISCONNECT_EVENT)) return;
    const { data } = JSON.parse(payload) as {
      data?: { reason?: unknown; nodeId?: unknown; socketId?: unknown };
    };
    const reason = typeof data?.reason === 'string' ? data.reason : '';
    for (const socket of userId === undefined ? [] : this.socketsOf(userId)) {
      if (data?.socketId === undefined) socket.close(CloseCode.DISCONNECTED, reason, { immediate: true });
      // `rollcall drain` moves one socket of one process: its client reconnects, within the grace.
      else if (data.socketId === socket.id && data.nodeId === this.presence?.stats().nodeId) {
        socket.close(CloseCode.SERVICE_RESTART, reason);
      }
    }
  }

  #handleKick(payload: string, userId: string): void {
    const { data } = JSON.parse(payload) as { data?: { room?: unknown; reason?: unknown } };
    if (typeof data?.room !== 'string' || typeof data.reason !== 'string') return;
    for (const socket of this.socketsOf(userId)) void socket.kick(data.room, data.reason);
  }

  #handleRevoke(payload: string, userId: string): void {
    const { data } = JSON.parse(payload) as { data?: { watch?: unknown; members?: unknown } };
    const [watch, members] = [toStrings(data?.watch), toStrings(data?.members)];
    for (const socket of this.socketsOf(userId)) socket.revoke(watch, members);
  }

  #handleLostMessages(channel: string): void {
    const userId = this.#channels.parseUser(channel);
    for (const socket of userId === undefined ? [] : this.socketsOf(userId)) socket.onMessagesLost();
  }

  #bans(): Bans {
    const { bans } = this.#context;
    if (bans === undefined) {
      throw new InvalidArgumentError(
        'ban',
        'needs the option bans: true of the RoomService, in all processes',
      );
    }
    return bans;
  }

  #addUser(socketId: string, userId: string): void {
    const socket = this.#sockets.get(socketId);
    if (socket !== undefined) this.#byUser.add(userId, socket);
  }

  #removeUser(socketId: string, userId: string): void {
    const socket = this.#sockets.get(socketId);
    if (socket !== undefined) this.#byUser.delete(userId, socket);
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw new ClosedError('this RoomService is closed');
  }
}

class RoomChannels {
  readonly #stored: Definitions;
  readonly #transient: Definitions;

  constructor({ history = DEFAULT_HISTORY, sharded = false }: RoomServiceOptions, suffix: string) {
    this.#transient = defineChannels(suffix, { sharded });
    this.#stored =
      history === false
        ? this.#transient
        : defineChannels(suffix, { sharded, history: resolveHistoryOptions(history) });
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

  parseUser(channel: string): string | undefined {
    return this.#stored.user.parse(channel)?.user;
  }
}

/** @throws {@link InvalidArgumentError} */
function toNames(argument: string, names: Iterable<string> | undefined): string[] {
  if (names === undefined) return [];
  if (typeof names === 'string' || typeof names?.[Symbol.iterator] !== 'function')
    throw new InvalidArgumentError(argument, 'must be an array of ids');
  const unique = [...new Set(names)];
  if (unique.length > MAX_REVOKED)
    throw new InvalidArgumentError(argument, `must have at most ${MAX_REVOKED} ids`);
  for (const name of unique) assertName(argument, name);
  return unique;
}

/** Of a message, which another program may have sent. */
function toStrings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((each) => typeof each === 'string') : [];
}

function graceOption({ presence, grace }: RoomServiceOptions): number {
  if (grace === undefined || grace === 0) return 0;
  if (presence !== undefined) return presence.roomGraceOption(grace);
  throw new InvalidArgumentError('grace', 'needs the option presence, which knows the members of rooms');
}

type Definitions = ReturnType<typeof defineChannels>;

/** `suffix`: {@link databaseSuffix}. */
function defineChannels(suffix: string, options: ChannelOptions<undefined>) {
  // Whatever the codec of the pub/sub service is, payloads are relayed to peers unchanged.
  const json = { ...options, codec: jsonCodec };
  return {
    room: defineChannel<RoomEvent>()(`room${suffix}:{room}`, json),
    user: defineChannel<RoomEvent>()(`user${suffix}:{user}`, json),
  };
}

function toExceptField(except: string | undefined): Pick<RoomEvent, 'except'> {
  if (except === undefined) return {};
  assertName('except', except);
  return { except };
}
