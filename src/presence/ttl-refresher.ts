import { joinIds, type PartitionKeys } from './keys.js';
import { type LocalSockets, toRoomWrite, toSocketWrite } from './local-sockets.js';
import type { PresenceWrite } from './writes.js';

/** A socket or membership of this process whose keys have TTLs. */
export interface RefreshItem {
  readonly partition: number;
  /** Keys whose TTL starts again. */
  readonly keys: readonly string[];
  /** The write to send if one of the keys is gone; `undefined` when the item is no longer local. */
  rewrite(): PresenceWrite | undefined;
}

/** Options of {@link TtlRefresher}. Durations in ms. */
export interface TtlRefresherOptions {
  readonly localSockets: LocalSockets;
  readonly keys: readonly PartitionKeys[];
  readonly keyTtl: number;
  readonly renewInterval: number;
  readonly grace: number;
}

/** Fewest and most items that one renewal includes. */
const MIN_BATCH = 64;
const MAX_BATCH = 2_000;

/**
 * Divides the local sockets and memberships into slices, one per renewal, so that each is refreshed several times
 * per `keyTtl`: up to some 700,000 in one process with the defaults. Slices add no command to a renewal.
 */
export class TtlRefresher {
  readonly #options: TtlRefresherOptions;
  /** Renewals in a third of `keyTtl`, within which everything is refreshed once. */
  readonly #renewalsPerRound: number;
  #renewals = 0;
  #remaining: Iterator<RefreshItem> | undefined;

  constructor(options: TtlRefresherOptions) {
    this.#options = options;
    this.#renewalsPerRound = Math.max(1, Math.floor(options.keyTtl / 3 / options.renewInterval));
  }

  /** The next slice, by partition. */
  next(): Map<number, RefreshItem[]> {
    const slice = new Map<number, RefreshItem[]>();
    if (this.#remaining === undefined && this.#renewals++ % this.#renewalsPerRound !== 0) return slice;
    this.#remaining ??= this.#all();
    const { sockets, memberships } = this.#options.localSockets;
    const fair = Math.ceil((2 * (sockets.size + memberships.size)) / this.#renewalsPerRound);
    const size = Math.min(MAX_BATCH, Math.max(MIN_BATCH, fair));
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
    // Copies: an iterator of the live map also visits entries added during the iteration, and may never end.
    for (const [key, { user, partition }] of [...localSockets.sockets]) {
      if (!localSockets.sockets.has(key)) continue;
      const names = keys[partition] as PartitionKeys;
      yield {
        partition,
        keys: [names.sockets(user), names.user(user)],
        rewrite: () => {
          const socket = localSockets.sockets.get(key);
          return socket && toSocketWrite(socket, grace, true);
        },
      };
    }
    for (const { user, socket, room, partition } of [...localSockets.memberships.values()]) {
      const key = joinIds(joinIds(user, socket), room);
      if (!localSockets.memberships.has(key)) continue;
      yield {
        partition,
        keys: [(keys[partition] as PartitionKeys).room(room)],
        rewrite: () => {
          const membership = localSockets.memberships.get(key);
          return membership && toRoomWrite(membership, true);
        },
      };
    }
  }
}
