import type { ClientDiscontinuity, ClientError, EventContext, Room } from '../client/index.js';
import type { RoomDiscontinuity, TimelineEvent } from './types.js';

const NONE: readonly never[] = [];
const PAGE = 50;
/** The largest page that the server sends. */
const MAX_PAGE = 1_000;

type TimelineInput = Pick<EventContext, 'event' | 'data'> & {
  readonly from?: string;
  readonly position?: string;
  readonly at?: number;
};

/** What was said in a room, as far as it is collected: bounded, in order, each event once. */
export class RoomTimeline {
  /** The same array until it changes. */
  events: readonly TimelineEvent[] = NONE;
  /** The same array until it changes. */
  discontinuities: readonly RoomDiscontinuity[] = NONE;
  /** Why older events that were asked for could not be had. */
  error: ClientError | undefined;

  readonly #names: ReadonlySet<string> | undefined;
  readonly #changed: () => void;
  readonly #positions = new Set<string>();
  #limit = 0;
  /** How many past events the list begins with. */
  #last = 0;
  /** How many events were fetched beyond the limit, because somebody wanted to see them. */
  #fetched = 0;
  #serial = 0;
  /** What is older than this may be fetched; undefined while nothing with a position was heard. */
  #oldest: string | undefined;
  #exhausted = false;
  #loading: Promise<boolean> | undefined;

  /** `names`: which events to collect; undefined for all. `changed` is called after something has changed. */
  constructor(names: readonly string[] | undefined, changed: () => void) {
    this.#names = names && new Set(names);
    this.#changed = changed;
  }

  /** A component lists up to `limit` events and begins with the last `last` ones of `room`, now or once there is one. */
  require(limit: number, last: number, room: Room | undefined): void {
    this.#limit = Math.max(this.#limit, limit);
    if (last <= this.#last) return;
    this.#last = last;
    if (room) void this.#fill(room);
  }

  /** Whether there may be older events. */
  hasOlder({ position }: Room): boolean {
    return position !== undefined && !this.#exhausted;
  }

  /** Listens to a room; returns how to stop. */
  attach(room: Room): () => void {
    void this.#fill(room);
    const stops = [
      room.on('*', (_, context) => this.#append(context)),
      room.onDiscontinuity((discontinuity) => this.#gap(discontinuity)),
    ];
    return () => {
      for (const stop of stops) stop();
    };
  }

  /**
   * Reads older events until the list has the last `#last` ones. The room itself begins with fewer of them when it was
   * joined for another component, or when some of its events are not listed.
   */
  async #fill(room: Room): Promise<void> {
    if (this.#last === 0) return;
    try {
      await room.ready;
      while (
        this.events.length < this.#last &&
        (await this.loadOlder(room, this.#last - this.events.length))
      );
    } catch (error) {
      // That the room was refused or left, its state tells.
      if (room.state === 'refused' || room.state === 'left') return;
      this.error = error as ClientError;
      this.#changed();
    }
  }

  /** Puts a page before the others; resolves with whether there are more. */
  loadOlder(room: Room, limit = PAGE): Promise<boolean> {
    if (!this.hasOlder(room)) return Promise.resolve(false);
    this.#loading ??= this.#load(room, limit).finally(() => {
      this.#loading = undefined;
      if (this.#trim()) this.#changed();
    });
    return this.#loading;
  }

  async #load(room: Room, limit: number): Promise<boolean> {
    let missing = limit;
    // A page may hold events that are not listed: `limit` counts those that are.
    while (missing > 0 && !this.#exhausted) {
      const before = this.#oldest;
      const pageSize = this.#names ? MAX_PAGE : missing;
      const { events, more } = await room.history({
        limit: pageSize,
        ...(before !== undefined && { before }),
      });
      const listed = events.filter((event) => this.#shouldInclude(event));
      const older = listed.slice(0, missing);
      // The rest of a page with more listed events than asked for is read again.
      const oldest = (listed.length > older.length ? older : events).at(-1)?.position;
      if (oldest !== undefined) this.#oldest = oldest;
      this.#exhausted = !more && listed.length === older.length;
      this.#fetched += older.length;
      missing -= older.length;
      // Without an older position the page may overlap with events that arrived meanwhile: each is listed once.
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

  /** One of those to collect, that is not there yet. */
  #shouldInclude({ event, position }: TimelineInput): boolean {
    if (this.#names && !this.#names.has(event)) return false;
    return position === undefined || !this.#positions.has(position);
  }

  #entry({ event, data, from, position, at }: TimelineInput): TimelineEvent {
    if (position !== undefined) this.#positions.add(position);
    return { key: position ?? this.#key(), event, data, from, position, at };
  }

  #key(): string {
    return `#${++this.#serial}`;
  }

  /** Gives up what is too much. */
  #trim(): boolean {
    const surplus = this.#loading ? 0 : this.events.length - this.#limit - this.#fetched;
    if (surplus <= 0) return false;
    // A gap before the first event is older than the list, too.
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
