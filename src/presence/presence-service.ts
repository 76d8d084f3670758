import { onAbort } from '../internal/abort.js';
import { bindAsyncContext } from '../internal/async-context.js';
import { encodeJson, type Json } from '../internal/codec.js';
import { InvalidArgumentError, LimitError, UnsupportedError } from '../internal/errors.js';
import {
  assertFunction,
  assertName,
  assertOptions,
  assertSignal,
  numberOption,
} from '../internal/validate.js';
import type { Subscription } from '../pubsub/subscribe.js';
import { ChangeVerifier } from './change-verifier.js';
import { createComponents, type PresenceComponents } from './components.js';
import { escapeId } from './ids.js';
import { joinIds, partitionOf } from './keys.js';
import { Lifecycle } from './lifecycle.js';
import type { LocalMembership, SocketRef } from './local-sockets.js';
import {
  CLOSE_OPTION_NAMES,
  JOIN_ROOM_OPTION_NAMES,
  ONLINE_USERS_OPTION_NAMES,
  READ_OPTION_NAMES,
  REMOVE_SOCKET_OPTION_NAMES,
  SET_PRESENCE_OPTION_NAMES,
  SET_STATUS_OPTION_NAMES,
  WATCH_OPTION_NAMES,
} from './option-names.js';
import type {
  ClosePresenceOptions,
  ForgetOptions,
  ForgottenPresence,
  JoinRoomOptions,
  OnlineUsersOptions,
  PresenceOptions,
  PresenceStats,
  ReadOptions,
  RemoveSocketOptions,
  SetPresenceOptions,
  SetStatusOptions,
  WatchOptions,
} from './options.js';
import type { PresenceWatch } from './presence-watches.js';
import { decodeChange, encodeMembership, encodeOwnStatus, encodeTtlEntry } from './record.js';
import type { RoomWatch } from './room-presence.js';
import type { RoomChangeHandler } from './room-watch-state.js';
import { SetPresenceCall } from './set-presence-call.js';
import { assertGrace, type PresenceSettings, resolveSettings, ttlOption } from './settings.js';
import { subscribeToChanges } from './subscribe-to-changes.js';
import type { PresenceData, RoomMember, Status } from './types.js';
import type { PresenceChangeHandler } from './user-watch-state.js';
import { assertStatus, parseExpiry, parseForgetOptions, toIdSet } from './validate.js';

/**
 * Tells which users are online, on which sockets and with which status, across all processes on one Redis.
 *
 * @typeParam StatusMeta - Type of the `meta` of `setStatus`, as reads return it. It is not checked: every writer to this Redis
 * is trusted.
 * @example
 * ```ts
 * const presence = new PresenceService({ redis, grace: 10_000 });
 * wss.on('connection', async (ws, request) => {
 *   const userId = authenticate(request), socketId = crypto.randomUUID();
 *   await presence.setPresence(userId, socketId, 'online');
 *   ws.on('close', () => presence.removeSocket(userId, socketId));
 * });
 * ```
 */
export class PresenceService<StatusMeta extends Json = Json> {
  readonly #settings: PresenceSettings;
  readonly #parts: PresenceComponents;
  readonly #lifecycle: Lifecycle;
  /** Of this process, and by its option of others: ending one costs a search for the rooms. */
  #usesRoomGrace = false;

  /** @throws {@link InvalidArgumentError} for an unknown client or an option out of range. */
  constructor(options: PresenceOptions) {
    this.#settings = resolveSettings(options);
    this.#parts = createComponents(options, this.#settings);
    this.#lifecycle = new Lifecycle(this.#settings, this.#parts);
  }

  /**
   * Connects the client unless it is connected, and starts renewing and checking leases. Idempotent. Every other
   * call that uses Redis starts the service as well.
   *
   * @throws {@link ConnectionError} when Redis cannot be reached within `timeout`;
   * {@link ConfigurationError} when services with another number of partitions wrote the keys.
   */
  async connect(): Promise<void> {
    this.#lifecycle.assertOpen();
    await this.#lifecycle.start();
  }

  /**
   * Registers or updates a socket of a user; resolves with the user's presence after the write. One atomic step
   * writes the record and publishes a change of status.
   *
   * Calls for one socket take effect in the order they were made. If several are in progress, each of them may
   * resolve with the state after the last one.
   *
   * @throws {@link InvalidArgumentError} for invalid ids, status or meta; {@link LimitError} when the user has
   * `maxSocketsPerUser` sockets, with `retryAfter` if some of them are of processes that may have died; {@link TimeoutError}, {@link ConnectionError}, {@link CommandError}. After a failed
   * call the socket is as before; if the write may have happened, it is undone as soon as Redis is back. A socket with a `ttl`
   * is not undone: it may be there until its TTL ends.
   */
  setPresence(
    userId: string,
    socketId: string,
    status: Status = 'online',
    meta?: Json,
    options?: SetPresenceOptions,
  ): Promise<PresenceData<StatusMeta>> {
    // In a storm of calls, `async` functions are most of the cost.
    return new Promise((settle, reject) => {
      const resolve = settle as (presence: PresenceData | PromiseLike<PresenceData>) => void;
      const { local, inbox, ttlSockets } = this.#parts;
      const ref = this.#ref(userId, socketId);
      if (typeof status === 'object') {
        throw new InvalidArgumentError(
          'status',
          'must be a string, not an object: meta is the fourth argument',
        );
      }
      assertStatus('status', status);
      const text = this.#encode('meta', meta);
      assertOptions('options', options, SET_PRESENCE_OPTION_NAMES);
      const ttl = ttlOption('ttl', options?.ttl) ?? this.#settings.socketTtl;
      if (ttl !== undefined) {
        const set = () => ttlSockets.set(ref, userId, socketId, ttl, encodeTtlEntry(status, text));
        return resolve(this.#write(ref.partition, set));
      }
      this.#assertBackground('setPresence without a ttl');
      const subscribing = inbox.open();
      const limit = local.hasSocket(ref) ? Number.POSITIVE_INFINITY : this.#settings.maxSocketsPerUser;
      local.set(
        ref,
        status,
        text,
        new SetPresenceCall(userId, socketId, ref, limit, this.#parts, subscribing, resolve, reject),
      );
    });
  }

  /**
   * Prolongs a socket without a process by its TTL, from whichever process. Resolves with false if there is no such socket,
   * because its TTL has ended, it was removed or Redis lost it: then call `setPresence`.
   *
   * @throws {@link InvalidArgumentError} for invalid ids, otherwise as `setPresence`.
   */
  async heartbeat(userId: string, socketId: string): Promise<boolean> {
    const ref = this.#ref(userId, socketId);
    return this.#write(ref.partition, () => this.#parts.ttlSockets.heartbeat(ref));
  }

  /**
   * Ends what is overdue in all partitions: sockets without a process, graces, and statuses with an end. Running services
   * with background work do this by themselves. Without such a process, call it from time to time, from a scheduled function for
   * example. Resolves with the number of users whose presence was derived again.
   */
  async sweep(): Promise<number> {
    this.#lifecycle.assertOpen();
    await this.#lifecycle.start();
    return this.#parts.onDemand.sweep();
  }

  /**
   * Removes a socket; resolves with the user's presence after the removal, or `null` for an unknown user. Removing an
   * unknown socket is no error. If this process registered the socket, only that registration is removed, and
   * repeated removals have no effect; otherwise those of all processes are removed, and the processes are notified.
   * The removal is final, also if one of them is frozen or cut off, or Redis is wiped.
   *
   * @throws {@link InvalidArgumentError}, {@link TimeoutError}, {@link ConnectionError}, {@link CommandError}. The
   * failed removal of a socket of this process is repeated as soon as Redis is back.
   */
  async removeSocket(
    userId: string,
    socketId: string,
    options?: RemoveSocketOptions,
  ): Promise<PresenceData<StatusMeta> | null> {
    const ref = this.#ref(userId, socketId);
    assertOptions('options', options, REMOVE_SOCKET_OPTION_NAMES);
    const grace = options?.immediate === true ? 0 : this.#settings.grace;
    const { local, ttlSockets } = this.#parts;
    const recently = local.wasRecentlyRemoved(ref);
    let record: string | null;
    const roomGrace = options?.immediate === true ? undefined : 0;
    if (local.owns(ref)) record = await local.remove(ref, grace, roomGrace);
    else if (this.#settings.background)
      record = await this.#removeRemoteSocket(ref, grace, recently, options);
    else record = await this.#write(ref.partition, () => ttlSockets.remove(ref, grace));
    return record === null ? null : this.#decode(userId, record);
  }

  /**
   * Removes all sockets of a user, whichever processes registered them, without grace. Those processes call their
   * `onDisconnected` handlers. The removal is final, as that of `removeSocket`; later registrations stay.
   *
   * @returns the user's presence after the removal; `null` for an unknown user.
   * @throws {@link InvalidArgumentError}, {@link TimeoutError}, {@link ConnectionError}, {@link CommandError}.
   */
  async disconnectUser(userId: string, reason = ''): Promise<PresenceData<StatusMeta> | null> {
    this.#lifecycle.assertOpen();
    assertName('userId', userId);
    if (typeof reason !== 'string') throw new InvalidArgumentError('reason', 'must be a string');
    const removal = { kind: 'removal', user: escapeId(userId), grace: 0, note: escapeId(reason) } as const;
    const [record] = await Promise.all([
      this.#parts.removals.apply(this.#partition(userId), removal),
      this.#endRoomGraces(removal.user),
    ]);
    return record === null ? null : this.#decode(userId, record);
  }

  /**
   * Removes everything that presence has stored of a user: sockets, record, own status and rooms. Their sockets are closed as
   * by {@link PresenceService.disconnectUser}, unless `keepSockets`. An unknown user is no error. The
   * removal of a socket itself stays for one `lease`: see `remaining`. `Rollcall.forget` covers all services.
   *
   * Reads the sets of all nodes, in pages: not for frequent use.
   *
   * @throws {@link InvalidArgumentError}, {@link TimeoutError}, {@link ConnectionError}, {@link CommandError}. After an error
   * some of it may be removed: call it again. `timeout` applies to each step.
   */
  async forget(userId: string, options: ForgetOptions = {}): Promise<ForgottenPresence> {
    this.#lifecycle.assertOpen();
    assertName('userId', userId);
    const { keepSockets, reason } = parseForgetOptions(options);
    await this.#lifecycle.start();
    return this.#parts.userData.forget(userId, keepSockets, reason);
  }

  /**
   * Calls `handler` with each socket of this process whose user was disconnected with `disconnectUser`: close its
   * connection. `RoomService` does it for attached sockets.
   *
   * @returns a function that removes the handler.
   */
  onDisconnected(handler: (userId: string, socketId: string, reason: string) => unknown): () => void {
    assertFunction('handler', handler);
    const bound = bindAsyncContext(handler);
    // Two registrations of one handler are two.
    const call: typeof bound = (...args) => bound(...args);
    this.#parts.disconnects.add(call);
    return () => void this.#parts.disconnects.delete(call);
  }

  /**
   * Sets a status of the user, which overrides those of their sockets while they have any: `busy`, for example, or
   * `invisible`, with which they appear offline to everyone. The status survives reconnects and process restarts. With
   * `until` it ends in the one set before it, if that ends later; without, it replaces all others, and expires `lastSeenTtl`
   * after the user's last socket is removed. `null` removes all; with `meta` it is a text alone, for the status of the sockets.
   *
   * @returns the user's presence after the change, including hidden sockets; `null` for an unknown user.
   * @throws {@link InvalidArgumentError} for an invalid id, status, time or meta, otherwise as `setPresence`.
   */
  async setStatus(
    userId: string,
    status: Status | null,
    options?: SetStatusOptions<StatusMeta>,
  ): Promise<PresenceData<StatusMeta> | null> {
    this.#lifecycle.assertOpen();
    assertName('userId', userId);
    assertOptions('options', options, SET_STATUS_OPTION_NAMES);
    const until = parseExpiry(options?.until);
    const meta = this.#encode('meta', options?.meta);
    if (status !== null && status !== 'invisible') assertStatus('status', status);
    const removes = status === null && meta === undefined;
    if (removes && until !== 0) {
      throw new InvalidArgumentError('until', 'needs a status or a meta: null alone removes the status now');
    }
    const user = escapeId(userId);
    const partition = this.#partition(userId);
    const record = await this.#write(partition, () =>
      this.#parts.writer.apply(partition, {
        kind: 'status',
        user,
        ...(removes ? {} : { value: encodeOwnStatus(status, until, meta) }),
      }),
    );
    if (status === 'invisible') await this.#endRoomGraces(user);
    return record === null ? null : this.#decode(userId, record);
  }

  /**
   * Hides `lastSeen` of a user from others, or shows it again. While it is hidden, reads without `reveal`, watches and changes
   * have the epoch (0) as `lastSeen`, also while the user is online, and their `version` tells no time. The status stays
   * visible. The setting lives as long as a status of {@link PresenceService.setStatus}: it expires `lastSeenTtl` after the
   * user's last socket is removed. So set it before `setPresence`, with every connection.
   *
   * @returns the user's presence after the change, with `lastSeen`; `null` for an unknown user, whose next record has the setting.
   * @throws {@link InvalidArgumentError} for an invalid id, or if `visible` is not a boolean; otherwise as `setPresence`.
   */
  async setLastSeenVisible(userId: string, visible: boolean): Promise<PresenceData<StatusMeta> | null> {
    this.#lifecycle.assertOpen();
    assertName('userId', userId);
    if (typeof visible !== 'boolean')
      throw new InvalidArgumentError('visible', 'must be true or false: whether others see lastSeen');
    const user = escapeId(userId);
    const partition = this.#partition(userId);
    const concealed = this.#parts.client.clock.random() * this.#settings.lastSeenTtl * 1_000;
    const record = await this.#write(partition, () =>
      this.#parts.writer.apply(partition, { kind: 'last-seen', user, ...(visible ? {} : { concealed }) }),
    );
    return record === null ? null : this.#decode(userId, record);
  }

  /**
   * Notes activity of a socket; cheap enough for every message of a client. Writes the user's `lastSeen` at most once
   * per `touchInterval`. A socket that is away because of `idleAfter` becomes online again.
   *
   * @returns false, without any effect, for a socket that this process did not register.
   */
  async touch(userId: string, socketId: string): Promise<boolean> {
    return this.#parts.local.touch(this.#ref(userId, socketId));
  }

  /**
   * Reads the presence of a user; `null` if they were never seen, or their record has expired (`lastSeenTtl`).
   * Invisible users appear offline, unless `reveal` is set.
   */
  async getPresence(userId: string, options?: ReadOptions): Promise<PresenceData<StatusMeta> | null> {
    return (await this.getMultiplePresence([userId], options)).get(userId) ?? null;
  }

  /**
   * Reads the presence of many users in one round trip (one MGET per 1,000 users and partition). Unknown users are
   * left out; the rest keep the order of `userIds`. A record that cannot be read (damaged, or of another release) is
   * left out as well and reported to `onError`, stage `decode`.
   */
  async getMultiplePresence(
    userIds: Iterable<string>,
    options?: ReadOptions,
  ): Promise<Map<string, PresenceData<StatusMeta>>> {
    this.#lifecycle.assertOpen();
    assertOptions('options', options, READ_OPTION_NAMES);
    const ids = toIdSet('userIds', 'userId', userIds);
    await this.#lifecycle.start();
    if (ids.size === 0) return new Map();
    const { reader, lookupCache } = this.#parts;
    const reveal = options?.reveal === true;
    type Lookup = Map<string, PresenceData<StatusMeta>>;
    if (!this.#settings.background) {
      const partitions = new Set([...ids].map((id) => this.#partition(id)));
      return (await this.#read([...partitions], () => reader.lookup(ids, reveal))).records as Lookup;
    }
    // The cache has no hidden sockets.
    if (lookupCache !== undefined && !reveal) return lookupCache.lookup(ids) as Promise<Lookup>;
    return (await reader.lookup(ids, reveal)).records as Lookup;
  }

  /**
   * True if this process has a socket of the user and they are `invisible`. Needs no command. Check it before you
   * publish on a user's behalf something that they do not send themselves.
   */
  isInvisible(userId: string): boolean {
    assertName('userId', userId);
    return this.#parts.hidden.until(escapeId(userId)) !== undefined;
  }

  /** The number of online users: those with any status but `offline`. */
  async getOnlineCount(): Promise<number> {
    this.#lifecycle.assertOpen();
    await this.#lifecycle.start();
    return this.#read(this.#allPartitions(), () => this.#parts.reader.count());
  }

  /**
   * Iterates over the online users, page by page. A user who stays online throughout is listed exactly once. A user
   * who comes or goes in the meantime may be listed or not.
   */
  listOnlineUsers(options: OnlineUsersOptions = {}): AsyncIterableIterator<string> {
    this.#lifecycle.assertOpen();
    assertOptions('options', options, ONLINE_USERS_OPTION_NAMES);
    const pageSize = numberOption('pageSize', options.pageSize, 1_000, {
      min: 1,
      max: 100_000,
      integer: true,
    });
    assertSignal(options.signal);
    return this.#online(pageSize, options.signal);
  }

  /**
   * Calls `handler` with every change of any user's status, in order per user. At-most-once: changes during a lost
   * connection are missed, and not reported as missed. Use {@link PresenceService.watch} for state that must be right.
   */
  async subscribe(handler: PresenceChangeHandler): Promise<Subscription> {
    this.#lifecycle.assertOpen();
    this.#assertBackground('subscribe');
    assertFunction('handler', handler);
    const bound = bindAsyncContext(handler);
    await this.#lifecycle.start();
    this.#lifecycle.assertOpen();
    const { keys, disposables, reporter, changeVerifiers } = this.#parts;
    const channels = keys.map(({ events }) => events);
    const verifier = new ChangeVerifier(this.#parts, (change, channel) =>
      reporter.runHandler(() => bound(change), { channel }),
    );
    changeVerifiers.add(verifier);
    const close = (): void => {
      changeVerifiers.delete(verifier);
      verifier.close();
    };
    try {
      const subscription = await subscribeToChanges(this.#parts, disposables, channels, {
        onChange: (encoded, channel) => {
          const change = decodeChange(encoded);
          // From an owner that restores a user, for watches that knew another status.
          if (change.status !== change.previous) verifier.onChange(change, channel);
        },
        onGap: () => verifier.onGap(),
      });
      const unsubscribe = (): Promise<void> => {
        close();
        return subscription.unsubscribe();
      };
      return { ...subscription, unsubscribe, [Symbol.asyncDispose]: unsubscribe };
    } catch (error) {
      close();
      throw error;
    }
  }

  /**
   * Watches some users: a snapshot in `current()`, then every change of status to `handler`, without a gap and
   * without a duplicate. After a lost connection the differences are reported as changes.
   */
  async watch(
    userIds: Iterable<string>,
    handler: PresenceChangeHandler,
    options?: WatchOptions,
  ): Promise<PresenceWatch> {
    this.#lifecycle.assertOpen();
    this.#assertBackground('watch');
    const ids = toIdSet('userIds', 'userId', userIds);
    assertFunction('handler', handler);
    assertOptions('options', options, WATCH_OPTION_NAMES);
    assertSignal(options?.signal);
    await this.#lifecycle.start();
    this.#lifecycle.assertOpen();
    const watch = closeOnAbort(
      await this.#parts.watches.watch(ids, bindAsyncContext(handler)),
      options?.signal,
    );
    const toUserIds = (userIds: Iterable<string>) => toIdSet('userIds', 'userId', userIds);
    return {
      ...watch,
      add: async (added) => watch.add(toUserIds(added)),
      remove: (removed) => watch.remove(toUserIds(removed)),
    };
  }

  /**
   * Puts a socket into a room, or changes its `info` there. The socket leaves with `leave`, when it is removed, or
   * when this process ends. The user joins with their first socket and leaves with their last. With `grace`, they stay a member
   * for that long after their last socket was removed, unless it left with `leave`.
   *
   * @throws {@link InvalidArgumentError} for a bad name, `info` or option, otherwise as `setPresence`.
   */
  async join(
    room: string,
    userId: string,
    socketId: string,
    info: Json = null,
    options?: JoinRoomOptions,
  ): Promise<void> {
    this.#assertBackground('join');
    assertOptions('options', options, JOIN_ROOM_OPTION_NAMES);
    const grace = this.roomGraceOption(options?.grace);
    const { user, socket, room: escaped, partition } = this.#membership(room, userId, socketId);
    const text = this.#encode('info', info) as string;
    void this.#parts.inbox.open();
    // With a spread, V8 gives each of these objects a hidden class of its own, of 250 bytes.
    await this.#parts.local.join({
      user,
      socket,
      room: escaped,
      partition,
      info: encodeMembership(text, grace),
    });
  }

  /** @internal The grace in rooms in ms, 0 for none. From then on this service also ends graces. */
  roomGraceOption(value: unknown): number {
    const grace = numberOption('grace', value, 0, { unit: 'ms', min: 0, max: 86_400_000, integer: true });
    if (grace === 0) return 0;
    assertGrace(this.#settings, grace);
    this.#usesRoomGrace = true;
    return grace;
  }

  /** @internal Ends the user's grace in a room at once. Sockets of theirs that are in the room have no grace from then on. */
  async endRoomGrace(room: string, userId: string): Promise<void> {
    this.#lifecycle.assertOpen();
    const { rooms, writer } = this.#parts;
    const user = escapeId(userId);
    await writer.apply(rooms.partition(room), {
      kind: 'room-grace',
      room: escapeId(room),
      user,
      when: 'now',
    });
  }

  /** Takes a socket out of a room that this process put it into, without a grace. An unknown socket is no error. */
  async leave(room: string, userId: string, socketId: string): Promise<void> {
    await this.#parts.local.leave(this.#membership(room, userId, socketId));
  }

  /** All members of a room. For rooms of many thousands use {@link PresenceService.listRoomMembers}. */
  async getRoomMembers(room: string): Promise<RoomMember[]> {
    const members: RoomMember[] = [];
    for await (const member of this.listRoomMembers(room)) members.push(member);
    return members;
  }

  /**
   * Iterates over the members of a room, page by page. A user who stays throughout is listed exactly once. A user who
   * joins or leaves in the meantime may be listed or not.
   */
  listRoomMembers(room: string): AsyncIterableIterator<RoomMember> {
    this.#lifecycle.assertOpen();
    assertName('room', room);
    return this.#members(room);
  }

  /** The number of members of each room, read in one round trip. */
  async getRoomCounts(rooms: Iterable<string>): Promise<Map<string, number>> {
    this.#lifecycle.assertOpen();
    const names = toIdSet('rooms', 'room', rooms);
    await this.#lifecycle.start();
    return this.#read(this.#roomPartitions(names), () => this.#parts.rooms.counts(names));
  }

  /** Watches a room: its members in `current()`, then joins, leaves and updates to `handler`. */
  async watchRoom(room: string, handler: RoomChangeHandler, options?: WatchOptions): Promise<RoomWatch> {
    this.#lifecycle.assertOpen();
    this.#assertBackground('watchRoom');
    assertName('room', room);
    assertFunction('handler', handler);
    assertOptions('options', options, WATCH_OPTION_NAMES);
    assertSignal(options?.signal);
    await this.#lifecycle.start();
    this.#lifecycle.assertOpen();
    return this.#parts.rooms.watch(room, bindAsyncContext(handler), options?.signal);
  }

  /** Counters and gauges. */
  stats(): PresenceStats {
    const { nodeLease, leaseRenewer, restorer, local, writer, reaper } = this.#parts;
    const { reapedNodes, reapedSockets, suspectNodes } = reaper.stats;
    return {
      nodeId: nodeLease.id,
      sockets: local.size,
      ...writer.stats,
      reapedNodes,
      reapedSockets,
      renewing: leaseRenewer.renewing,
      restored: restorer.restored,
      suspectNodes: [...suspectNodes],
    };
  }

  /**
   * Removes this process's sockets, in large transactions, and releases its lease and its subscriptions. While Redis
   * cannot be reached it ends after `timeout`; the other processes then see the lease expire. Idempotent.
   */
  close(options?: ClosePresenceOptions): Promise<void> {
    try {
      assertOptions('options', options, CLOSE_OPTION_NAMES);
    } catch (error) {
      return Promise.reject(error);
    }
    return this.#lifecycle.close(options?.handoff === true);
  }

  /** The same, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Without background work, ends what is overdue in the partitions first. */
  #read<T>(partitions: readonly number[], work: () => Promise<T>): Promise<T> {
    return this.#settings.background ? work() : this.#parts.onDemand.run(partitions, work, true);
  }

  #write<T>(partition: number, work: () => Promise<T>): Promise<T> {
    return this.#settings.background ? work() : this.#parts.onDemand.run([partition], work);
  }

  #assertBackground(what: string): void {
    if (this.#settings.background) return;
    throw new UnsupportedError(
      `${what} needs a process that keeps running: it cannot be used with background: false`,
    );
  }

  #allPartitions(): number[] {
    return [...this.#parts.keys.keys()];
  }

  #roomPartitions(rooms: ReadonlySet<string>): number[] {
    return [...new Set([...rooms].map((room) => this.#parts.rooms.partition(room)))];
  }

  #partition(userId: string): number {
    return partitionOf(userId, this.#parts.keys.length);
  }

  #ref(userId: string, socketId: string): SocketRef {
    this.#lifecycle.assertOpen();
    assertName('userId', userId);
    assertName('socketId', socketId);
    const user = escapeId(userId);
    const socket = escapeId(socketId);
    return { user, socket, key: joinIds(user, socket), partition: this.#partition(userId) };
  }

  /** The user must not be shown in any room. */
  async #endRoomGraces(user: string): Promise<void> {
    if (this.#usesRoomGrace) await this.#parts.userData.endRoomGraces(user);
  }

  #membership(room: string, userId: string, socketId: string): Omit<LocalMembership, 'info'> {
    const { user, socket } = this.#ref(userId, socketId);
    assertName('room', room);
    return { user, socket, room: escapeId(room), partition: this.#parts.rooms.partition(room) };
  }

  /** A socket removed `recently` here may have reconnected to another process. */
  async #removeRemoteSocket(
    { partition, user, socket }: SocketRef,
    grace: number,
    recently: boolean,
    options: RemoveSocketOptions | undefined,
  ): Promise<string | null> {
    const { reader, removals } = this.#parts;
    if (!recently) return removals.apply(partition, { kind: 'removal', user, socket, grace });
    await this.#lifecycle.start();
    if (grace > 0) return reader.record(partition, user);
    // Nothing to remove, but a user who logs out has no grace.
    const [record] = await Promise.all([
      this.#parts.writer.apply(partition, { kind: 'look', user, reason: 'gone' }),
      options?.immediate === true ? this.#endRoomGraces(user) : undefined,
    ]);
    return record;
  }

  async *#members(room: string): AsyncGenerator<RoomMember, void, undefined> {
    await this.#lifecycle.start();
    await this.#read([this.#parts.rooms.partition(room)], async () => {});
    yield* this.#parts.rooms.members(room);
  }

  async *#online(pageSize: number, signal: AbortSignal | undefined): AsyncGenerator<string, void, undefined> {
    await this.#lifecycle.start();
    await this.#read(this.#allPartitions(), async () => {});
    yield* this.#parts.reader.online(pageSize, signal);
  }

  #decode(userId: string, record: string): PresenceData<StatusMeta> | null {
    return this.#parts.reader.decode(userId, record) as PresenceData<StatusMeta> | null;
  }

  #encode(argument: string, value: Json | undefined): string | undefined {
    if (value === undefined) return undefined;
    const text = encodeJson(argument, value);
    const bytes = Buffer.byteLength(text);
    const limit = this.#settings.maxMetaBytes;
    if (bytes > limit) {
      throw new InvalidArgumentError(argument, `is ${bytes} bytes of JSON; maxMetaBytes is ${limit}`);
    }
    return text;
  }
}

function closeOnAbort(watch: PresenceWatch, signal: AbortSignal | undefined): PresenceWatch {
  if (signal === undefined) return watch;
  const close = (): Promise<void> => {
    stopListening();
    return watch.close();
  };
  const onAborted = () => void close().catch(() => {});
  const stopListening = onAbort(signal, onAborted);
  if (signal.aborted) onAborted();
  return { ...watch, close, [Symbol.asyncDispose]: close };
}
