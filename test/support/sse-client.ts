import { setTimeout as pause } from 'node:timers/promises';
import { waitFor } from './wait.js';

/** An event as EventSource dispatches it. */
export interface ServerSentEvent {
  readonly type: string;
  readonly data: string;
  readonly lastEventId: string;
}

/**
 * Parses an event stream by the HTML standard ("interpreting an event stream"). Written from the standard, so that
 * it is independent of the code under test.
 */
export class EventParser {
  lastEventId = '';
  retry: number | undefined;
  comments = 0;
  readonly events: ServerSentEvent[] = [];
  #rest = '';
  #type = '';
  #data = '';
  #id = '';
  #afterReturn = false;

  constructor(lastEventId = '') {
    this.lastEventId = lastEventId;
    this.#id = lastEventId;
  }

  feed(text: string): void {
    for (const char of text) {
      if (this.#afterReturn && char === '\n') {
        this.#afterReturn = false;
        continue;
      }
      this.#afterReturn = char === '\r';
      if (char !== '\r' && char !== '\n') this.#rest += char;
      else {
        const line = this.#rest;
        this.#rest = '';
        this.#parseLine(line);
      }
    }
  }

  #parseLine(line: string): void {
    if (line === '') return this.#dispatch();
    const colon = line.indexOf(':');
    if (colon === 0) {
      this.comments++;
      return;
    }
    const field = colon < 0 ? line : line.slice(0, colon);
    const rest = colon < 0 ? '' : line.slice(colon + 1);
    const value = rest.startsWith(' ') ? rest.slice(1) : rest;
    if (field === 'event') this.#type = value;
    else if (field === 'data') this.#data += `${value}\n`;
    else if (field === 'id' && !value.includes('\0')) this.#id = value;
    else if (field === 'retry' && /^[0-9]+$/.test(value)) this.retry = Number(value);
  }

  #dispatch(): void {
    this.lastEventId = this.#id;
    const type = this.#type || 'message';
    const data = this.#data;
    this.#type = '';
    this.#data = '';
    if (data === '') return;
    this.events.push({ type, data: data.slice(0, -1), lastEventId: this.lastEventId });
  }
}

/** Behaves like EventSource, over `fetch`: reconnects with the last id until it is closed or gets a 204. */
export class TestEventSource {
  lastEventId: string;
  connections = 0;
  status = 0;
  headers = new Headers();
  readonly events: ServerSentEvent[] = [];
  comments = 0;
  retry = 50;
  readonly #url: string | (() => string);
  readonly #abort = new AbortController();
  readonly ended: Promise<void>;

  /** `url` may change, because a restarted server gets another port. */
  constructor(url: string | (() => string), lastEventId = '') {
    this.#url = url;
    this.lastEventId = lastEventId;
    this.ended = this.#run();
  }

  /** The parsed data of all events of one type. */
  of<T = unknown>(type: string): T[] {
    return this.events.filter((event) => event.type === type).map(({ data }) => JSON.parse(data) as T);
  }

  /** Resolves once `count` events of a type have arrived. */
  async until(type: string, count = 1): Promise<void> {
    await waitFor(() => this.of(type).length >= count, {
      timeout: 10_000,
      message: () => `${count} × ${type}: ${JSON.stringify(this.events.slice(-5))}, status ${this.status}`,
    });
  }

  async close(): Promise<void> {
    this.#abort.abort();
    await this.ended;
  }

  async #run(): Promise<void> {
    while (!this.#abort.signal.aborted && this.status !== 204) {
      try {
        await this.#connect();
      } catch {
        // The connection broke or was refused; EventSource reconnects.
      }
      await pause(this.retry, undefined, { signal: this.#abort.signal }).catch(() => {});
    }
  }

  async #connect(): Promise<void> {
    const headers: Record<string, string> = { accept: 'text/event-stream' };
    if (this.lastEventId !== '') headers['last-event-id'] = this.lastEventId;
    const url = typeof this.#url === 'string' ? this.#url : this.#url();
    const response = await fetch(url, { headers, signal: this.#abort.signal });
    this.connections++;
    this.status = response.status;
    this.headers = response.headers;
    if (response.status !== 200 || response.body === null) return;
    const parser = new EventParser(this.lastEventId);
    const decoder = new TextDecoder();
    for await (const bytes of response.body) {
      parser.feed(decoder.decode(bytes, { stream: true }));
      this.events.push(...parser.events.splice(0));
      this.lastEventId = parser.lastEventId;
      this.comments = parser.comments;
      this.retry = parser.retry ?? this.retry;
    }
  }
}
