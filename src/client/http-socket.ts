import { createEventParser } from '../protocol/event-parser.js';
import type { WebSocketWithEvents } from './platform.js';

/** Characters in one request after its first frame. */
const MAX_BATCH = 131_072;
/** As in close-codes.ts: with an import, bundlers would make a third file of that. */
const UNAUTHENTICATED = 4401;

type Listener = (event: never) => void;

/**
 * A WebSocket over HTTP, for servers of `createHttpHandler`: an event stream carries the frames of the server, further
 * requests those of the client, one request at a time, so that they stay in order.
 */
export class HttpSocket implements WebSocketWithEvents {
  readonly #url: string;
  readonly #listeners: [string, Listener][] = [];
  readonly #abort = new AbortController();
  #frames: string[] = [];
  /** Characters that the server has not accepted. */
  bufferedAmount = 0;
  #session = '';
  #isSending = false;

  /** `url`: the one for a WebSocket. */
  constructor(url: string) {
    this.#url = url.replace(/^ws/, 'http');
    this.#read().catch((error: unknown) => this.#end(1006, String(error)));
  }

  addEventListener(type: string, listener: Listener): void {
    this.#listeners.push([type, listener]);
  }

  send(text: string): void {
    this.#frames.push(text);
    this.bufferedAmount += text.length;
    this.#flush();
  }

  close(): void {
    this.#abort.abort();
  }

  async #read(): Promise<void> {
    const response = await this.#fetch(this.#url);
    if (response.status === 401) return this.#end(UNAUTHENTICATED, 'HTTP status 401');
    const type = response.headers.get('content-type') ?? '';
    if (!response.body || !/^text\/event-stream\b/.test(type)) throw new Error('no rollcall server here');
    const decoder = new TextDecoder();
    const parse = createEventParser({
      onEvent: ({ event, data }) => this.#onEvent(event, data),
    });
    const reader = response.body.getReader();
    while (!this.#abort.signal.aborted) {
      const { done, value } = await reader.read();
      if (done) return this.#end(1006, 'the response has ended');
      parse(decoder.decode(value, { stream: true }));
    }
  }

  #onEvent(event: string, data: string): void {
    if (event === 'session') {
      this.#session = data;
      this.#flush();
    } else if (event === 'close') {
      const { code, reason } = JSON.parse(data) as { code: number; reason: string };
      this.#end(code, reason);
    } else this.#emit('message', { data });
  }

  #flush(): void {
    if (this.#isSending || !this.#session) return;
    this.#isSending = true;
    this.#sendFrames().catch((error: unknown) => this.#end(1006, String(error)));
  }

  async #sendFrames(): Promise<void> {
    while (this.#frames.length > 0 && !this.#abort.signal.aborted) {
      const batch = [this.#frames.shift()];
      let length = 0;
      while (this.#frames[0] !== undefined && length + this.#frames[0].length < MAX_BATCH) {
        length += this.#frames[0].length;
        batch.push(this.#frames.shift());
      }
      const separator = this.#url.includes('?') ? '&' : '?';
      // A plain string has a content type for which other origins need no preflight.
      const url = `${this.#url}${separator}session=${this.#session}`;
      const body = batch.join('\n');
      const { ok, status } = await this.#fetch(url, body);
      // Without the line breaks.
      this.bufferedAmount -= body.length - (batch.length - 1);
      if (!ok) throw new Error(`HTTP status ${status}`);
    }
    this.#isSending = false;
  }

  #fetch(url: string, body?: string): Promise<Response> {
    const method = body === undefined ? 'GET' : 'POST';
    const options = { method, body, cache: 'no-store', credentials: 'include', signal: this.#abort.signal };
    // The declarations of browsers and of Node differ.
    return fetch(url, options as RequestInit);
  }

  #end(code: number, reason: string): void {
    if (this.#abort.signal.aborted) return;
    this.close();
    this.#emit('close', { code, reason });
  }

  #emit(type: string, event: object): void {
    for (const [each, listener] of this.#listeners) if (each === type) listener(event as never);
  }
}
