import { isDeepStrictEqual } from 'node:util';
import { onAbort } from '../internal/abort.js';
import { type Json, jsonCodec } from '../internal/codec.js';
import type { ErrorReporter } from '../internal/diagnostics.js';
import { HandlerSubscription } from '../pubsub/handler-subscription.js';
import type { ServiceContext } from '../pubsub/service-context.js';
import { type DisposableStore, subscribe } from '../pubsub/subscribe.js';
import type { SubscriptionManager } from '../pubsub/subscription-manager.js';
import type { ClientHandle } from '../redis/client-handle.js';
import type { Command } from '../redis/driver.js';
import { toRollcallError } from '../redis/replies.js';
import { escapeId, unescapeId } from './ids.js';
import { type PartitionKeys, partitionOf, splitIds } from './keys.js';
import type { PartitionLayout } from './partition-layout.js';
import type { RoomChange, RoomMember } from './types.js';

/** A room, watched. */
export interface RoomWatch {
  /** Who is in the room now, by user id. A copy. */
  current(): Map<string, RoomMember>;
  /** Ends the watch: the handler is not called again. Idempotent, works detached. */
  close(): Promise<void>;
  /** The same, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** Gets a change of a watched room. */
export type RoomChangeHandler = (change: RoomChange) => unknown;

/** What {@link RoomPresence} needs. */
export interface RoomPresenceOptions {
  readonly link: ClientHandle;
  readonly hub: SubscriptionManager;
  readonly keys: readonly PartitionKeys[];
  readonly layout: PartitionLayout;
  readonly leaving: DisposableStore;
  readonly audience: ServiceContext;
  readonly reporter: ErrorReporter;
}

/** How many members one command of a listing asks for, roughly. */
const PAGE = 1_000;

type EncodedRoomChange = [
  type: RoomChange['type'],
  userId: string,
  version: number,
  info: Json,
  sockets: number,
];

/** Reads and watches rooms. What writes them is the node, by room.lua. */
export class RoomPresence {
  readonly #options: RoomPresenceOptions;
  readonly #views = new Set<RoomWatchState>();

  constructor(options: RoomPresenceOptions) {
    this.#options = options;
  }

  /** Reads all watched rooms again. */
  rereadAll(): void {
    for (const view of this.#views) void this.#reread(view);
  }

  /** The partition of a room. */
  partition(room: string): number {
    return partitionOf(room, this.#options.keys.length);
  }

  /** How many users are in each of `rooms`, in their order. */
  async counts(rooms: ReadonlySet<string>): Promise<Map<string, number>> {
    const { link, keys } = this.#options;
    const byPartition = keys.map((): string[] => []);
    for (const room of rooms) (byPartition[this.partition(room)] as string[]).push(room);
    const counted = new Map<string, number>();
    await Promise.all(
      byPartition.map(async (some, partition) => {
        if (some.length === 0) return;
        const names = keys[partition] as PartitionKeys;
        const commands = some.map((room): Command => ['HLEN', names.room(escapeId(room))]);
        const replies = await link.execute('getRoomCounts', commands, { key: names.nodes });
        some.forEach((room, at) => {
          counted.set(room, Number(replies[at]));
        });
      }),
    );
    return new Map([...rooms].map((room) => [room, counted.get(room) ?? 0]));
  }

  /**
   * Everybody in `room`, page by page. Whoever stays throughout is listed exactly once; whoever comes
   * or goes meanwhile may be listed or not.
   */
  async *members(room: string): AsyncGenerator<RoomMember, void, undefined> {
    const { link } = this.#options;
    const keys = this.#options.keys[this.partition(room)] as PartitionKeys;
    // A cursor may come by the same field twice.
    const seen = new Set<string>();
    let cursor = '0';
    do {
      const command = ['HSCAN', keys.room(escapeId(room)), cursor, 'COUNT', String(PAGE)] as const;
      const [reply] = await link.execute('getRoomMembers', [command], { key: keys.nodes });
      const [next, page] = reply as unknown as [string, readonly string[]];
      cursor = next;
      for (let at = 0; at < page.length; at += 2) {
        // Behind the colon, see room.lua.
        const user = (page[at] as string).slice(1);
        if (seen.has(user)) continue;
        seen.add(user);
        yield decodeMember(user, page[at + 1] as string);
      }
    } while (cursor !== '0');
  }

  /** Watches a room: subscribes first, takes a snapshot second, merges the two by version. */
  async watch(room: string, handler: RoomChangeHandler, signal: AbortSignal | undefined): Promise<RoomWatch> {
    const { link, hub, keys, layout, leaving, audience, reporter } = this.#options;
    const names = keys[this.partition(room)] as PartitionKeys;
    const view = new RoomWatchState(room, handler, reporter);
    const member = new HandlerSubscription(
      audience,
      (batch) => view.changed(batch as readonly EncodedRoomChange[]),
      {
        codec: jsonCodec,
        onDiscontinuity: () => void this.#reread(view),
      },
    );
    const channel = names.roomEvents(escapeId(room));
    const subscription = await subscribe({
      link,
      hub,
      leaving,
      kind: layout.channels,
      names: [channel],
      member,
    });
    const close = (): Promise<void> => {
      view.closed = true;
      forget();
      this.#views.delete(view);
      return subscription.unsubscribe();
    };
    const forget = onAbort(signal, () => void close().catch(() => {}));
    this.#views.add(view);
    try {
      await this.#snapshot(view);
      signal?.throwIfAborted();
    } catch (error) {
      close().catch(() => {});
      throw error;
    }
    return { current: () => view.current(), close, [Symbol.asyncDispose]: close };
  }

  /** One after the other: of two at once, the older might be the last to be complete. */
  #snapshot(view: RoomWatchState): Promise<void> {
    const taken = view.taken.then(() => this.#take(view));
    view.taken = taken.catch(() => {});
    return taken;
  }

  async #take(view: RoomWatchState): Promise<void> {
    const members: RoomMember[] = [];
    view.begin();
    for await (const member of this.members(view.room)) members.push(member);
    view.applySnapshot(members);
  }

  async #reread(view: RoomWatchState): Promise<void> {
    const { link, reporter } = this.#options;
    try {
      await this.#snapshot(view);
    } catch (error) {
      if (link.closed || view.closed) return;
      reporter.report(toRollcallError(error), { stage: 'watch' });
      link.clock.after(1_000, () => void this.#reread(view), { keepAlive: false });
    }
  }
}

/** What one watch knows of its room. */
class RoomWatchState {
  closed = false;
  /** Settles with the latest snapshot. */
  taken: Promise<void> = Promise.resolve();
  readonly #members = new Map<string, RoomMember>();
  /** Changes that arrive while a snapshot is being read; they come after it. */
  #buffered: EncodedRoomChange[] | undefined;
  #first = true;

  constructor(
    readonly room: string,
    readonly handler: RoomChangeHandler,
    readonly reporter: ErrorReporter,
  ) {}

  current(): Map<string, RoomMember> {
    return new Map([...this.#members].map(([userId, member]) => [userId, { ...member }]));
  }

  begin(): void {
    this.#buffered ??= [];
  }

  changed(batch: readonly EncodedRoomChange[]): void {
    if (this.#buffered !== undefined) this.#buffered.push(...batch);
    else for (const change of batch) this.#apply(change);
  }

  /** A snapshot: whatever differs from what was known is a change, but for the first one. */
  applySnapshot(members: readonly RoomMember[]): void {
    const held = this.#buffered ?? [];
    this.#buffered = undefined;
    const quiet = this.#first;
    this.#first = false;
    const present = new Set(members.map(({ userId }) => userId));
    for (const [userId, member] of [...this.#members]) {
      if (present.has(userId)) continue;
      this.#members.delete(userId);
      if (!quiet) this.#notify({ ...member, type: 'leave', room: this.room, sockets: 0 });
    }
    for (const member of members) {
      const before = this.#members.get(member.userId);
      this.#members.set(member.userId, member);
      if (quiet || isSameMember(before, member)) continue;
      this.#notify({ ...member, type: before === undefined ? 'join' : 'update', room: this.room });
    }
    for (const change of held) this.#apply(change);
  }

  #apply([type, userId, version, info, sockets]: EncodedRoomChange): void {
    const before = this.#members.get(userId);
    if (before !== undefined && before.version >= version) return;
    // Somebody the snapshot did not show any more.
    if (before === undefined && type === 'leave') return;
    const member: RoomMember = { userId, info, sockets, version };
    if (type === 'leave') this.#members.delete(userId);
    else this.#members.set(userId, member);
    // Restored after a loss that nobody here saw.
    if (type !== 'leave' && isSameMember(before, member)) return;
    // What came twice, once in a snapshot and once as a change, is told for what it is here.
    const told = type === 'leave' ? type : before === undefined ? 'join' : 'update';
    this.#notify({ ...member, type: told, room: this.room });
  }

  #notify(change: RoomChange): void {
    if (this.closed) return;
    this.reporter.runHandler(() => this.handler(change), {});
  }
}

function isSameMember(before: RoomMember | undefined, member: RoomMember): boolean {
  return (
    before !== undefined && before.sockets === member.sockets && isDeepStrictEqual(before.info, member.info)
  );
}

/** A member as room.lua wrote him: his version, then a line per socket, the latest one last. */
function decodeMember(user: string, text: string): RoomMember {
  const [version, ...sockets] = text.split('\n');
  const [, rest = ''] = splitIds(sockets.at(-1) as string);
  const [, info = 'null'] = splitIds(rest);
  return {
    userId: unescapeId(user),
    info: JSON.parse(info) as Json,
    sockets: sockets.length,
    version: Number(version),
  };
}
