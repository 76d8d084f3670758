import type { ClientDiscontinuity, ClientError, EventContext, Room } from '../client/index.js';
import type { PendingSends } from './pending-sends.js';
import { readListed } from './read-listed.js';
import { RetryTimer } from './retry-timer.js';
import type { RoomDiscontinuity, TimelineEvent } from './types.js';

const NONE: readonly never[] = [];
const PAGE = 50;
/** Page of `loadUntil`. */
const LARGE_PAGE = 200;

type TimelineInput = Pick<EventContext, 'event' | 'data'> & {
  readonly from?: string;
  readonly position?: string;
  readonly at?: number;
  readonly replayed?: true;
};

export interface TimelineOptions {
  /** The position to begin at, instead of the latest event. */
  readonly around?: string | undefined;
  /** Number of loaded events to keep besides the limit. @default Infinity */
  readonly maxLoaded?: number | undefined;
}

/** The position of a room that has had no event begins with a time and ends with 0; those of events do not. */
function hasNoHistory({ position }: Room): boolean {
  return position?.endsWith('-0') === true;
}

/**
 * A list in order, each event once. It ends with the room's latest event; or with an older one, if it has begun around a
 * position or has more loaded events than it keeps, until `loadNewer` has reached the latest.
 */
export class RoomTimeline {
  /** The same array until it changes. */
  events: readonly TimelineEvent[] = NONE;
  /** The same array until it changes. */
  discontinuities: readonly RoomDiscontinuity[] = NONE;
  /** Error of the last read of the history. */
  error: ClientError | undefined;

  readonly #names: ReadonlySet<string> | undefined;
  readonly #changed: () => void;
  readonly #sends: PendingSends;
  readonly #around: string | undefined;
  readonly #maxLoaded: number;
  #listed:
    | { readonly events: unknown; readonly sent: unknown; readonly all: readonly TimelineEvent[] }
    | undefined;
  readonly #positions = new Set<string>();
  #limit = 0;
  /** Number of past events to begin with. */
  #last = 0;
  /** The list has begun with `#last` events, or all there were. */
  #filled = false;
  #filling: Promise<void> | undefined;
  #isAttached = false;
  readonly #retryTimer = new RetryTimer();
  /** Events that were loaded; not counted towards the limit. */
  #fetched = 0;
  /** The first event came from the history. */
  #isPaged = false;
  #serial = 0;
  /** Older events can be loaded before this position. */
  #oldest: string | undefined;
  #exhausted = false;
  #loadingOlder: Promise<boolean> | undefined;
  /** The list ends before the room's latest event, so that live events do not follow its last one. */
  #detached: boolean;
  /** Increases when the list begins again. */
  #generation = 0;
  /** Newer events can be loaded after this position. */
  #newest: string | undefined;
  #loadingNewer: Promise<boolean> | undefined;
  /** While a page is read that may reach the latest event: what arrives in the meantime. */
  #arrived: (() => void)[] | undefined;

  /** Without `names`: all events. */
  constructor(
    names: readonly string[] | undefined,
    sends: PendingSends,
    changed: () => void,
    { around, maxLoaded = Infinity }: TimelineOptions = {},
  ) {
    this.#sends = sends;
    this.#names = names && new Set(names);
    this.#changed = changed;
    this.#around = around;
    this.#maxLoaded = maxLoaded;
    this.#detached = around !== undefined;
  }

  /** The room's events, then pending ones, which are the latest: the same array until it changes. */
  get listed(): readonly TimelineEvent[] {
    const { events } = this;
    if (this.#detached) return events;
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
    if (room) void this.#keepFilling(room);
  }

  /** The list has begun with `last` past events, or all there were. */
  hasBegunWith(last: number): boolean {
    if (last === 0 && this.#around === undefined) return true;
    return this.#filled && last <= this.#last;
  }

  /** The list does not reach the room's latest event. */
  get isDetached(): boolean {
    return this.#detached;
  }

  /** Newer events may exist. */
  get hasNewer(): boolean {
    return this.#detached && this.#newest !== undefined;
  }

  /** Older events may exist. */
  hasOlder({ position }: Room): boolean {
    return !this.#exhausted && (this.#around === undefined ? position : this.#oldest) !== undefined;
  }

  attach(room: Room): () => void {
    this.#isAttached = true;
    const begin = () => {
      if (room.state === 'joined' && this.events.length === 0 && hasNoHistory(room)) this.#exhausted = true;
      void this.#keepFilling(room);
    };
    begin();
    const stops = [
      // A refused room is joined by `retry`.
      room.onState((state) => state === 'joined' && begin()),
      room.on('*', (_, context) => this.#receive(() => this.#append(context))),
      room.onDiscontinuity((discontinuity) => this.addGap(discontinuity)),
    ];
    return () => {
      this.#isAttached = false;
      this.#retryTimer.cancel();
      for (const stop of stops) stop();
    };
  }

  /** As `fill`; repeats it after an error. */
  async #keepFilling(room: Room): Promise<void> {
    this.#retryTimer.cancel();
    try {
      await this.fill(room);
      this.#retryTimer.reset();
    } catch (error) {
      // The state already shows it, or nobody sees the list.
      if (room.state === 'refused' || room.state === 'left' || !this.#isAttached) return;
      const { code } = error as ClientError;
      // It was the read of an earlier room, before the client was closed and connected again.
      if (code === 'CLOSED') return this.#keepFilling(room);
      this.error = error as ClientError;
      // A malformed position stays malformed.
      if (code === 'INVALID') this.#filled = true;
      else this.#retryTimer.schedule(() => void this.#keepFilling(room));
      this.#changed();
    }
  }

  /**
   * Reads past events until the list has `#last`. The room begins with fewer if it was joined for another component, or
   * if some of its events are not listed.
   */
  fill(room: Room): Promise<void> {
    if (this.hasBegunWith(this.#last)) return Promise.resolve();
    this.#filling ??= this.#fill(room);
    return this.#filling;
  }

  async #fill(room: Room): Promise<void> {
    try {
      await room.ready;
      if (this.#around !== undefined && this.#newest === undefined) await this.#begin(room, this.#around);
      // A room without a position has no history.
      let more = !this.#exhausted && room.position !== undefined;
      while (more && this.events.length < this.#last)
        more = await this.#loadOlder(room, this.#last - this.events.length);
      while (this.#detached && this.events.length < this.#last)
        await this.#loadNewer(room, this.#last - this.events.length);
      this.#filled = true;
      this.#changed();
    } finally {
      this.#filling = undefined;
      this.#arrived = undefined;
    }
  }

  /** The event at the position, with as many before it as after it. */
  async #begin(room: Room, around: string): Promise<void> {
    this.#arrived = [];
    const page = await room.history({ around, limit: this.#last });
    this.#oldest = page.events[0]?.position ?? around;
    this.#newest = page.events.at(-1)?.position ?? around;
    this.#exhausted = !page.older;
    const listed = page.events.filter((event) => this.#shouldInclude(event));
    this.#fetched = listed.length;
    this.#isPaged = true;
    this.events = listed.map((event) => this.#entry(event, true));
    if (page.discontinuity) this.#gap(page.discontinuity, this.#keyBefore(page.discontinuity));
    this.error = undefined;
    if (!page.more) return this.#reachLatest();
    // Near the beginning of the history, or if few events are listed.
    const missing = this.#last - this.events.length;
    if (missing > 1) await this.#loadNewer(room, missing >> 1);
  }

  /** Resolves with whether older events may exist. */
  async loadOlder(room: Room, limit = PAGE): Promise<boolean> {
    if (this.#around !== undefined) await this.fill(room);
    return this.hasOlder(room) && this.#loadOlder(room, limit);
  }

  #loadOlder(room: Room, limit: number): Promise<boolean> {
    this.#loadingOlder ??= this.#loadPage(room, 'before', limit).finally(() => {
      this.#loadingOlder = undefined;
      this.#trimAndNotify();
    });
    return this.#loadingOlder;
  }

  /** Resolves with whether newer events may exist. Without any, live events follow. */
  async loadNewer(room: Room, limit = PAGE): Promise<boolean> {
    if (this.#detached) await this.fill(room);
    return this.#detached && this.#loadNewer(room, limit);
  }

  #loadNewer(room: Room, limit: number): Promise<boolean> {
    return this.#whileLoadingNewer(() => this.#loadPage(room, 'since', limit));
  }

  /** One read at a time may reach the latest event. */
  #whileLoadingNewer(read: () => Promise<boolean>): Promise<boolean> {
    this.#loadingNewer ??= read().finally(() => {
      this.#loadingNewer = undefined;
      this.#arrived = undefined;
      this.#trimAndNotify();
    });
    return this.#loadingNewer;
  }

  /** Begins again at the latest event, unless the list ends there. Keeps no more loaded events than the limit. */
  async jumpToLatest(room: Room, last: number): Promise<void> {
    await this.fill(room);
    while (this.#detached) {
      // It may reach the latest event; its failure is that of another call.
      if (this.#loadingNewer) await this.#loadingNewer.catch(() => {});
      else await this.#whileLoadingNewer(() => this.#restart(room, last));
    }
    this.#fetched = 0;
    this.#trimAndNotify();
  }

  /** The list stays until its new events have been read. */
  async #restart(room: Room, last: number): Promise<boolean> {
    this.#arrived = [];
    const { events, end, more } = await readListed(room, {
      direction: 'before',
      position: undefined,
      limit: Math.min(last, this.#limit),
      isSelective: this.#names !== undefined,
      isListed: ({ event }) => this.#names?.has(event) ?? true,
    });
    // An older page that is being read does not belong before these events.
    this.#generation++;
    this.#positions.clear();
    this.discontinuities = NONE;
    this.events = [...events].reverse().map((event) => this.#entry(event, true));
    this.#isPaged = true;
    this.#oldest = end;
    this.#exhausted = !more;
    this.error = undefined;
    this.#reachLatest();
    this.#changed();
    return false;
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

  /** Resolves with whether further events may exist in this direction. */
  async #loadPage(room: Room, direction: 'before' | 'since', limit: number): Promise<boolean> {
    const isOlder = direction === 'before';
    const generation = this.#generation;
    if (!isOlder) this.#arrived = [];
    const reading = readListed(room, {
      direction,
      position: isOlder ? this.#oldest : this.#newest,
      limit,
      isSelective: this.#names !== undefined,
      // Without a position the page may overlap with new events.
      isListed: (event) => this.#shouldInclude(event),
    });
    const { events, end, more, discontinuity } = await reading.catch((error: ClientError) => {
      // The state shows that the client or the room was closed.
      if (error.code !== 'CLOSED') {
        this.error = error;
        this.#changed();
      }
      throw error;
    });
    if (generation !== this.#generation) return isOlder ? !this.#exhausted : this.#detached;
    if (discontinuity) this.#gap(discontinuity, this.#keyBefore(discontinuity));
    const loaded = events.map((event) => this.#entry(event, true));
    this.#fetched += loaded.length;
    this.#isPaged = true;
    if (isOlder) {
      this.#oldest = end;
      this.#exhausted = !more;
      this.events = [...loaded.reverse(), ...this.events];
      this.#trimLatest(loaded.length);
    } else {
      this.#newest = end;
      this.events = [...this.events, ...loaded];
      if (!more) this.#reachLatest();
    }
    this.error = undefined;
    this.#changed();
    return more;
  }

  /** A page has no newer events behind it: what has arrived since it was requested follows, and live events. */
  #reachLatest(): void {
    const arrived = this.#arrived ?? [];
    this.#arrived = undefined;
    this.#detached = false;
    for (const apply of arrived) apply();
  }

  #receive(apply: () => void): void {
    if (this.#detached) this.#arrived?.push(apply);
    else apply();
  }

  #append(heard: EventContext): void {
    // The catch-up of a join may still deliver events from before the pages that were loaded; `loadOlder` finds those.
    if (this.#isPaged && (heard.at ?? Infinity) < (this.events[0]?.at ?? 0)) return;
    this.#oldest ??= heard.position;
    if (!this.#shouldInclude(heard)) return;
    this.events = [...this.events, this.#entry(heard)];
    this.#trim();
    this.#changed();
  }

  /** Events may be missing behind the latest one. */
  addGap(discontinuity: ClientDiscontinuity): void {
    this.#receive(() => this.#gap(discontinuity, this.events.at(-1)?.key));
  }

  /** `after`: the key of the event before the gap. */
  #gap({ reason, since, recovered }: ClientDiscontinuity, after: string | undefined): void {
    const gap = { key: this.#key(), reason, since, recovered, after };
    this.discontinuities = [...this.discontinuities, gap].slice(-this.#limit);
    this.#changed();
  }

  /** The key of the last event up to the time of a gap. */
  #keyBefore({ since }: ClientDiscontinuity): string | undefined {
    return this.events.filter(({ at }) => at !== undefined && at <= since).at(-1)?.key;
  }

  #shouldInclude({ event, position }: TimelineInput): boolean {
    if (this.#names && !this.#names.has(event)) return false;
    return position === undefined || !this.#positions.has(position);
  }

  #entry(input: TimelineInput, replayed = input.replayed === true): TimelineEvent {
    const { event, data, from, position, at } = input;
    if (position !== undefined) this.#positions.add(position);
    const key = this.#sends.keyOf(input) ?? position ?? this.#key();
    return { key, event, data, from, position, at, replayed, status: 'received', error: undefined };
  }

  #key(): string {
    return `#${++this.#serial}`;
  }

  #trimAndNotify(): void {
    if (this.#trim()) this.#changed();
  }

  /** Removes the oldest events above the limit, but not while a page is loading. Returns whether it removed any. */
  #trim(): boolean {
    if (this.#loadingOlder || this.#loadingNewer) return false;
    const surplus = this.events.length - this.#limit - Math.min(this.#fetched, this.#keptPages);
    if (surplus <= 0) return false;
    // A gap before the first event is no longer shown either.
    this.#forget(this.events.slice(0, surplus), [undefined]);
    this.events = this.events.slice(surplus);
    this.#oldest = this.events.find(({ position }) => position !== undefined)?.position;
    this.#exhausted = false;
    return true;
  }

  /** After a page of `loaded` older events: removes the latest ones that are too many. `loadNewer` finds them. */
  #trimLatest(loaded: number): void {
    const kept = this.events.slice(0, Math.max(this.#limit + this.#keptPages, loaded));
    const newest = kept.filter(({ position }) => position !== undefined).at(-1)?.position;
    if (kept.length === this.events.length || newest === undefined) return;
    this.#forget(this.events.slice(kept.length));
    this.events = kept;
    this.#newest = newest;
    this.#detached = true;
    // A newer page that is being read does not follow these events.
    this.#generation++;
  }

  /** Number of loaded events to keep; the list never has fewer events than it begins with. */
  get #keptPages(): number {
    return Math.max(this.#maxLoaded, this.#last);
  }

  /** `places`: further places whose gaps are removed. */
  #forget(events: readonly TimelineEvent[], places: readonly undefined[] = []): void {
    const gone = new Set<string | undefined>([...places, ...events.map(({ key }) => key)]);
    for (const { position } of events) if (position !== undefined) this.#positions.delete(position);
    if (this.discontinuities.some(({ after }) => gone.has(after))) {
      this.discontinuities = this.discontinuities.filter(({ after }) => !gone.has(after));
    }
  }
}
