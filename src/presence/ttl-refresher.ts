import { joinIds, type PartitionKeys } from './keys.js';
import { type LocalSockets, toRoomWrite, toSocketWrite } from './local-sockets.js';
import type { PresenceWrite } from './writes.js';

/** Something owned whose keys have TTLs. */
export interface RefreshItem {
  readonly partition: number;
  /** The keys whose TTLs start again. */
  readonly keys: readonly string[];
  /** What to write if one of them is gone; `undefined` when it is not owned any more. */
  rewrite(): PresenceWrite | undefined;
}

/** Options of {@link TtlRefresher}. Durations in ms. */
export interface TtlRefresherOptions {
  readonly owned: LocalSockets;
  readonly keys: readonly PartitionKeys[];
  readonly keyTtl: number;
  readonly renewInterval: number;
  readonly grace: number;
}

/** How many one renewal takes along at least, and at most. */
const MIN_BATCH = 64;
const MAX_BATCH = 2_000;

/**
 * Deals out what is owned in slices, one per renewal, so that each one's turn comes several times per
 * backstop, up to some 700,000 sockets in one process with the defaults. It rides in the renewal: no
 * command more however many sockets there are.
 */
export class TtlRefresher {
  readonly #options: TtlRefresherOptions;
  /** Renewals in a third of the backstop: within so many everything has had its turn. */
  readonly #turns: number;
  #renewals = 0;
  #rest: Iterator<RefreshItem> | undefined;

  constructor(options: TtlRefresherOptions) {
    this.#options = options;
    this.#turns = Math.max(1, Math.floor(options.keyTtl / 3 / options.renewInterval));
  }

  /** The next slice, by partition. */
  next(): Map<number, RefreshItem[]> {
    const due = new Map<number, RefreshItem[]>();
    if (this.#rest === undefined && this.#renewals++ % this.#turns !== 0) return due;
    this.#rest ??= this.#all();
    const { sockets, memberships } = this.#options.owned;
    const fair = Math.ceil((2 * (sockets.size + memberships.size)) / this.#turns);
    const slice = Math.min(MAX_BATCH, Math.max(MIN_BATCH, fair));
    for (let count = 0; count < slice; count++) {
      const next = this.#rest.next();
      if (next.done === true) {
        this.#rest = undefined;
        break;
      }
      const list = due.get(next.value.partition);
      if (list === undefined) due.set(next.value.partition, [next.value]);
      else list.push(next.value);
    }
    return due;
  }

  *#all(): Generator<RefreshItem, void, undefined> {
    const { owned, keys, grace } = this.#options;
    // Copies: an iterator of a living map also visits what is added meanwhile, and may never end.
    for (const [key, { user, partition }] of [...owned.sockets]) {
      if (!owned.sockets.has(key)) continue;
      const names = keys[partition] as PartitionKeys;
      yield {
        partition,
        keys: [names.sockets(user), names.user(user)],
        rewrite: () => {
          const socket = owned.sockets.get(key);
          return socket && toSocketWrite(socket, grace, true);
        },
      };
    }
    for (const { user, socket, room, partition } of [...owned.memberships.values()]) {
      const key = joinIds(joinIds(user, socket), room);
      if (!owned.memberships.has(key)) continue;
      yield {
        partition,
        keys: [(keys[partition] as PartitionKeys).room(room)],
        rewrite: () => {
          const membership = owned.memberships.get(key);
          return membership && toRoomWrite(membership, true);
        },
      };
    }
  }
}
