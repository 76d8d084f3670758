import type { Clock } from '../internal/clock.js';
import type { ErrorReporter } from '../internal/diagnostics.js';
import { CommandError, type RollcallError } from '../internal/errors.js';
import { runInSlices } from '../internal/promises.js';
import { toRollcallError } from '../redis/replies.js';
import type { HiddenUsers } from './hidden-users.js';
import { IdleMonitor } from './idle-monitor.js';
import { unescapeId } from './ids.js';
import { joinIds, partitionOf } from './keys.js';
import {
  type LocalMembership,
  type LocalSocket,
  type LocalSockets,
  type SocketRef,
  toRoomWrite,
  toSocketWrite,
} from './local-sockets.js';
import type { NodeLease } from './node-lease.js';
import type { PresenceWriter, WriteCallbacks } from './presence-writer.js';
import { encodeRegistration, listsIdle } from './record.js';
import type { RedisClock } from './redis-clock.js';
import type { PresenceWrite, Reevaluation, RoomWrite, SocketWrite } from './writes.js';

/** Durations in ms. */
export interface LocalPresenceOptions {
  readonly clock: Clock;
  readonly redisClock: RedisClock;
  readonly reporter: ErrorReporter;
  readonly localSockets: LocalSockets;
  readonly nodeLease: NodeLease;
  readonly writer: PresenceWriter;
  readonly hidden: HiddenUsers;
  /** One per partition. */
  readonly keys: readonly unknown[];
  readonly grace: number;
  readonly idleAfter: number;
  readonly touchInterval: number;
  /** Another process disconnected the user. */
  readonly onDisconnected: (socket: SocketRef, reason: string) => void;
}

/** The oldest entries are forgotten. */
const MAX_RECENTLY_REMOVED = 10_000;

/** States before failed writes, which may be states of failed writes, too. */
class RollbackHistory<T extends object> {
  readonly #before = new WeakMap<T, { before: T | undefined }>();

  /** Returns the last state whose write did not fail. */
  lastGood(failed: T, before: T | undefined): T | undefined {
    this.#before.set(failed, { before });
    let last: T | undefined = failed;
    for (;;) {
      const entry: { before: T | undefined } | undefined = last && this.#before.get(last);
      if (entry === undefined) return last;
      last = entry.before;
    }
  }
}

class PendingSet implements WriteCallbacks {
  constructor(
    readonly local: LocalPresence,
    readonly socket: LocalSocket,
    readonly before: LocalSocket | undefined,
    readonly callbacks: WriteCallbacks,
  ) {}

  onCommitted(record: string | null): void {
    this.socket.known = true;
    if (this.socket.inherits === true) this.local.onRegistered(this.socket, record);
    this.callbacks.onCommitted(record);
  }

  onFailed(error: RollcallError): void {
    this.local.rollBack(this.socket, this.before);
    this.callbacks.onFailed(error);
  }
}

/**
 * The sockets of this process: calls change the local state first, then write it. The entries of a failed call
 * are dirty until written again, because the call may have taken effect.
 */
export class LocalPresence {
  readonly #options: LocalPresenceOptions;
  readonly #localSockets: LocalSockets;
  readonly #writer: PresenceWriter;
  readonly #idle: IdleMonitor;
  /** Entries that may differ from Redis: key → partition, and the write at the time of sending. */
  readonly #dirty = new Map<string, { partition: number; toWrite: () => PresenceWrite }>();
  readonly #failedSockets = new RollbackHistory<LocalSocket>();
  readonly #failedMemberships = new RollbackHistory<LocalMembership>();
  /** Applications often remove a socket from both `error` and `close` handlers. */
  readonly #recentlyRemoved = new Set<string>();
  #stopped = false;

  constructor(options: LocalPresenceOptions) {
    this.#options = options;
    this.#localSockets = options.localSockets;
    this.#writer = options.writer;
    this.#idle = new IdleMonitor(options);
    options.hidden.listen({
      onHidden: (user) => this.#hide(user),
      onShown: (user) => this.#show(user),
    });
  }

  get size(): number {
    return this.#localSockets.sockets.size;
  }

  start(): void {
    this.#idle.start((socket) => this.#setIdle(socket));
  }

  stop(): void {
    this.#stopped = true;
    this.#idle.stop();
  }

  /** Registered by this process. */
  hasSocket({ key }: SocketRef): boolean {
    return this.#localSockets.sockets.has(key);
  }

  owns({ key }: SocketRef): boolean {
    return this.#localSockets.answersFor(key);
  }

  /** Removed by this process lately, and not registered since. */
  wasRecentlyRemoved({ key }: SocketRef): boolean {
    return this.#recentlyRemoved.has(key);
  }

  set(ref: SocketRef, status: string, meta: string | undefined, callbacks: WriteCallbacks): void {
    const { user, socket, key, partition } = ref;
    const before = this.#localSockets.sockets.get(key);
    const { redisClock } = this.#options;
    const connectedAt = before?.connectedAt ?? redisClock.now(partition);
    const unknown = before === undefined && !redisClock.isObserved(partition);
    const date = unknown ? () => redisClock.now(partition) : before?.date;
    const known = before?.known ?? false;
    const activity = this.#idle.onSet(ref);
    let local: LocalSocket = { user, socket, key, partition, connectedAt, date, status, meta, known };
    if (status === 'online' && activity === 'idle') local = { ...local, idle: true };
    else if (status === 'online' && activity === 'unknown' && !known) local = { ...local, inherits: true };
    this.#localSockets.put(local);
    this.#recentlyRemoved.delete(key);
    const pending = new PendingSet(this, local, before, callbacks);
    this.#writer.submit(partition, toSocketWrite(local, this.#options.grace), pending);
  }

  /** The user may be idle on other processes; then the new socket is. */
  onRegistered(socket: LocalSocket, record: string | null): void {
    if (record === null || !listsIdle(record, socket.socket)) return;
    if (this.#localSockets.sockets.get(socket.key) !== socket) return;
    this.#idle.onIdleElsewhere(socket);
    const { inherits: _, ...registered } = socket;
    this.#localSockets.put({ ...registered, idle: true });
  }

  /** After a failed write: restores the state before it, unless a later call changed it. */
  rollBack(socket: LocalSocket, before: LocalSocket | undefined): void {
    const { key, partition } = socket;
    const { sockets } = this.#localSockets;
    const last = this.#failedSockets.lastGood(socket, before);
    if (sockets.get(key) === socket) {
      if (last === undefined) this.#forget(socket);
      else this.#localSockets.put(last);
    }
    this.#markDirty(key, partition, () => this.#toSocketWrite(socket));
  }

  /**
   * Also from its rooms; resolves with the user's record. `roomGrace`: as in {@link RoomWrite}; `undefined`: the socket leaves
   * its rooms at once.
   */
  async remove(ref: SocketRef, grace: number, roomGrace?: number): Promise<string | null> {
    const { user, socket, key, partition } = ref;
    const known = this.#localSockets.sockets.get(key)?.known === true;
    this.#forget(ref);
    this.#rememberRemoved(key);
    const left = this.#localSockets
      .leaveAll(key)
      .map((membership) => this.#writeLeave(membership, roomGrace));
    const write: SocketWrite = { kind: 'socket', user, socket, grace };
    try {
      const [record] = await Promise.all([this.#applyToAllIds(partition, write), ...left]);
      if (record !== null || !known) return record;
      return await this.#writer.apply(partition, { kind: 'look', user, reason: 'lost' });
    } catch (error) {
      // The connection closes only once, so a failed removal is repeated.
      this.#recentlyRemoved.delete(key);
      this.#markDirty(key, partition, () => this.#toSocketWrite(ref, grace));
      throw error;
    }
  }

  /** Memberships of invisible users stay local until they are visible. */
  async join(membership: LocalMembership): Promise<void> {
    const { user, socket, room, partition } = membership;
    const { hidden } = this.#options;
    const { memberships } = this.#localSockets;
    const socketKey = joinIds(user, socket);
    const key = joinIds(socketKey, room);
    const before = memberships.get(key);
    const registered = this.#localSockets.sockets.get(socketKey);
    const undecided = registered?.known === false;
    this.#localSockets.join(membership, !undecided && hidden.until(user) === undefined);
    try {
      if (undecided) {
        // The record shows whether the user is invisible.
        await this.#writer.apply(registered.partition, { kind: 'look', user, reason: 'time' });
        // Left or changed in the meantime.
        if (memberships.get(key) !== membership) return;
        this.#localSockets.setWritten(membership, hidden.until(user) === undefined);
      }
      if (this.#localSockets.isWritten(key, room)) {
        await this.#writer.apply(partition, toRoomWrite(membership));
        this.#localSockets.confirm(room);
      }
    } catch (error) {
      const last = this.#failedMemberships.lastGood(membership, before);
      if (memberships.get(key) === membership) {
        if (last === undefined) this.#localSockets.leave(socketKey, room);
        else this.#localSockets.join(last, hidden.until(user) === undefined);
      }
      this.#markDirty(key, partition, () => this.#toRoomWrite(membership));
      throw error;
    }
  }

  /** `grace`: as in {@link RoomWrite}. */
  async leave(membership: Omit<LocalMembership, 'info'>, grace?: number): Promise<void> {
    this.#localSockets.leave(joinIds(membership.user, membership.socket), membership.room);
    await this.#writeLeave(membership, grace);
  }

  /** As {@link remove}. */
  async removeAll(grace: number, roomGrace?: number): Promise<void> {
    const { sockets, memberships } = this.#localSockets;
    // Failed removals become dirty; `repair` repeats them and reports.
    const ignore = (): void => {};
    await runInSlices([...sockets.values()], (socket) => this.remove(socket, grace, roomGrace)).catch(ignore);
    await runInSlices([...memberships.values()], (each) => this.leave(each, roomGrace)).catch(ignore);
    await this.repair();
  }

  /** A later `registration` of the same socket stays. `note`, escaped: their connections must be closed. */
  onRemovedElsewhere(key: string, registration: string, note?: string): void {
    const socket = this.#localSockets.sockets.get(key);
    if (socket === undefined || encodeRegistration(socket.connectedAt) !== registration) return;
    const { user, partition } = socket;
    this.#forget(socket);
    this.#rememberRemoved(key);
    if (note !== undefined) this.#options.onDisconnected(socket, unescapeId(note));
    // Removed again under this node's lease: an update may have been written after the removal, and a failover
    // that loses the removal shows in the lease.
    const write: SocketWrite = { kind: 'socket', user, socket: socket.socket, grace: this.#options.grace };
    this.#applyToAllIds(partition, write).catch((error: unknown) => {
      this.#markDirty(key, partition, () => this.#toSocketWrite(socket));
      this.#report(error);
    });
    for (const membership of this.#localSockets.leaveAll(key)) {
      this.#writeLeave(membership).catch((error: unknown) => this.#report(error));
    }
  }

  /** Another process changed the user's own status, to or from `invisible`: the record shows which. */
  onStatusChangedElsewhere(user: string): void {
    const partition = partitionOf(unescapeId(user), this.#options.keys.length);
    const look: Reevaluation = { kind: 'look', user, reason: 'time' };
    this.#writer.apply(partition, look).catch((error: unknown) => {
      this.#markDirty(user, partition, () => look);
      this.#report(error);
    });
  }

  /** Resolves with false for a socket of another process. */
  async touch(ref: SocketRef): Promise<boolean> {
    const { key, partition, user } = ref;
    const socket = this.#localSockets.sockets.get(key);
    if (socket === undefined) return false;
    const write = this.#idle.onTouch(ref, socket.idle === true);
    if (socket.idle === true) {
      const { idle: _, ...awake } = socket;
      this.#localSockets.put(awake);
      try {
        await this.#writer.apply(partition, toSocketWrite(awake, this.#options.grace));
      } catch (error) {
        this.#markDirty(key, partition, () => this.#toSocketWrite(ref));
        throw error;
      }
    } else if (write) {
      await this.#writer.apply(partition, { kind: 'look', user, reason: 'active' });
    }
    return true;
  }

  async repair(): Promise<void> {
    const dirty = [...this.#dirty];
    await Promise.all(
      dirty.map(async ([key, entry]) => {
        this.#dirty.delete(key);
        try {
          await this.#applyToAllIds(entry.partition, entry.toWrite());
        } catch (error) {
          if (!this.#dirty.has(key)) this.#dirty.set(key, entry);
          // A refusal concerns the entry, not the connection or the lease.
          if (!(error instanceof CommandError)) throw error;
          this.#report(error);
        }
      }),
    );
  }

  async #writeLeave(membership: Omit<LocalMembership, 'info'>, grace?: number): Promise<void> {
    const { room, user, socket, partition } = membership;
    try {
      await this.#applyToAllIds(partition, this.#toRoomWrite(membership, grace));
    } catch (error) {
      const key = joinIds(joinIds(user, socket), room);
      this.#markDirty(key, partition, () => this.#toRoomWrite(membership, grace));
      throw error;
    }
  }

  /** A removal also removes entries of earlier node ids. */
  async #applyToAllIds(partition: number, write: PresenceWrite): Promise<string | null> {
    const removes =
      (write.kind === 'socket' && write.value === undefined) ||
      (write.kind === 'room' && write.info === undefined);
    const { previousIds } = this.#options.nodeLease;
    if (!removes || previousIds.length === 0) return this.#writer.apply(partition, write);
    const [record] = await Promise.all([
      this.#writer.apply(partition, write),
      ...previousIds.map((owner) => this.#writer.apply(partition, { ...write, owner } as PresenceWrite)),
    ]);
    return record;
  }

  /** From the local state at the time of the call. */
  #toSocketWrite(
    { user, socket, key }: Omit<SocketRef, 'partition'>,
    grace = this.#options.grace,
  ): SocketWrite {
    const local = this.#localSockets.sockets.get(key);
    return local === undefined ? { kind: 'socket', user, socket, grace } : toSocketWrite(local, grace);
  }

  #toRoomWrite({ user, socket, room }: Omit<LocalMembership, 'info'>, grace?: number): RoomWrite {
    const localSockets = this.#localSockets;
    const key = joinIds(joinIds(user, socket), room);
    const membership = localSockets.memberships.get(key);
    if (membership !== undefined && localSockets.isWritten(key, room)) return toRoomWrite(membership);
    return {
      kind: 'room',
      room,
      user,
      socket,
      ...(grace === undefined ? {} : { grace }),
      // When the write is sent: others may have joined by then.
      get isLast() {
        return !localSockets.isInRoom(room);
      },
    };
  }

  /** The user's sockets leave all rooms in Redis, but stay in them locally. */
  #hide(user: string): void {
    for (const membership of this.#localSockets.membershipsOf(user)) {
      this.#localSockets.setWritten(membership, false);
      this.#writeLeave(membership).catch((error: unknown) => this.#report(error));
    }
  }

  /** The user's sockets join their local rooms in Redis. */
  #show(user: string): void {
    for (const membership of this.#localSockets.membershipsOf(user)) {
      const { socket, room, partition } = membership;
      this.#localSockets.setWritten(membership, true);
      this.#writer.apply(partition, toRoomWrite(membership)).then(
        () => this.#localSockets.confirm(room),
        (error: unknown) => {
          const key = joinIds(joinIds(user, socket), room);
          this.#markDirty(key, partition, () => this.#toRoomWrite(membership));
          this.#report(error);
        },
      );
    }
  }

  #markDirty(key: string, partition: number, toWrite: () => PresenceWrite): void {
    this.#dirty.set(key, { partition, toWrite });
  }

  #rememberRemoved(key: string): void {
    this.#recentlyRemoved.add(key);
    if (this.#recentlyRemoved.size <= MAX_RECENTLY_REMOVED) return;
    for (const oldest of this.#recentlyRemoved) {
      this.#recentlyRemoved.delete(oldest);
      return;
    }
  }

  #forget(ref: SocketRef): void {
    this.#localSockets.sockets.delete(ref.key);
    this.#idle.forget(ref);
  }

  #setIdle(socket: LocalSocket): void {
    const { key, partition } = socket;
    const idle: LocalSocket = { ...socket, idle: true };
    this.#localSockets.put(idle);
    this.#writer.apply(partition, toSocketWrite(idle, this.#options.grace)).catch((error: unknown) => {
      this.#markDirty(key, partition, () => this.#toSocketWrite(socket));
      this.#report(error);
    });
  }

  #report(error: unknown): void {
    if (!this.#stopped) this.#options.reporter.report(toRollcallError(error), { stage: 'repair' });
  }
}
