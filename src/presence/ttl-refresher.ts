import { TimeoutError } from '../internal/errors.js';
import { joinIds, type PartitionKeys } from './keys.js';
import { type LocalSockets, toRoomWrite, toSocketWrite } from './local-sockets.js';
import type { PresenceWrite } from './writes.js';

/** Keys that contain entries of this process. */
export interface RefreshItem {
  readonly partition: number;
  readonly kind: 'user' | 'room';
  readonly keys: readonly string[];
  /** The entry that must be present, see renew-lease.lua. `nodeId`: this node. */
  entry(nodeId: string): readonly [string, string];
  /** Restores a missing entry; nothing if it is no longer local. */
  rewrite(): PresenceWrite[];
}

/** Durations in ms. */
export interface TtlRefresherOptions {
  readonly localSockets: LocalSockets;
  readonly keys: readonly PartitionKeys[];
  readonly keyTtl: number;
  readonly renewInterval: number;
  readonly grace: number;
}

/** Per renewal. */
const MIN_BATCH = 64;

/**
 * Divides local sockets and rooms into slices, one per renewal, so that each key is refreshed at least twice
 * per `keyTtl`. A room is one item: if it lost members, it lost the least recently written one.
 */
export class TtlRefresher {
  readonly #options: TtlRefresherOptions;
  /** A round is a third of `keyTtl`. */
  readonly #renewalsPerRound: number;
  /** By the monotonic clock. */
  #roundBegan = 0;
  #renewals = 0;
  #remaining: Iterator<RefreshItem> | undefined;
  /** Items per slice of the round in progress. */
  #size = MIN_BATCH;

  constructor(options: TtlRefresherOptions) {
    this.#options = options;
    this.#renewalsPerRound = Math.max(1, Math.floor(options.keyTtl / 3 / options.renewInterval));
  }

  /**
   * By partition. `now`: by the monotonic clock.
   *
   * @throws {@link TimeoutError} when the round was so slow that keys may have expired; the next call starts a
   * new one.
   */
  next(now: number): Map<number, RefreshItem[]> {
    const slice = new Map<number, RefreshItem[]>();
    if (this.#remaining === undefined) {
      if (this.#renewals++ % this.#renewalsPerRound !== 0) return slice;
      this.#roundBegan = now;
      this.#remaining = this.#all();
      const { sockets, rooms } = this.#options.localSockets;
      this.#size = Math.max(
        MIN_BATCH,
        Math.ceil((2 * (sockets.size + rooms.length)) / this.#renewalsPerRound),
      );
    }
    if (now - this.#roundBegan > this.#options.keyTtl / 2) {
      this.#remaining = undefined;
      this.#renewals = 0;
      throw new TimeoutError(
        `presence: refreshing the keys of this process took longer than half of keyTtl (${this.#options.keyTtl} ms), so some of them may expire: raise keyTtl, or run fewer sockets per process`,
        { outcome: 'unknown' },
      );
    }
    const size = this.#size;
    for (let count = 0; count < size; count++) {
      const next = this.#remaining.next();
      if (next.done === true) {
        this.#remaining = undefined;
        break;
      }
      const items = slice.get(next.value.partition);
      if (items === undefined) slice.set(next.value.partition, [next.value]);
      else items.push(next.value);
    }
    return slice;
  }

  *#all(): Generator<RefreshItem, void, undefined> {
    const { localSockets, keys, grace } = this.#options;
    // An iterator of the live map visits added entries, too, and may never end.
    for (const [key, { user, socket, partition }] of [...localSockets.sockets]) {
      if (!localSockets.sockets.has(key)) continue;
      const names = keys[partition] as PartitionKeys;
      yield {
        partition,
        kind: 'user',
        keys: [names.sockets(user), names.user(user)],
        entry: (nodeId) => [joinIds(nodeId, socket), user],
        rewrite: () => {
          const local = localSockets.sockets.get(key);
          return local === undefined ? [] : [toSocketWrite(local, grace, true)];
        },
      };
    }
    for (const room of localSockets.rooms) {
      const oldest = localSockets.oldestIn(room);
      if (oldest === undefined) continue;
      const { user, socket, partition } = oldest;
      yield {
        partition,
        kind: 'room',
        keys: [(keys[partition] as PartitionKeys).room(room)],
        entry: (nodeId) => [`:${user}`, joinIds(nodeId, joinIds(socket, ''))],
        rewrite: () => localSockets.membershipsIn(room).map((membership) => toRoomWrite(membership, true)),
      };
    }
  }
}
