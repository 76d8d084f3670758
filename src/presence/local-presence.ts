import { type Clock, jitter, type Timer } from '../internal/clock.js';
import type { ErrorReporter } from '../internal/diagnostics.js';
import { CommandError, type RollcallError } from '../internal/errors.js';
import { toRollcallError } from '../redis/replies.js';
import { joinIds } from './keys.js';
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
import type { PresenceWrite, RoomWrite, SocketWrite } from './writes.js';

/** Options of {@link LocalPresence}. Durations in ms. */
export interface LocalPresenceOptions {
  readonly clock: Clock;
  readonly reporter: ErrorReporter;
  readonly owned: LocalSockets;
  readonly nodeLease: NodeLease;
  readonly writer: PresenceWriter;
  readonly grace: number;
  /** After how long without a sign of life a socket is away; 0 for never. */
  readonly idleAfter: number;
  /** How often activity is written down at most. */
  readonly touchInterval: number;
}

/** How many sockets are checked at a time. */
const CHECK_BATCH = 1_000;

/** How many removed sockets are remembered. */
const MAX_RECENTLY_REMOVED = 10_000;

/** What a failed call wrote, and what was there before it; the latter may have failed as well. */
class RollbackHistory<T extends object> {
  readonly #before = new WeakMap<T, { before: T | undefined }>();

  /** Notes that `failed` failed, and returns what is left: the last one that did not. */
  last(failed: T, before: T | undefined): T | undefined {
    this.#before.set(failed, { before });
    let last: T | undefined = failed;
    for (;;) {
      const entry: { before: T | undefined } | undefined = last && this.#before.get(last);
      if (entry === undefined) return last;
      last = entry.before;
    }
  }
}

/** When a socket was last active, on the monotonic clock, and when that was last written down. */
interface Activity {
  at: number;
  written: number;
}

/** A call of {@link LocalPresence.set} under way. */
class PendingSet implements WriteCallbacks {
  constructor(
    readonly node: LocalPresence,
    readonly owned: LocalSocket,
    readonly before: LocalSocket | undefined,
    readonly waiter: WriteCallbacks,
  ) {}

  onCommitted(record: string | null): void {
    this.owned.known = true;
    this.waiter.onCommitted(record);
  }

  onFailed(error: RollcallError): void {
    this.node.failed(this.owned, this.before);
    this.waiter.onFailed(error);
  }
}

/**
 * This process as an owner of sockets: what its calls change is noted first and written then. A
 * call that failed may have happened; what it touched is doubtful until it has been written again.
 */
export class LocalPresence {
  readonly #options: LocalPresenceOptions;
  readonly #owned: LocalSockets;
  readonly #writer: PresenceWriter;
  /** What has to be written again: key of the fact → its partition and how to compute the change. */
  readonly #dirty = new Map<string, { partition: number; change: () => PresenceWrite }>();
  readonly #activity = new Map<string, Activity>();
  readonly #failedSockets = new RollbackHistory<LocalSocket>();
  readonly #failedMemberships = new RollbackHistory<LocalMembership>();
  /** Sockets this process removed lately: `error` and `close` handlers both remove one. */
  readonly #released = new Set<string>();
  #idleTimer: Timer | undefined;
  #stopped = false;

  constructor(options: LocalPresenceOptions) {
    this.#options = options;
    this.#owned = options.owned;
    this.#writer = options.writer;
  }

  /** The sockets this process owns, as they stand in the node's set. */
  keys(): string[] {
    return [...this.#owned.sockets.keys()];
  }

  /** How many sockets this process owns. */
  get size(): number {
    return this.#owned.sockets.size;
  }

  /** Starts to watch for idle sockets, where that is asked for. */
  start(): void {
    if (this.#options.idleAfter > 0) this.#scheduleIdleCheck();
  }

  /** No timer of this node fires any more. */
  stop(): void {
    this.#stopped = true;
    this.#idleTimer?.cancel();
  }

  /** True when the socket is registered by this process. */
  hasSocket(address: SocketRef): boolean {
    return this.#owned.sockets.has(address.key);
  }

  /** True when this process answers for the socket, or for its place in a room. */
  owns(address: SocketRef): boolean {
    return this.#owned.answersFor(address.key);
  }

  /** True when this process has removed the socket lately, and not registered it since. */
  wasRecentlyRemoved(address: SocketRef): boolean {
    return this.#released.has(address.key);
  }

  /** Registers or updates a socket; `waiter` is told the user's record. */
  set(address: SocketRef, status: string, meta: string | undefined, waiter: WriteCallbacks): void {
    const { user, socket, key, partition } = address;
    const { sockets } = this.#owned;
    const before = sockets.get(key);
    const connectedAt = before?.connectedAt ?? this.#options.clock.now();
    const known = before?.known ?? false;
    const owned: LocalSocket = { user, socket, key, partition, connectedAt, status, meta, known };
    sockets.set(key, owned);
    this.#released.delete(key);
    if (this.#options.idleAfter > 0) this.#active(key);
    const registration = new PendingSet(this, owned, before, waiter);
    this.#writer.submit(partition, toSocketWrite(owned, this.#options.grace), registration);
  }

  /** `owned` was not written, or it is not known: it shall be as before, unless a later call says otherwise. */
  failed(owned: LocalSocket, before: LocalSocket | undefined): void {
    const { key, partition } = owned;
    const { sockets } = this.#owned;
    const last = this.#failedSockets.last(owned, before);
    if (sockets.get(key) === owned) {
      if (last === undefined) this.#forget(key);
      else sockets.set(key, last);
    }
    this.#markDirty(key, partition, () => this.#socketChange(owned));
  }

  /** Removes a socket this process owns, from its rooms too; resolves with the user's record. */
  async remove(address: SocketRef, grace: number): Promise<string | null> {
    const { user, socket, key, partition } = address;
    const known = this.#owned.sockets.get(key)?.known === true;
    this.#forget(key);
    this.#release(key);
    const left = this.#owned.leaveAll(key).map((membership) => this.#leave(membership));
    const change: SocketWrite = { kind: 'socket', user, socket, grace };
    try {
      const [record] = await Promise.all([this.#applyToAll(partition, change), ...left]);
      if (record !== null || !known) return record;
      return await this.#writer.apply(partition, { kind: 'look', user, reason: 'lost' });
    } catch (error) {
      // A closed connection will not be closed again: the removal is made up for later.
      this.#released.delete(key);
      this.#markDirty(key, partition, () => this.#socketChange(address, grace));
      throw error;
    }
  }

  /** Puts a socket into a room, or changes its info there. */
  async join(membership: LocalMembership): Promise<void> {
    const { user, socket, room, partition } = membership;
    const key = joinIds(joinIds(user, socket), room);
    const before = this.#owned.memberships.get(key);
    this.#owned.join(membership);
    try {
      await this.#writer.apply(partition, toRoomWrite(membership));
    } catch (error) {
      const last = this.#failedMemberships.last(membership, before);
      if (this.#owned.memberships.get(key) === membership) {
        if (last === undefined) this.#owned.leave(joinIds(user, socket), room);
        else this.#owned.join(last);
      }
      this.#markDirty(key, partition, () => this.#roomChange(membership));
      throw error;
    }
  }

  /** Takes a socket out of a room. */
  async leave(membership: Omit<LocalMembership, 'info'>): Promise<void> {
    this.#owned.leave(joinIds(membership.user, membership.socket), membership.room);
    await this.#leave(membership);
  }

  /** Removes all sockets, and those in rooms only. */
  async removeAll(grace: number): Promise<void> {
    const { sockets, memberships } = this.#owned;
    // What fails is doubtful from then on: repair has another try, and reports.
    await Promise.allSettled([...sockets.values()].map((owned) => this.remove(owned, grace)));
    await Promise.allSettled([...memberships.values()].map((membership) => this.leave(membership)));
    await this.repair();
  }

  /**
   * Another process removed these sockets of ours, or may have: what it said can be lost, or come late,
   * so Redis is asked which of them it still has.
   */
  async checkRemoved(pairs: readonly string[]): Promise<void> {
    const { sockets } = this.#owned;
    const checked = pairs.flatMap((key) => sockets.get(key) ?? []);
    for (let at = 0; at < checked.length; at += CHECK_BATCH) {
      const chunk = checked.slice(at, at + CHECK_BATCH);
      const missing = await this.#options.nodeLease.findMissing(chunk);
      this.#removedElsewhere(missing.filter((owned) => sockets.get(owned.key) === owned));
    }
  }

  /** Forgets sockets that another process removed; their rooms are left for us to leave. */
  #removedElsewhere(gone: readonly LocalSocket[]): void {
    const { grace } = this.#options;
    for (const { user, socket, key, partition } of gone) {
      this.#forget(key);
      // Said again under our own lease: if a failover loses the removal, that shows in it.
      this.#applyToAll(partition, { kind: 'socket', user, socket, grace }).catch((error: unknown) => {
        this.#markDirty(key, partition, () => this.#socketChange({ user, socket, key }));
        this.#report(error);
      });
      for (const membership of this.#owned.leaveAll(key)) {
        this.#leave(membership).catch((error: unknown) => this.#report(error));
      }
    }
  }

  /** A sign of life of a socket; false when this process does not own it. */
  async touch(address: SocketRef): Promise<boolean> {
    const { clock, grace, touchInterval } = this.#options;
    const { key } = address;
    const owned = this.#owned.sockets.get(key);
    if (owned === undefined) return false;
    const activity = this.#active(key);
    const now = clock.monotonic();
    if (owned.idle === true) {
      const { idle: _, ...awake } = owned;
      this.#owned.sockets.set(key, awake);
      activity.written = now;
      try {
        await this.#writer.apply(address.partition, toSocketWrite(awake, grace));
      } catch (error) {
        this.#markDirty(key, address.partition, () => this.#socketChange(address));
        throw error;
      }
    } else if (now - activity.written >= touchInterval) {
      activity.written = now;
      await this.#writer.apply(address.partition, { kind: 'look', user: address.user, reason: 'active' });
    }
    return true;
  }

  /** Brings what failed calls left behind into line with what this process owns. */
  async repair(): Promise<void> {
    const doubtful = [...this.#dirty];
    await Promise.all(
      doubtful.map(async ([key, doubt]) => {
        this.#dirty.delete(key);
        try {
          await this.#applyToAll(doubt.partition, doubt.change());
        } catch (error) {
          if (!this.#dirty.has(key)) this.#dirty.set(key, doubt);
          // Refused for what it is, not for want of a connection: that says nothing about our lease.
          if (!(error instanceof CommandError)) throw error;
          this.#report(error);
        }
      }),
    );
  }

  async #leave(membership: Omit<LocalMembership, 'info'>): Promise<void> {
    const { room, user, socket, partition } = membership;
    try {
      await this.#applyToAll(partition, { kind: 'room', room, user, socket });
    } catch (error) {
      this.#markDirty(joinIds(joinIds(user, socket), room), partition, () => this.#roomChange(membership));
      throw error;
    }
  }

  /** A removal is for everything this process left under earlier incarnations, too. */
  async #applyToAll(partition: number, change: PresenceWrite): Promise<string | null> {
    const removes =
      (change.kind === 'socket' && change.value === undefined) ||
      (change.kind === 'room' && change.info === undefined);
    const former = removes ? this.#options.nodeLease.previousIds : [];
    const [record] = await Promise.all([
      this.#writer.apply(partition, change),
      ...former.map((owner) => this.#writer.apply(partition, { ...change, owner } as PresenceWrite)),
    ]);
    return record;
  }

  /** What ought to be in Redis about a socket, now. */
  #socketChange(
    { user, socket, key }: Omit<SocketRef, 'partition'>,
    grace = this.#options.grace,
  ): SocketWrite {
    const owned = this.#owned.sockets.get(key);
    return owned === undefined ? { kind: 'socket', user, socket, grace } : toSocketWrite(owned, grace);
  }

  /** What ought to be in Redis about a socket in a room, now. */
  #roomChange({ user, socket, room }: Omit<LocalMembership, 'info'>): RoomWrite {
    const membership = this.#owned.memberships.get(joinIds(joinIds(user, socket), room));
    return membership === undefined ? { kind: 'room', room, user, socket } : toRoomWrite(membership);
  }

  #markDirty(key: string, partition: number, change: () => PresenceWrite): void {
    this.#dirty.set(key, { partition, change });
  }

  #release(key: string): void {
    this.#released.add(key);
    if (this.#released.size <= MAX_RECENTLY_REMOVED) return;
    for (const oldest of this.#released) {
      this.#released.delete(oldest);
      return;
    }
  }

  #forget(key: string): void {
    this.#owned.sockets.delete(key);
    this.#activity.delete(key);
  }

  #active(key: string): Activity {
    const now = this.#options.clock.monotonic();
    let activity = this.#activity.get(key);
    if (activity === undefined) {
      activity = { at: now, written: now };
      if (this.#owned.sockets.has(key)) this.#activity.set(key, activity);
    }
    activity.at = now;
    return activity;
  }

  #scheduleIdleCheck(): void {
    if (this.#stopped) return;
    const { clock, idleAfter } = this.#options;
    const check = () => {
      this.#checkIdle();
      this.#scheduleIdleCheck();
    };
    this.#idleTimer = clock.after(jitter(clock, Math.max(10, idleAfter / 10)), check, { keepAlive: false });
  }

  /** Whoever is online and was not heard of for long is away until he is. */
  #checkIdle(): void {
    const { clock, idleAfter, grace } = this.#options;
    const since = clock.monotonic() - idleAfter;
    for (const [key, owned] of this.#owned.sockets) {
      if (owned.idle === true || owned.status !== 'online') continue;
      const activity = this.#activity.get(key);
      if (activity === undefined || activity.at > since) continue;
      const idle: LocalSocket = { ...owned, idle: true };
      this.#owned.sockets.set(key, idle);
      this.#writer.apply(owned.partition, toSocketWrite(idle, grace)).catch((error: unknown) => {
        this.#markDirty(key, owned.partition, () => this.#socketChange(owned));
        this.#report(error);
      });
    }
  }

  #report(error: unknown): void {
    if (!this.#stopped) this.#options.reporter.report(toRollcallError(error), { stage: 'repair' });
  }
}
