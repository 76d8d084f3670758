import { shouldReconnect } from '../protocol/close-codes.js';
import { Listeners } from './listeners.js';
import { RefCounted } from './ref-counted.js';

/** One event of a stream, as {@link useEventStream} lists it. */
export interface StreamEvent<T = unknown> {
  /** Another one for each event of the list: what React wants as `key`. */
  readonly key: number;
  /** Its name. */
  readonly event: string;
  /** What it carries, as `parse` has made it of the text. */
  readonly data: T;
  /** The stream's `lastEventId` with it; empty where the server gives none. */
  readonly id: string;
}

/**
 * `connecting`: for the first time or again. `closed`: for good, because the server said so, or its answer was none
 * that a browser comes back from. `idle`: there is no stream, for its URL is null.
 */
export type StreamState = 'connecting' | 'open' | 'closed' | 'idle';

/** A stream as it is now: the same object until something in it changes. From {@link useEventStream}. */
export interface EventStreamView<T = unknown> {
  /** Whether it is connected. */
  readonly state: StreamState;
  /** What came, oldest first: the same array until it changes. */
  readonly events: readonly StreamEvent<T>[];
}

/** What makes a stream another one. */
export interface StreamSettings {
  readonly names: readonly string[];
  readonly limit: number;
  readonly withCredentials: boolean;
  readonly parse: (text: string, event: string) => unknown;
}

interface StreamMessage {
  readonly data: string;
  readonly lastEventId: string;
}

/** The part of the browser's EventSource that is used. */
interface EventSourceLike {
  readonly readyState: number;
  addEventListener(type: string, listener: (event: StreamMessage) => void): void;
  close(): void;
}

const platform = globalThis as unknown as {
  readonly EventSource?: new (url: string, options: { withCredentials: boolean }) => EventSourceLike;
};

/** `EventSource.CLOSED` */
const CLOSED = 2;

/** What a URL is before anything has come. */
export const CONNECTING: EventStreamView = { state: 'connecting', events: [] };

/** One component's stream, for `useSyncExternalStore`. Nothing happens before `subscribe`. */
export class EventStreamStore {
  readonly #url: string;
  readonly #settings: StreamSettings;
  readonly #listeners = new Listeners();
  readonly #lease: RefCounted;
  #source: EventSourceLike | undefined;
  #view = CONNECTING;
  #serial = 0;

  constructor(url: string, settings: StreamSettings) {
    this.#url = url;
    this.#settings = settings;
    this.#lease = new RefCounted({
      open: () => this.#open(),
      close: () => {
        this.#source?.close();
        this.#source = undefined;
        this.#view = { ...this.#view, state: 'connecting' };
      },
    });
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    const forget = this.#listeners.add(listener);
    const release = this.#lease.acquire();
    return () => {
      forget();
      release();
    };
  };

  readonly snapshot = (): EventStreamView => this.#view;

  #open(): void {
    const { names, withCredentials } = this.#settings;
    if (!platform.EventSource) return this.#show('closed');
    const source = new platform.EventSource(this.#url, { withCredentials });
    this.#source = source;
    source.addEventListener('open', () => this.#show('open'));
    source.addEventListener('error', () =>
      this.#show(source.readyState === CLOSED ? 'closed' : 'connecting'),
    );
    source.addEventListener('$close', ({ data }) => {
      if (shouldReconnect((JSON.parse(data) as { code: number }).code)) return;
      source.close();
      this.#show('closed');
    });
    for (const name of names) source.addEventListener(name, (message) => this.#hear(name, message));
  }

  #hear(event: string, { data: text, lastEventId: id }: StreamMessage): void {
    const { limit, parse } = this.#settings;
    // What it throws the browser reports, like that of any listener; the other events are none the worse.
    const data = parse(text, event);
    const heard = { key: ++this.#serial, event, data, id };
    this.#view = { ...this.#view, events: [...this.#view.events, heard].slice(-limit) };
    this.#listeners.notify();
  }

  #show(state: StreamState): void {
    if (state === this.#view.state) return;
    this.#view = { ...this.#view, state };
    this.#listeners.notify();
  }
}
