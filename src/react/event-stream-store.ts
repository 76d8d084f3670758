import { shouldReconnect } from '../protocol/close-codes.js';
import { Listeners } from './listeners.js';
import { RefCounted } from './ref-counted.js';

/** One event of a stream, as {@link useEventStream} lists it. */
export interface StreamEvent<T = unknown> {
  /** Unique in the list, for React's `key`. */
  readonly key: number;
  /** Name of the event. */
  readonly event: string;
  /** Result of `parse`. */
  readonly data: T;
  /** `lastEventId` of the event; empty if the server sends none. */
  readonly id: string;
}

/**
 * `connecting`: also before a reconnect. `closed`: permanently, by the server or because there is no
 * EventSource. `idle`: the URL is null.
 */
export type StreamState = 'connecting' | 'open' | 'closed' | 'idle';

/** A stream, from {@link useEventStream}: the same object until something in it changes. */
export interface EventStreamView<T = unknown> {
  /** Whether the stream is connected. */
  readonly state: StreamState;
  /** The events received, oldest first: the same array until it changes. */
  readonly events: readonly StreamEvent<T>[];
}

/** A change of any of these makes a new stream. */
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

export const CONNECTING: EventStreamView = { state: 'connecting', events: [] };

/** One component's stream. It connects after `subscribe`. */
export class EventStreamStore {
  readonly #url: string;
  readonly #settings: StreamSettings;
  readonly #listeners = new Listeners();
  readonly #refCount: RefCounted;
  #source: EventSourceLike | undefined;
  #view = CONNECTING;
  #serial = 0;

  constructor(url: string, settings: StreamSettings) {
    this.#url = url;
    this.#settings = settings;
    this.#refCount = new RefCounted({
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
    const release = this.#refCount.acquire();
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
    for (const name of names) source.addEventListener(name, (message) => this.#onMessage(name, message));
  }

  #onMessage(event: string, { data: text, lastEventId: id }: StreamMessage): void {
    const { limit, parse } = this.#settings;
    // The browser reports an error of `parse`; later events are listed.
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
