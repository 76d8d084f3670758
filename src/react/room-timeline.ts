import type { ClientDiscontinuity, ClientError, EventContext, Room } from '../client/index.js';
import type { RoomDiscontinuity, TimelineEvent } from './types.js';

const NONE: readonly never[] = [];
const PAGE = 50;

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

  /** Keeps at least so many. */
  raiseLimit(limit: number): void {
    this.#limit = Math.max(this.#limit, limit);
  }

  /** Whether there may be older events. */
  hasOlder({ position }: Room): boolean {
    return position !== undefined && !this.#exhausted;
  }

  /** Listens to a room; returns how to stop. */
  attach(room: Room): () => void {
    const stops = [
      room.on('*', (_, context) => this.#append(context)),
      room.onDiscontinuity((discontinuity) => this.#gap(discontinuity)),
    ];
    return () => {
      for (const stop of stops) stop();
    };
  }

  /** Begins with the last events of a room that is joined already. */
  async fill(room: Room, last: number): Promise<void> {
    try {
      await room.ready;
      await this.loadOlder(room, last);
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
    const before = this.#oldest;
    const { events, more } = await room.history({ limit, ...(before !== undefined && { before }) });
    // Where nothing was heard before, the page may hold what was heard meanwhile, or is still to be: once is enough.
    const older = events.filter((heard) => this.#shouldInclude(heard)).reverse();
    const oldest = events.at(-1)?.position;
    this.error = undefined;
    if (oldest !== undefined) this.#oldest = oldest;
    this.#exhausted = !more;
    this.#fetched += older.length;
    this.events = [...older.map((heard) => this.#entry(heard)), ...this.events];
    this.#changed();
    return more;
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
    const gone = new Set<string | undefined>();
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
