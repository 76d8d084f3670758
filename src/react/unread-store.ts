import type { Client, ClientError, EventContext, Room } from '../client/index.js';
import { Listeners } from './listeners.js';
import { RetryTimer } from './retry-timer.js';
import type { SharedRoom } from './shared-room.js';

/** Unread messages of a room, from {@link useUnread}: the same object until something in it changes. */
export interface UnreadView {
  /** Number of unread events of other users; counted up to 100. */
  readonly unread: number;
  /** More than `unread` are unread. */
  readonly capped: boolean;
  /** Position up to which events are read; undefined in a room without history, and until the room is joined. */
  readonly readUpTo: string | undefined;
  /** Why the server refused the room, or its history could not be read. That is read again by itself, after a growing wait. */
  readonly error: ClientError | undefined;
  /**
   * Marks every event as read, for all components. Returns the position of the latest one, for `since`; undefined in a
   * room without history. The same function until the room changes.
   */
  readonly markRead: () => string | undefined;
}

const MAX_UNREAD = 100;
/** In events. */
const PAGE = 200;
/** Few events of a page may count; with more pages than these, the rest is `capped`. */
const MAX_PAGES = 5;

export const NO_UNREAD: UnreadView = {
  unread: 0,
  capped: false,
  readUpTo: undefined,
  error: undefined,
  markRead: () => undefined,
};

type Counted = Pick<EventContext, 'event' | 'from' | 'position'>;

/** Shared by the components of a client that count the same events of a room; keeps its mark while none is mounted. */
export class UnreadStore {
  readonly #client: Client;
  readonly #open: () => SharedRoom;
  readonly #names: ReadonlySet<string> | undefined;
  readonly #listeners = new Listeners();
  readonly #retryTimer = new RetryTimer();
  /** Positions, or other unique keys in a room without history. */
  #unread = new Set<string>();
  /** Of the unread ones, those that arrived during a read, which may not contain them. */
  #arrived = new Set<string>();
  /** Events beyond those in `#unread` are unread. */
  #capped = false;
  /** Position up to which events are read. */
  #mark: string | undefined;
  /** The last `since` of a component. */
  #since: string | undefined;
  /** Whose mark it is; undefined before the first connection. */
  #user: string | undefined;
  #room: Room | undefined;
  /** The room was joined since it was opened: later events are new. */
  #started = false;
  #serial = 0;
  #reading = 0;
  #users = 0;
  #detach = (): void => {};
  #view: UnreadView = { ...NO_UNREAD, markRead: () => this.#markRead() };

  /** Without `names`: all events. */
  constructor(client: Client, open: () => SharedRoom, names: readonly string[] | undefined) {
    this.#client = client;
    this.#open = open;
    this.#names = names && new Set(names);
  }

  /** `since`: the component's mark; a later one than before replaces the store's. */
  subscribe(listener: () => void, since: string | undefined): () => void {
    const forget = this.#listeners.add(listener);
    const shared = this.#open();
    const release = shared.acquire({}, () => {});
    if (since !== undefined && since !== this.#since) {
      this.#since = since;
      if (since !== this.#mark) {
        this.#mark = since;
        if (this.#started) void this.#read();
      }
    }
    if (this.#users++ === 0) this.#detach = shared.attach((room) => this.#attach(room));
    return () => {
      forget();
      if (--this.#users === 0) this.#detach();
      release();
    };
  }

  readonly snapshot = (): UnreadView => this.#view;

  #attach(room: Room): () => void {
    this.#room = room;
    const start = () => {
      if (room.state === 'refused') return this.#update({ error: room.error });
      // Reading stops while the room is refused.
      if (room.state !== 'joined' || (this.#started && !this.#view.error)) return;
      this.#started = true;
      void this.#read();
    };
    this.#forgetOtherUser();
    const stops = [
      room.onState(start),
      this.#client.on('open', () => this.#forgetOtherUser() && this.#started && void this.#read()),
      room.on('*', (_, context) => this.#onEvent(context)),
      room.onDiscontinuity(({ recovered }) => recovered || (this.#started && void this.#read())),
    ];
    start();
    return () => {
      for (const stop of stops) stop();
      this.#retryTimer.cancel();
      this.#reading++;
      this.#started = false;
      this.#room = undefined;
    };
  }

  /** After a log-in or a log-out: what another user has read says nothing. Returns whether it was so. */
  #forgetOtherUser(): boolean {
    const { user } = this.#client;
    const isOther = this.#user !== undefined && user !== undefined && user !== this.#user;
    this.#user = user ?? this.#user;
    if (isOther) this.#clear(undefined);
    return isOther;
  }

  #onEvent(event: EventContext): void {
    // Events before the join are those of `last`: the history has them.
    if (!this.#started || !this.#counts(event)) return;
    const key = event.position ?? `#${++this.#serial}`;
    this.#unread.add(key);
    this.#arrived.add(key);
    this.#update({});
  }

  /** Counts the events of the history after the mark. A later call replaces an earlier one that is under way. */
  async #read(): Promise<void> {
    const room = this.#room;
    const number = ++this.#reading;
    this.#retryTimer.cancel();
    if (!room) return;
    if (this.#mark === undefined) {
      // The first time: what is there counts as read.
      this.#mark = room.position;
      return this.#update({ error: undefined });
    }
    this.#arrived.clear();
    try {
      const found = await this.#findUnread(room, this.#mark);
      if (number !== this.#reading) return;
      this.#retryTimer.reset();
      this.#unread = new Set([...found.positions, ...this.#arrived]);
      this.#capped = found.capped;
      this.#update({ error: undefined });
    } catch (error) {
      if (number !== this.#reading) return;
      this.#update({ error: error as ClientError });
      if (room.state === 'joined' || room.state === 'joining')
        this.#retryTimer.schedule(() => void this.#read());
    }
  }

  async #findUnread(room: Room, mark: string): Promise<{ positions: string[]; capped: boolean }> {
    const positions: string[] = [];
    let before: string | undefined;
    for (let page = 0; page < MAX_PAGES && positions.length <= MAX_UNREAD; page++) {
      const { events, more } = await room.history({ limit: PAGE, ...(before !== undefined && { before }) });
      for (const event of events) {
        if (event.position === mark) return { positions, capped: false };
        if (this.#counts(event)) positions.push(event.position);
      }
      before = events.at(-1)?.position;
      if (!more || before === undefined) return { positions, capped: false };
    }
    return { positions, capped: true };
  }

  #counts({ event, from }: Counted): boolean {
    return from !== this.#client.user && (this.#names ? this.#names.has(event) : event[0] !== '$');
  }

  #markRead(): string | undefined {
    if (this.#started) this.#clear(this.#room?.position);
    // Before the join, what is there then counts as read. Without a component it is unknown up to where.
    else this.#clear(this.#users > 0 ? undefined : this.#mark);
    return this.#mark;
  }

  /** Nothing is unread after `mark`. */
  #clear(mark: string | undefined): void {
    this.#reading++;
    this.#retryTimer.cancel();
    this.#mark = mark;
    this.#unread.clear();
    this.#arrived.clear();
    this.#capped = false;
    this.#update({ error: undefined });
  }

  /** Further events need not be known one by one. */
  #trim(): void {
    for (const keys of [this.#unread, this.#arrived])
      for (const key of keys) {
        if (keys.size <= MAX_UNREAD) break;
        keys.delete(key);
      }
  }

  #update(news: Pick<Partial<UnreadView>, 'error'>): void {
    const { size } = this.#unread;
    this.#capped ||= size > MAX_UNREAD;
    if (this.#capped) this.#trim();
    const next = {
      ...this.#view,
      ...news,
      unread: Math.min(size, MAX_UNREAD),
      capped: this.#capped,
      readUpTo: this.#mark,
    };
    const names = Object.keys(next) as (keyof UnreadView)[];
    if (names.every((name) => next[name] === this.#view[name])) return;
    this.#view = next;
    this.#listeners.notifySoon();
  }
}
