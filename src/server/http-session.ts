import { formatEvent, KEEP_ALIVE_COMMENT } from '../http/event-stream-format.js';
import type { ResponseWriter } from '../http/response-writer.js';
import type { ConnectionPeer } from './connection-peer.js';

/** Names of the events that are no frames of the protocol; `rollcall/client` knows them. */
const SESSION_EVENT = 'session';
const CLOSE_EVENT = 'close';

/** The part of a connection that its session implements. */
interface SessionConnection {
  receive(text: string): void;
  close(code: number, reason: string): void;
  end(): void;
}

/** The server's side of a connection over HTTP: frames go out as events of one response. */
export class HttpSession implements ConnectionPeer {
  /** Secret: a holder can send in the name of the client. */
  readonly id: string;
  connection: SessionConnection | undefined;
  readonly #writer: ResponseWriter;
  #resumed: Promise<void> | undefined;
  #resume: (() => void) | undefined;

  constructor(id: string, writer: ResponseWriter) {
    this.id = id;
    this.#writer = writer;
    // Some proxies hold headers back until the body begins.
    writer.begin(KEEP_ALIVE_COMMENT + formatEvent(SESSION_EVENT, id));
  }

  get bufferedAmount(): number {
    return this.#writer.buffered;
  }

  send(frame: string): void {
    this.#write(formatEvent('message', frame));
  }

  close(code: number, reason: string): void {
    this.#write(formatEvent(CLOSE_EVENT, JSON.stringify({ code, reason })));
    this.#writer.end();
  }

  terminate(): void {
    this.#writer.destroy();
  }

  /** Requests with frames of the client are answered later, so the client sends no more. */
  pause(): void {
    this.#resumed ??= new Promise((resolve) => {
      this.#resume = resolve;
    });
  }

  resume(): void {
    this.#resume?.();
    this.#resumed = undefined;
  }

  /** Hands the frames over, one per line. Resolves when the client may send more. */
  async receive(lines: string): Promise<void> {
    for (const line of lines.split('\n')) if (line !== '') this.connection?.receive(line);
    await this.#resumed;
  }

  end(): void {
    this.resume();
    this.connection?.end();
  }

  #write(text: string): void {
    this.#writer.write(text);
  }
}
