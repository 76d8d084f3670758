import { createConnection, type Socket } from 'node:net';
import { type Deferred, deferred, withDeadline } from './wait.js';

/** A reply of the Redis protocol (RESP2). Errors are values here: one may sit inside an array. */
export type Reply = string | number | null | Error | Reply[];

/** Reads one reply at `at`, or undefined when the buffer does not hold all of it yet. */
function read(buffer: Buffer, at: number): { reply: Reply; next: number } | undefined {
  const eol = buffer.indexOf('\r\n', at);
  if (eol === -1) return undefined;
  const text = buffer.toString('utf8', at + 1, eol);
  const next = eol + 2;
  switch (String.fromCharCode(buffer[at] ?? 0)) {
    case '+':
      return { reply: text, next };
    case '-':
      return { reply: new Error(text), next };
    case ':':
      return { reply: Number(text), next };
    case '$': {
      const length = Number(text);
      if (length === -1) return { reply: null, next };
      const end = next + length;
      if (buffer.length < end + 2) return undefined;
      return { reply: buffer.toString('utf8', next, end), next: end + 2 };
    }
    case '*': {
      const length = Number(text);
      if (length === -1) return { reply: null, next };
      const items: Reply[] = [];
      let position = next;
      while (items.length < length) {
        const item = read(buffer, position);
        if (!item) return undefined;
        items.push(item.reply);
        position = item.next;
      }
      return { reply: items, next: position };
    }
    default:
      throw new Error(`not a RESP2 reply: ${JSON.stringify(buffer.toString('utf8', at, at + 40))}`);
  }
}

function encode(args: readonly string[]): string {
  return `*${args.length}\r\n${args.map((arg) => `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`).join('')}`;
}

/**
 * A bare connection to Redis. The tests look at the server through this rather than through a
 * client library, so that a client's own retries and queues can't colour what they see.
 */
export class RespConnection {
  readonly #socket: Socket;
  readonly #waiting: Deferred<Reply>[] = [];
  readonly #onPush: ((reply: Reply) => void) | undefined;
  #buffer = Buffer.alloc(0);

  private constructor(socket: Socket, onPush?: (reply: Reply) => void) {
    this.#socket = socket;
    this.#onPush = onPush;
    socket.on('data', (chunk) => this.#receive(chunk));
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(new Error('connection closed')));
  }

  /** `onPush` gets the replies that answer no command (MONITOR, SUBSCRIBE). */
  static async open(port: number, ms: number, onPush?: (reply: Reply) => void): Promise<RespConnection> {
    const socket = createConnection({ host: '127.0.0.1', port, noDelay: true });
    const connected = new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    try {
      await withDeadline(connected, ms, `connecting to port ${port}`);
    } catch (error) {
      socket.on('error', () => {});
      socket.destroy();
      throw error;
    }
    return new RespConnection(socket, onPush);
  }

  /** Sends one command. The reply may be an Error; a broken connection rejects. */
  async send(args: readonly string[], ms: number): Promise<Reply> {
    if (this.#socket.destroyed) throw new Error('connection closed');
    const answer = deferred<Reply>();
    this.#waiting.push(answer);
    this.#socket.write(encode(args));
    return withDeadline(answer.promise, ms, `the answer to ${args[0]}`);
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    this.#buffer = Buffer.concat([this.#buffer, chunk]);
    let at = 0;
    try {
      for (let one = read(this.#buffer, at); one; one = read(this.#buffer, at)) {
        at = one.next;
        const answer = this.#waiting.shift();
        if (answer) answer.resolve(one.reply);
        else this.#onPush?.(one.reply);
      }
    } catch (error) {
      this.#socket.destroy(error as Error);
    }
    this.#buffer = this.#buffer.subarray(at);
  }

  #fail(error: Error): void {
    for (const answer of this.#waiting.splice(0)) answer.reject(error);
  }
}
