import { onAbort } from '../internal/abort.js';
import type { Json } from '../internal/codec.js';
import type { ErrorReporter } from '../internal/diagnostics.js';
import { DecodeError } from '../internal/errors.js';
import type { DisposableStore } from '../pubsub/subscribe.js';
import type { Command } from '../redis/driver.js';
import { toRollcallError } from '../redis/replies.js';
import { escapeId, unescapeId } from './ids.js';
import { type PartitionKeys, partitionOf, splitIds } from './keys.js';
import { infoOf } from './record.js';
import { decodeRoomChange, type RoomChangeHandler, RoomWatchState } from './room-watch-state.js';
import { type ChangeSource, subscribeToChanges } from './subscribe-to-changes.js';
import type { RoomMember } from './types.js';

/** A watch of a room. */
export interface RoomWatch {
  /** A copy of the room's members now, by user id. */
  current(): Map<string, RoomMember>;
  /** Number of members now. */
  readonly size: number;
  /** Ends the watch: the handler is not called again. Idempotent; works detached. */
  close(): Promise<void>;
  /** Calls `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

export interface RoomPresenceOptions extends ChangeSource {
  readonly keys: readonly PartitionKeys[];
  readonly disposables: DisposableStore;
  readonly reporter: ErrorReporter;
}

/** COUNT of HSCAN, roughly the size of a page. */
const PAGE_SIZE = 1_000;

/** In ms, after a failed read. */
const RETRY_INTERVAL = 1_000;

interface ActiveWatch {
  readonly state: RoomWatchState;
  /** Settles with the latest read. */
  reading: Promise<void>;
}

/** Reads and watches rooms. LocalPresence writes them, through update-rooms.lua. */
export class RoomPresence {
  readonly #options: RoomPresenceOptions;
  readonly #watches = new Set<ActiveWatch>();

  constructor(options: RoomPresenceOptions) {
    this.#options = options;
  }

  rereadAll(): void {
    for (const watch of this.#watches) void this.#reread(watch);
  }

  partition(room: string): number {
    return partitionOf(room, this.#options.keys.length);
  }

  /** In the order of `rooms`. */
  async counts(rooms: ReadonlySet<string>): Promise<Map<string, number>> {
    const { client, keys } = this.#options;
    const byPartition = keys.map((): string[] => []);
    for (const room of rooms) (byPartition[this.partition(room)] as string[]).push(room);
    const counts = new Map<string, number>();
    await Promise.all(
      byPartition.map(async (names, partition) => {
        if (names.length === 0) return;
        const partitionKeys = keys[partition] as PartitionKeys;
        const commands = names.map((room): Command => ['HLEN', partitionKeys.room(escapeId(room))]);
        const replies = await client.execute('getRoomCounts', commands, { key: partitionKeys.nodes });
        names.forEach((room, at) => {
          counts.set(room, Number(replies[at]));
        });
      }),
    );
    return new Map([...rooms].map((room) => [room, counts.get(room) ?? 0]));
  }

  /** Page by page, each user once. */
  async *members(room: string): AsyncGenerator<RoomMember, void, undefined> {
    const { client } = this.#options;
    const keys = this.#options.keys[this.partition(room)] as PartitionKeys;
    // HSCAN may repeat a field.
    const seen = new Set<string>();
    const unreadable = new Set<string>();
    let cursor = '0';
    do {
      const command = ['HSCAN', keys.room(escapeId(room)), cursor, 'COUNT', String(PAGE_SIZE)] as const;
      const [reply] = await client.execute('getRoomMembers', [command], { key: keys.nodes });
      const [next, page] = reply as unknown as [string, readonly string[]];
      cursor = next;
      for (let at = 0; at < page.length; at += 2) {
        // Fields begin with a colon, see update-rooms.lua.
        const user = (page[at] as string).slice(1);
        if (seen.has(user)) continue;
        seen.add(user);
        const member = decodeMember(user, page[at + 1] as string);
        if (member === undefined) unreadable.add(user);
        else yield member;
      }
    } while (cursor !== '0');
    if (unreadable.size > 0) {
      const message = `${unreadable.size} of ${seen.size} members of room ${JSON.stringify(room)} cannot be read: their entries are damaged, or were written by another release`;
      this.#options.reporter.report(new DecodeError(message), { stage: 'decode' });
    }
  }

  /** Subscribes before it reads the snapshot, so no change is missed. */
  async watch(room: string, handler: RoomChangeHandler, signal: AbortSignal | undefined): Promise<RoomWatch> {
    const { keys, disposables, reporter } = this.#options;
    const channel = (keys[this.partition(room)] as PartitionKeys).roomEvents(escapeId(room));
    const state = new RoomWatchState(room, handler, reporter);
    const watch: ActiveWatch = { state, reading: Promise.resolve() };
    const subscription = await subscribeToChanges(this.#options, disposables, channel, {
      onChange: (encoded) => state.applyChange(decodeRoomChange(encoded)),
      onGap: () => void this.#reread(watch),
    });
    const close = (): Promise<void> => {
      state.closed = true;
      stopListening();
      this.#watches.delete(watch);
      return subscription.unsubscribe();
    };
    const stopListening = onAbort(signal, () => void close().catch(() => {}));
    this.#watches.add(watch);
    try {
      await this.#readSnapshot(watch);
      signal?.throwIfAborted();
    } catch (error) {
      close().catch(() => {});
      throw error;
    }
    return {
      current: () => state.current(),
      get size() {
        return state.size;
      },
      close,
      [Symbol.asyncDispose]: close,
    };
  }

  /** One after another: of two concurrent reads, the older one might finish last. */
  #readSnapshot(watch: ActiveWatch): Promise<void> {
    const reading = watch.reading.then(async () => {
      const { state } = watch;
      const members: RoomMember[] = [];
      state.startSnapshot();
      for await (const member of this.members(state.room)) members.push(member);
      state.applySnapshot(members);
    });
    watch.reading = reading.catch(() => {});
    return reading;
  }

  async #reread(watch: ActiveWatch): Promise<void> {
    const { client, reporter } = this.#options;
    try {
      await this.#readSnapshot(watch);
    } catch (error) {
      if (client.closed || watch.state.closed) return;
      reporter.report(toRollcallError(error), { stage: 'watch' });
      client.clock.after(RETRY_INTERVAL, () => void this.#reread(watch), { keepAlive: false });
    }
  }
}

/**
 * Written by update-rooms.lua: the version, then a line per socket, the latest last. `undefined` for other
 * text.
 */
function decodeMember(user: string, text: string): RoomMember | undefined {
  const [version, ...sockets] = text.split('\n');
  const [, rest] = splitIds(sockets.at(-1) ?? '');
  const [, info] = splitIds(rest ?? '');
  if (info === undefined || !/^2\d+$/.test(version as string)) return undefined;
  try {
    return {
      userId: unescapeId(user),
      info: JSON.parse(infoOf(info)) as Json,
      sockets: sockets.length,
      // After the version mark.
      version: Number((version as string).slice(1)),
    };
  } catch {
    return undefined;
  }
}
