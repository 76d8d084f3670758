import {
  ClientError,
  connectEventStream,
  type EventStreamClient,
  type EventStreamClientOptions,
  type HeaderMap,
} from '../event-stream/index.js';
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
  /** From the history: from before the connection, or missed by it. False for live events, and for servers other than rollcall's. */
  readonly replayed: boolean;
}

/**
 * `connecting`: also before a reconnect. `closed`: permanently, by the server. `idle`: the URL is null.
 */
export type StreamState = 'connecting' | 'open' | 'closed' | 'idle';

/** A stream, from {@link useEventStream}: the same object until something in it changes. */
export interface EventStreamView<T = unknown> {
  /** Whether the stream is connected. */
  readonly state: StreamState;
  /** The events received, oldest first: the same array until it changes. */
  readonly events: readonly StreamEvent<T>[];
  /**
   * The latest error of `url`, `headers` or `parse`, or why the stream is closed, for example `HTTP status 401`.
   * Undefined again after a connect.
   */
  readonly error: unknown;
  /** Connects a closed stream again; the list goes on where it ends. No effect in other states. */
  readonly retry: () => void;
}

/** A change of any of these makes a new stream. */
export interface StreamSettings {
  readonly names: readonly string[];
  readonly limit: () => number;
  readonly credentials: EventStreamClientOptions['credentials'];
  readonly url: () => string | Promise<string>;
  readonly headers: () => HeaderMap | Promise<HeaderMap>;
  readonly parse: (text: string, event: string) => unknown;
}

export const CONNECTING: EventStreamView = {
  state: 'connecting',
  events: [],
  error: undefined,
  retry() {},
};

/** One component's stream. It connects after `subscribe`. */
export class EventStreamStore {
  readonly #settings: StreamSettings;
  readonly #listeners = new Listeners();
  readonly #refCount: RefCounted;
  #stream: EventStreamClient | undefined;
  #view: EventStreamView = { ...CONNECTING, retry: () => this.retry() };
  /** Received, not yet in the view. */
  #received: StreamEvent[] = [];
  #serial = 0;
  #lastEventId = '';

  constructor(settings: StreamSettings) {
    this.#settings = settings;
    this.#refCount = new RefCounted({
      open: () => this.#open(),
      close: () => {
        this.#end();
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

  retry(): void {
    if (this.#view.state !== 'closed' || !this.#refCount.inUse) return;
    this.#end();
    this.#open();
    this.#update({ state: 'connecting', error: undefined });
  }

  #end(): void {
    const stream = this.#stream;
    this.#stream = undefined;
    this.#lastEventId = stream?.lastEventId ?? this.#lastEventId;
    stream?.close();
  }

  #open(): void {
    const { names, url, headers, credentials, parse } = this.#settings;
    const stream = connectEventStream({ url, headers, credentials, parse, lastEventId: this.#lastEventId });
    this.#stream = stream;
    stream.on('state', (state) => {
      if (stream === this.#stream) this.#update({ state: state === 'waiting' ? 'connecting' : state });
    });
    stream.on('error', (error) => this.#update({ error }));
    stream.on('open', () => this.#update({ error: undefined }));
    stream.on('closed', ({ reason }) => {
      if (stream === this.#stream) this.#update({ error: new ClientError('CLOSED', reason) });
    });
    for (const name of names) {
      // The stream reports gaps itself if the server does not.
      if (name === '$discontinuity') stream.on('discontinuity', (gap) => this.#onEvent(name, gap, '', false));
      else
        stream.events.on(name, (data, { event, id, replayed }) => this.#onEvent(event, data, id, replayed));
    }
  }

  #onEvent(event: string, data: unknown, id: string, replayed: boolean): void {
    this.#received.push({ key: ++this.#serial, event, data, id, replayed });
    // All events of one piece of the stream are one render.
    if (this.#received.length === 1) queueMicrotask(() => this.#showReceived());
  }

  #showReceived(): void {
    const events = [...this.#view.events, ...this.#received].slice(-this.#settings.limit());
    this.#received = [];
    this.#update({ events });
  }

  #update(change: Partial<EventStreamView>): void {
    const names = Object.keys(change) as (keyof EventStreamView)[];
    if (names.every((name) => change[name] === this.#view[name])) return;
    this.#view = { ...this.#view, ...change };
    this.#listeners.notify();
  }
}
