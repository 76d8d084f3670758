import {
  ClientError,
  type MemberInfo,
  type Room,
  type RoomState,
  type SendOptions,
} from '../client/index.js';
import type { ClientRegistry } from './registry.js';
import type { RoomTimeline } from './room-timeline.js';
import type { RoomRequest, SharedRoom, TimelineRequest } from './shared-room.js';
import type { RoomDiscontinuity, RoomView, TimelineEvent } from './types.js';

/** What changes in a view. */
type RoomSnapshot = Pick<RoomView, 'state' | 'events' | 'discontinuities' | 'members' | 'hasOlder' | 'error'>;

const NO_EVENTS: readonly TimelineEvent[] = [];
const NO_GAPS: readonly RoomDiscontinuity[] = [];
const NO_MEMBERS: ReadonlyMap<string, MemberInfo> = new Map();

/** One component's look at a room, for `useSyncExternalStore`. Nothing happens before `subscribe`. */
export class RoomStore {
  readonly #registry: ClientRegistry | undefined;
  readonly #name: string | null;
  readonly #wish: RoomRequest;
  readonly #log: TimelineRequest;
  readonly #first: RoomView;
  #view: RoomView;

  constructor(
    registry: ClientRegistry | undefined,
    name: string | null,
    wish: RoomRequest,
    log: TimelineRequest,
  ) {
    this.#registry = registry;
    this.#name = name;
    this.#wish = wish;
    this.#log = log;
    this.#first = {
      state: name === null ? 'idle' : 'joining',
      events: NO_EVENTS,
      discontinuities: NO_GAPS,
      members: NO_MEMBERS,
      hasOlder: false,
      error: undefined,
      send: async (event: string, data: unknown, options?: SendOptions) =>
        (await this.#room()).send(event, data, options),
      update: async (info) => (await this.#room()).update(info),
      loadOlder: async (limit) => {
        const room = await this.#room();
        return (await this.#shared?.log(log.key)?.loadOlder(room, limit)) ?? false;
      },
      retry: () => this.#shared?.retry(),
    };
    this.#view = this.#first;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    if (this.#name === null || !this.#registry) return () => {};
    const shared = this.#registry.room(this.#name);
    shared.addTimeline(this.#log, this.#wish.last ?? 0);
    return shared.acquire(this.#wish, listener);
  };

  readonly snapshot = (): RoomView => {
    const shared = this.#shared;
    const seen = shared ? this.#readSnapshot(shared, shared.log(this.#log.key)) : this.#first;
    const names = Object.keys(seen) as (keyof RoomSnapshot)[];
    if (names.some((name) => seen[name] !== this.#view[name])) this.#view = { ...this.#first, ...seen };
    return this.#view;
  };

  readonly serverSnapshot = (): RoomView => this.#first;

  #readSnapshot(shared: SharedRoom, log: RoomTimeline | undefined): RoomSnapshot {
    const { room } = shared;
    const state: RoomState = room?.state ?? 'joining';
    return {
      state,
      events: log?.events ?? NO_EVENTS,
      discontinuities: log?.discontinuities ?? NO_GAPS,
      members: this.#wish.members ? shared.members : NO_MEMBERS,
      hasOlder: !!room && (state === 'joined' || state === 'joining') && !!log?.hasOlder(room),
      error: shared.error ?? log?.error,
    };
  }

  get #shared(): SharedRoom | undefined {
    return this.#name === null ? undefined : this.#registry?.known(this.#name);
  }

  async #room(): Promise<Room> {
    // An effect may say something right after the room was subscribed to, and before it is joined.
    if (this.#shared && !this.#shared.room) await Promise.resolve();
    const room = this.#shared?.room;
    if (!room) throw new ClientError('CLOSED', 'there is no room');
    return room;
  }
}
