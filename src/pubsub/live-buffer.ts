import type { StoredMessage } from '../history/history-reader.js';
import type { BufferedMessage, ChainLink } from '../history/merge-into-chain.js';
import type { Position } from '../history/position.js';
import type { Payload } from '../redis/driver.js';

/** Messages and their size in bytes. Those beyond are read from history. */
const MAX_MESSAGES = 1_000;
const MAX_BYTES = 1_048_576;

/** Messages that arrive while history is read. */
export class LiveBuffer {
  #messages: { readonly message: StoredMessage; readonly readCount: number }[] = [];
  /** Payloads only. */
  #bytes = 0;
  #readCount = 0;

  /** From now on, messages arrive after the latest read has begun. */
  beginRead(): void {
    this.#readCount++;
  }

  /** False: the buffer was full and is emptied first, so that history must be read again. */
  add({ position, previous }: ChainLink, payload: Payload): boolean {
    const full = this.#messages.length >= MAX_MESSAGES || this.#bytes >= MAX_BYTES;
    if (full) this.take();
    this.#messages.push({ message: { position, previous, payload }, readCount: this.#readCount });
    this.#bytes += payload.length;
    return !full;
  }

  get isEmpty(): boolean {
    return this.#messages.length === 0;
  }

  /** Empties the buffer. */
  take(): StoredMessage[] {
    const messages = this.#messages.map(({ message }) => message);
    this.#messages = [];
    this.#bytes = 0;
    return messages;
  }

  positions(): Set<Position> {
    return new Set(this.#messages.map(({ message }) => message.position));
  }

  links(): BufferedMessage<StoredMessage>[] {
    return this.#messages.map(({ message, readCount }) => ({
      link: message,
      beforeRead: readCount < this.#readCount,
    }));
  }

  /** Drops all others. */
  keep(links: readonly BufferedMessage<StoredMessage>[]): void {
    const kept = new Set(links.map(({ link }) => link));
    this.#messages = this.#messages.filter(({ message }) => kept.has(message));
    this.#bytes = this.#messages.reduce((bytes, { message }) => bytes + message.payload.length, 0);
  }
}
