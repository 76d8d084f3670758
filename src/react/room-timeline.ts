import type { ClientDiscontinuity, ClientError, EventContext, Room } from '../client/index.js';
import type { PendingSends } from './pending-sends.js';
import { RetryTimer } from './retry-timer.js';
import type { RoomDiscontinuity, TimelineEvent } from './types.js';

const NONE: readonly never[] = [];
const PAGE = 50;
/** Page of `loadUntil`. */
const LARGE_PAGE = 200;
/** Limit of the server. */
const MAX_PAGE = 1_000;

type TimelineInput = Pick<EventContext, 'event' | 'data'> & {
  readonly from?: string;
  readonly position?: string;
  readonly at?: number;
};

/** A bounded list in order, each event once. */
export class RoomTimeline {
  /** The same array until it changes. */
  events: readonly TimelineEvent[] = NONE;
  /** The same array until it changes. */
  discontinuities: readonly RoomDiscontinuity[] = NONE;
  /** Error of the last read of older events. */
  error: ClientError | undefined;

  readonly #names: ReadonlySet<string> | undefined;
  readonly #changed: () => void;
  readonly #sends: PendingSends;
  #listed:
    | { readonly events: unknown; readonly sent: unknown; readonly all: readonly TimelineEvent[] }
    | undefined;
  readonly #positions = new Set<string>();
  #limit = 0;
  /** Number of past events to begin with. */
  #last = 0;
  /** The list has begun with `#last` events, or all there were. */
  #filled = false;
  readonly #retryTimer = new RetryTimer();
  /** Older events that were loaded; not counted towards the limit. */
  #fetched = 0;
  #serial = 0;
  /** Older events can be loaded before this position. */
  #oldest: string | undefined;
  #exhausted = false;
  #loading: Promise<boolean> | undefined;

  /** Without `names`: all events. */
  constructor(names: readonly string[] | undefined, sends: PendingSends, changed: () => void) {
    this.#sends = sends;
    this.#names = names && new Set(names);
    this.#changed = changed;
  }

  /** The room's events, then pending ones: the same array until it changes. */
  get listed(): readonly TimelineEvent[] {
    const { events } = this;
    const { entries } = this.#sends;
    if (this.#listed?.events !== events || this.#listed.sent !== entries) {
      const sent = entries.filter(({ event }) => this.#names?.has(event) ?? true);
      this.#listed = { events, sent: entries, all: sent.length === 0 ? events : [...events, ...sent] };
    }
    return this.#listed.all;
  }

  /** Raises the limit and the number of initial events. Without `room`, they load when one is attached. */
  require(limit: number, last: number, room: Room | undefined): void {
    this.#limit = Math.max(this.#limit, limit);
    if (last <= this.#last) return;
    this.#last = last;
    this.#filled = false;
    if (room) void this.#fill(room);
  }

  /** The list has begun with its past events. */
  get isFilled(): boolean {
    return this.#filled || this.#last === 0;
  }

  /** Older events may exist. */
  hasOlder({ position }: Room): boolean {
    return position !== undefined && !this.#exhausted;
  }

  attach(room: Room): () => void {
    void this.#fill(room);
    const stops = [
      // A refused room is joined by `retry`.
      room.onState((state) => state === 'joined' && void this.#fill(room)),
      room.on('*', (_, context) => this.#append(context)),
      room.onDiscontinuity((discontinuity) => this.#gap(discontinuity)),
    ];
    return () => {
      this.#retryTimer.cancel();
      for (const stop of stops) stop();
    };
  }

  /**
   * Reads older events until the list has `#last`. The room begins with fewer if it was joined for another
   * component, or if some of its events are not listed.
   */
  async #fill(room: Room): Promise<void> {
    if (this.#last === 0 || this.#filled) return;
    this.#retryTimer.cancel();
    try {
      await room.ready;
      while (
        this.events.length < this.#last &&
        (await this.loadOlder(room, this.#last - this.events.length))
      );
      this.#filled = true;
      this.#retryTimer.reset();
      this.#changed();
    } catch (error) {
      // The state already shows it.
      if (room.state === 'refused' || room.state === 'left') return;
      this.error = error as ClientError;
      this.#changed();
      this.#retryTimer.schedule(() => void this.#fill(room));
    }
  }

  /** Resolves with whether older events may exist. */
  loadOlder(room: Room, limit = PAGE): Promise<boolean> {
    if (!this.hasOlder(room)) return Promise.resolve(false);
    this.#loading ??= this.#load(room, limit).finally(() => {
      this.#loading = undefined;
      if (this.#trim()) this.#changed();
    });
    return this.#loading;
  }

  /** Resolves with the key of the event at `position`; undefined if the list cannot have it. */
  async loadUntil(room: Room, position: string): Promise<string | undefined> {
    await room.ready;
    for (let hasMore = true; ; ) {
      const found = this.events.find((event) => event.position === position);
      if (found || !hasMore) return found?.key;
      hasMore = await this.loadOlder(room, LARGE_PAGE);
    }
  }

  async #load(room: Room, limit: number): Promise<boolean> {
    let missing = limit;
    // `limit` counts listed events only.
    while (missing > 0 && !this.#exhausted) {
      const before = this.#oldest;
      const pageSize = this.#names ? MAX_PAGE : missing;
      const { events, more } = await room.history({
        limit: pageSize,
        ...(before !== undefined && { before }),
      });
      const listed = events.filter((event) => this.#shouldInclude(event));
      const older = listed.slice(0, missing);
      // The next call reads the events of this page beyond `limit` again.
      const oldest = (listed.length > older.length ? older : events).at(-1)?.position;
      if (oldest !== undefined) this.#oldest = oldest;
      this.#exhausted = !more && listed.length === older.length;
      this.#fetched += older.length;
      missing -= older.length;
      // Without `before` the page may overlap with new events; `#shouldInclude` drops those.
      this.events = [...older.reverse().map((event) => this.#entry(event)), ...this.events];
    }
    this.error = undefined;
    this.#changed();
    return !this.#exhausted;
  }

  #append(heard: EventContext): void {
    this.#oldest ??= heard.position;
    if (!this.#shouldInclude(heard)) return;
    this.events = [...this.events, this.#entry(heard)];
    this.#trim();
    this.#changed();
  }

  #gap({ reason, since, recovered }: ClientDiscontinuity): void {
    const gap = { key: this.#key(), reason, since, recovered, after: this.events.at(-1)?.key };
    this.discontinuities = [...this.discontinuities, gap].slice(-this.#limit);
    this.#changed();
  }

  #shouldInclude({ event, position }: TimelineInput): boolean {
    if (this.#names && !this.#names.has(event)) return false;
    return position === undefined || !this.#positions.has(position);
  }

  #entry(input: TimelineInput): TimelineEvent {
    const { event, data, from, position, at } = input;
    if (position !== undefined) this.#positions.add(position);
    const key = this.#sends.keyOf(input) ?? position ?? this.#key();
    return { key, event, data, from, position, at, status: 'received', error: undefined };
  }

  #key(): string {
    return `#${++this.#serial}`;
  }

  /** Removes the oldest events above the limit, but not while a page is loading. Returns whether it removed any. */
  #trim(): boolean {
    const surplus = this.#loading ? 0 : this.events.length - this.#limit - this.#fetched;
    if (surplus <= 0) return false;
    // `undefined`: a gap before the first event.
    const gone = new Set<string | undefined>([undefined]);
    for (const { key, position } of this.events.slice(0, surplus)) {
      gone.add(key);
      if (position !== undefined) this.#positions.delete(position);
    }
    this.events = this.events.slice(surplus);
    this.#oldest = this.events.find(({ position }) => position !== undefined)?.position;
    this.#exhausted = false;
    if (this.discontinuities.some(({ after }) => gone.has(after))) {
      this.discontinuities = this.discontinuities.filter(({ after }) => !gone.has(after));
    }
    return true;
  }
}
