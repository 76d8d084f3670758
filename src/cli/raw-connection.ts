import { createConnection, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { systemClock, withTimeout } from '../internal/clock.js';
import { ConnectionError } from '../internal/errors.js';
import type { HostAndPort } from '../redis/cluster-slots.js';
import type { Reply } from '../redis/driver.js';

export interface RawConnectionOptions extends HostAndPort {
  readonly tls: boolean;
  /** In ms, for connecting and for each batch. */
  readonly timeout: number;
}

interface PendingReply {
  resolve(reply: Reply): void;
  reject(error: Error): void;
}

/**
 * One connection to one server, in RESP2. Client libraries do not let a transaction be queued without being run, and
 * hide the sentinels.
 */
export class RawConnection {
  readonly #socket: Socket;
  readonly #timeout: number;
  readonly #pending: PendingReply[] = [];
  #buffer: Buffer = Buffer.alloc(0);

  private constructor(socket: Socket, timeout: number) {
    this.#socket = socket;
    this.#timeout = timeout;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(new Error('the connection was closed')));
  }

  static async open({ host, port, tls, timeout }: RawConnectionOptions): Promise<RawConnection> {
    // An address is no name for SNI.
    const server = { host, port, ...(isIP(host) === 0 ? { servername: host } : {}) };
    const socket = tls ? connectTls(server) : createConnection(server);
    const connection = new RawConnection(socket, timeout);
    const connected = new Promise<void>((resolve, reject) => {
      socket.once(tls ? 'secureConnect' : 'connect', resolve);
      socket.once('error', reject);
    });
    try {
      const what = `connecting to ${host}:${port}`;
      await withTimeout(systemClock, timeout, connected, () => new ConnectionError(`${what} took too long`));
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** Resolves with one reply each; an `Error` for a refused command. */
  send(commands: readonly (readonly string[])[]): Promise<Reply[]> {
    const replies = commands.map(
      () => new Promise<Reply>((resolve, reject) => this.#pending.push({ resolve, reject })),
    );
    this.#socket.write(commands.map(encode).join(''));
    const late = () => new ConnectionError('the server does not answer');
    return withTimeout(systemClock, this.#timeout, Promise.all(replies), late);
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    this.#buffer = Buffer.concat([this.#buffer, chunk]);
    for (;;) {
      const parsed = parse(this.#buffer, 0);
      if (parsed === undefined) return;
      this.#buffer = this.#buffer.subarray(parsed.next);
      this.#pending.shift()?.resolve(parsed.reply);
    }
  }

  #fail(cause: Error): void {
    for (const { reject } of this.#pending.splice(0)) reject(new ConnectionError(cause.message, { cause }));
  }
}

function encode(args: readonly string[]): string {
  return `*${args.length}\r\n${args.map((arg) => `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`).join('')}`;
}

/** Undefined while the buffer does not hold a whole reply. */
function parse(buffer: Buffer, at: number): { reply: Reply; next: number } | undefined {
  const end = buffer.indexOf('\r\n', at);
  if (end < 0) return undefined;
  const text = buffer.toString('utf8', at + 1, end);
  const next = end + 2;
  switch (buffer[at]) {
    case 0x2b: // +
      return { reply: text, next };
    case 0x2d: // -
      return { reply: new Error(text), next };
    case 0x3a: // :
      return { reply: Number(text), next };
    case 0x24: {
      // $
      const length = Number(text);
      if (length < 0) return { reply: null, next };
      if (buffer.length < next + length + 2) return undefined;
      return { reply: buffer.toString('utf8', next, next + length), next: next + length + 2 };
    }
    default: {
      // *
      const items: Reply[] = [];
      let from = next;
      for (let left = Number(text); left > 0; left--) {
        const item = parse(buffer, from);
        if (item === undefined) return undefined;
        items.push(item.reply);
        from = item.next;
      }
      return { reply: Number(text) < 0 ? null : items, next: from };
    }
  }
}
