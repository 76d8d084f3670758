import { onAbort } from '../internal/abort.js';
import { encodeJson, type Json } from '../internal/codec.js';
import { InvalidArgumentError, LimitError } from '../internal/errors.js';
import {
  assertFunction,
  assertName,
  assertOptions,
  assertSignal,
  numberOption,
} from '../internal/validate.js';
import type { Subscription } from '../pubsub/subscribe.js';
import { createComponents, type PresenceComponents } from './components.js';
import { escapeId } from './ids.js';
import { joinIds, type PartitionKeys, partitionOf } from './keys.js';
import { Lifecycle } from './lifecycle.js';
import type { LocalPresence } from './local-presence.js';
import type { LocalMembership, SocketRef } from './local-sockets.js';
import { instanceIdOf } from './node-lease.js';
import type {
  ClosePresenceOptions,
  OnlineUsersOptions,
  PresenceOptions,
  PresenceStats,
  ReadOptions,
  RemoveSocketOptions,
  SetStatusOptions,
  WatchOptions,
} from './options.js';
import type { PresenceWatch } from './presence-watches.js';
import type { WriteCallbacks } from './presence-writer.js';
import { decodeChange, decodeRecord, encodeEntry } from './record.js';
import type { RoomWatch } from './room-presence.js';
import type { RoomChangeHandler } from './room-watch-state.js';
import { type PresenceSettings, resolveSettings } from './settings.js';
import { subscribeToChanges } from './subscribe-to-changes.js';
import type { PresenceData, RoomMember, Status } from './types.js';
import type { PresenceChangeHandler } from './user-watch-state.js';
import { assertStatus } from './validate.js';

/**
 * Who is online, on which sockets, with which status, over all processes on one Redis.
 *
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
export class PresenceService {
  readonly #settings: PresenceSettings;
  readonly #parts: PresenceComponents;
  readonly #lifecycle: Lifecycle;

  /** @throws {@link InvalidArgumentError} for an unknown client or an option out of range. */
  constructor(options: PresenceOptions) {
    this.#settings = resolveSettings(options);
    this.#parts = createComponents(options, this.#settings, {
      start: () => this.#lifecycle.start(),
      wiped: () => this.#lifecycle.onWipe(),
    });
    this.#lifecycle = new Lifecycle(this.#settings, this.#parts);
  }

  /**
   * Connects the client unless it is connected, and starts to look after leases. Idempotent; the
   * first use implies it.
   *
   * @throws {@link ConnectionError} when Redis cannot be reached within `timeout`;
   * {@link ConfigurationError} when the keys were written by services with other partitions.
   */
  async connect(): Promise<void> {
    this.#lifecycle.assertOpen();
    await this.#lifecycle.start();
  }

  /**
   * Registers a socket of a user, or updates it; resolves with the user's presence after it. The
   * record is written, and a change of status published, in one atomic step.
   *
   * Calls for one socket take effect in the order they were made. Of several under way at once, all
   * may resolve with the state after the last one.
   *
   * @throws {@link InvalidArgumentError} for bad ids, status or meta; {@link LimitError} when the
   * user has too many sockets; {@link TimeoutError}, {@link ConnectionError}, {@link CommandError}.
   * After a failed call the socket is as it was before it; if need be that is made so later.
   */
  setPresence(
    userId: string,
    socketId: string,
    status: Status = 'online',
    meta?: Json,
  ): Promise<PresenceData> {
    // By hand: in a storm of calls the frames and promises of `async` functions are most of the cost.
    return new Promise((resolve, failed) => {
      const address = this.#address(userId, socketId);
      assertStatus('status', status);
      const text = this.#encode('meta', meta);
      const listening = this.#lifecycle.listenToInbox();
      const { local } = this.#parts;
      const limit = local.hasSocket(address) ? Number.POSITIVE_INFINITY : this.#settings.maxSocketsPerUser;
      local.set(
        address,
        status,
        text,
        new SetPresenceCall(userId, socketId, address, limit, local, listening, resolve, failed),
      );
    });
  }

  /**
   * Removes a socket; resolves with the user's presence after it, or `null` where nothing is known
   * of him. Unknown sockets are no error. A socket that this process registered loses that
   * registration only, and removing it twice is removing it once; a socket of other processes loses all,
   * and they are told.
   *
   * @throws {@link InvalidArgumentError}, {@link TimeoutError}, {@link ConnectionError},
   * {@link CommandError}. The failed removal of a socket of this process is made up for as soon as
   * Redis is back.
   */
  async removeSocket(
    userId: string,
    socketId: string,
    options?: RemoveSocketOptions,
  ): Promise<PresenceData | null> {
    const address = this.#address(userId, socketId);
    assertOptions('options', options);
    const grace = options?.immediate === true ? 0 : this.#settings.grace;
    const { local } = this.#parts;
    const record = local.owns(address)
      ? await local.remove(address, grace)
      : await this.#removeRemoteSocket(address, grace, local.wasRecentlyRemoved(address));
    return record === null ? null : decodeRecord(userId, record, true);
  }

  /**
   * Sets a status of the user, which overrides those of their sockets while they have any: `busy`, for example, or
   * `invisible`, with which they appear offline to everyone. `null` removes it. The status survives reconnects and
   * process restarts. Without `until` it expires `lastSeenTtl` after the user's last socket is removed.
   *
   * @returns the user's presence after the change, including hidden sockets; `null` for an unknown user.
   * @throws {@link InvalidArgumentError} for an invalid id, status or time, otherwise as `setPresence`.
   */
  async setStatus(
    userId: string,
    status: Status | null,
    options?: SetStatusOptions,
  ): Promise<PresenceData | null> {
    this.#lifecycle.assertOpen();
    assertName('userId', userId);
    assertOptions('options', options);
    const until = parseExpiry(options?.until);
    if (status !== null && status !== 'invisible') assertStatus('status', status);
    const user = escapeId(userId);
    const record = await this.#parts.writer.apply(this.#partition(userId), {
      kind: 'status',
      user,
      ...(status === null ? {} : { value: encodeEntry(status, until, undefined) }),
    });
    return record === null ? null : decodeRecord(userId, record, true);
  }

  /**
   * A sign of life of a socket. Cheap enough for every message of a client: it is written down at
   * most once per `touchInterval`, as the user's `lastSeen`. With `idleAfter`, it ends being away.
   *
   * @returns whether the socket is one of this process's; for others nothing happens.
   */
  async touch(userId: string, socketId: string): Promise<boolean> {
    return this.#parts.local.touch(this.#address(userId, socketId));
  }

  /**
   * Reads the presence of a user; `null` if they were never seen, or their record has expired (`lastSeenTtl`).
   * Invisible users appear offline, unless `reveal` is set.
   */
  async getPresence(userId: string, options?: ReadOptions): Promise<PresenceData | null> {
    return (await this.getMultiplePresence([userId], options)).get(userId) ?? null;
  }

  /**
   * Reads the presence of many users in one round trip (one MGET per 1,000 users and partition). Unknown users are
   * left out; the rest keep the order of `userIds`.
   */
  async getMultiplePresence(
    userIds: Iterable<string>,
    options?: ReadOptions,
  ): Promise<Map<string, PresenceData>> {
    this.#lifecycle.assertOpen();
    assertOptions('options', options);
    const ids = toIdSet('userIds', 'userId', userIds);
    await this.#lifecycle.start();
    return ids.size === 0 ? new Map() : this.#parts.reader.lookup(ids, options?.reveal === true);
  }

  /** The number of online users: those with any status but `offline`. */
  async getOnlineCount(): Promise<number> {
    this.#lifecycle.assertOpen();
    await this.#lifecycle.start();
    return this.#parts.reader.count();
  }

  /**
   * Iterates over the online users, page by page. A user who stays online throughout is listed exactly once. A user
   * who comes or goes in the meantime may be listed or not.
   */
  listOnlineUsers(options: OnlineUsersOptions = {}): AsyncIterableIterator<string> {
    this.#lifecycle.assertOpen();
    assertOptions('options', options);
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
    assertFunction('handler', handler);
    await this.#lifecycle.start();
    this.#lifecycle.assertOpen();
    const { keys, disposables, reporter } = this.#parts;
    const channels = keys.map(({ events }) => events);
    return subscribeToChanges(this.#parts, disposables, channels, {
      onBatch: (batch, channel, isActive) => {
        for (const encoded of batch) {
          // The handler may unsubscribe in the middle of a batch.
          if (!isActive()) return;
          const change = decodeChange(encoded);
          // Published when an owner restores a user: only watches that knew another status need it.
          if (change.status === change.previous) continue;
          reporter.runHandler(() => handler(change), { channel });
        }
      },
    });
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
    const ids = toIdSet('userIds', 'userId', userIds);
    assertFunction('handler', handler);
    assertOptions('options', options);
    assertSignal(options?.signal);
    await this.#lifecycle.start();
    this.#lifecycle.assertOpen();
    const watch = closeOnAbort(await this.#parts.watches.watch(ids, handler), options?.signal);
    const toUserIds = (userIds: Iterable<string>) => toIdSet('userIds', 'userId', userIds);
    return {
      ...watch,
      add: async (added) => watch.add(toUserIds(added)),
      remove: (removed) => watch.remove(toUserIds(removed)),
    };
  }

  /**
   * Puts a socket into a room, or changes its `info` there. It leaves with `leave`, with its removal,
   * or with this process. The user joins with his first socket and leaves with his last.
   */
  async join(room: string, userId: string, socketId: string, info: Json = null): Promise<void> {
    const membership = this.#membership(room, userId, socketId);
    const text = this.#encode('info', info) as string;
    this.#lifecycle.listenToInbox();
    await this.#parts.local.join({ ...membership, info: text });
  }

  /** Takes a socket that this process put there out of a room. Unknown ones are no error. */
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
    return this.#parts.rooms.counts(names);
  }

  /** Watches a room: its members in `current()`, then joins, leaves and updates to `handler`. */
  async watchRoom(room: string, handler: RoomChangeHandler, options?: WatchOptions): Promise<RoomWatch> {
    this.#lifecycle.assertOpen();
    assertName('room', room);
    assertFunction('handler', handler);
    assertOptions('options', options);
    assertSignal(options?.signal);
    await this.#lifecycle.start();
    this.#lifecycle.assertOpen();
    return this.#parts.rooms.watch(room, handler, options?.signal);
  }

  /** Counters and gauges. */
  stats(): PresenceStats {
    const { nodeLease, local, writer, reaper } = this.#parts;
    const { reapedNodes, reapedSockets, late } = reaper.stats;
    return {
      nodeId: nodeLease.id,
      sockets: local.size,
      ...writer.stats,
      reapedNodes,
      reapedSockets,
      restored: nodeLease.restored,
      suspectNodes: [...late],
    };
  }

  /**
   * Removes this process's sockets, in large transactions, and lets go of its lease and its
   * subscriptions. With Redis away it gives up after `timeout`: the others then see the lease run
   * out. Idempotent.
   */
  close(options?: ClosePresenceOptions): Promise<void> {
    return this.#lifecycle.close(options?.handoff === true);
  }

  /** The same, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #partition(userId: string): number {
    return partitionOf(userId, this.#parts.keys.length);
  }

  #address(userId: string, socketId: string): SocketRef {
    this.#lifecycle.assertOpen();
    assertName('userId', userId);
    assertName('socketId', socketId);
    const user = escapeId(userId);
    const socket = escapeId(socketId);
    return { user, socket, key: joinIds(user, socket), partition: this.#partition(userId) };
  }

  #membership(room: string, userId: string, socketId: string): Omit<LocalMembership, 'info'> {
    const { user, socket } = this.#address(userId, socketId);
    assertName('room', room);
    return { user, socket, room: escapeId(room), partition: this.#parts.rooms.partition(room) };
  }

  /** Removes a socket this process does not own; one it has `released` may live on elsewhere by now. */
  async #removeRemoteSocket(
    { partition, user, socket }: SocketRef,
    grace: number,
    released: boolean,
  ): Promise<string | null> {
    await this.#lifecycle.start();
    const { keys, reader, writer } = this.#parts;
    const owners = released ? [] : await reader.owners(partition, user, socket);
    if (owners.length === 0) {
      // Nothing to remove; but who logs out is not to be waited for any longer.
      return grace === 0
        ? writer.apply(partition, { kind: 'look', user, reason: 'gone' })
        : reader.record(partition, user);
    }
    const records = await Promise.all(
      owners.map((owner) => {
        const tell = (keys[0] as PartitionKeys).inbox(instanceIdOf(owner));
        return writer.apply(partition, { kind: 'socket', user, socket, owner, grace, tell });
      }),
    );
    return records.at(-1) ?? null;
  }

  async *#members(room: string): AsyncGenerator<RoomMember, void, undefined> {
    await this.#lifecycle.start();
    yield* this.#parts.rooms.members(room);
  }

  async *#online(pageSize: number, signal: AbortSignal | undefined): AsyncGenerator<string, void, undefined> {
    await this.#lifecycle.start();
    yield* this.#parts.reader.online(pageSize, signal);
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

/** A call of `setPresence` under way. */
class SetPresenceCall implements WriteCallbacks {
  constructor(
    readonly userId: string,
    readonly socketId: string,
    readonly address: SocketRef,
    /** How many sockets the user may have if this one shall stay. */
    readonly limit: number,
    readonly local: LocalPresence,
    readonly listening: Promise<void> | undefined,
    readonly resolve: (presence: PresenceData | Promise<PresenceData>) => void,
    readonly onFailed: (error: unknown) => void,
  ) {}

  onCommitted(record: string | null): void {
    const { listening } = this;
    try {
      // From now on others may remove the socket, which this process has to hear of.
      this.resolve(
        listening === undefined ? this.#outcome(record) : listening.then(() => this.#outcome(record)),
      );
    } catch (error) {
      this.onFailed(error);
    }
  }

  #outcome(record: string | null): PresenceData | Promise<PresenceData> {
    if (record === null) return offlinePresence(this.userId);
    const data = decodeRecord(this.userId, record, true);
    const { limit, socketId } = this;
    const { sockets } = data;
    if (sockets.length <= limit) return data;
    return sockets.findIndex((one) => one.socketId === socketId) < limit ? data : this.#refuse();
  }

  async #refuse(): Promise<never> {
    await this.local.remove(this.address, 0);
    const user = JSON.stringify(this.userId);
    throw new LimitError(`user ${user} has ${this.limit} sockets already (maxSocketsPerUser)`);
  }
}

function toIdSet(argument: string, element: string, values: Iterable<string>): Set<string> {
  if (typeof values === 'string' || typeof values?.[Symbol.iterator] !== 'function') {
    throw new InvalidArgumentError(argument, 'must be an iterable of strings');
  }
  const ids = new Set(values);
  for (const id of ids) assertName(element, id);
  return ids;
}

/** The latest time a Date can hold, in ms since the epoch. */
const MAX_DATE = 8.64e15;

/** When a status ends, in ms since the epoch; 0: never. */
function parseExpiry(until: Date | number | undefined): number {
  if (until === undefined) return 0;
  const time = until instanceof Date ? until.getTime() : until;
  if (typeof time !== 'number' || !(time > 0 && time <= MAX_DATE)) {
    throw new InvalidArgumentError('until', 'must be a Date, or a number of milliseconds since the epoch');
  }
  return Math.ceil(time);
}

/** `watch`, also closed when `signal` aborts. */
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

/** A user whom somebody else removed before the answer came. */
function offlinePresence(userId: string): PresenceData {
  return { userId, status: 'offline', lastSeen: new Date(0), socketIds: [], sockets: [], version: 0 };
}
