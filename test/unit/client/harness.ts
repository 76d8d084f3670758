import { type Client, type ConnectOptions, connect, type WebSocketLike } from 'rollcall/client';
import { vi } from 'vitest';
import { FakeClock, turn } from '../../support/fake-clock.js';

/** A frame with the fields that tests read. */
export type Frame = Record<string, unknown> & { type: string; id: number; data?: unknown };

/** A WebSocket that a test controls. */
export class FakeSocket implements WebSocketLike {
  readonly sent: Frame[] = [];
  /** The close code that the client passed. */
  closed: number | undefined;
  bufferedAmount = 0;
  /** Without the parameters `client`, and `since` if that is empty. */
  readonly url: string;
  readonly clientId: string | undefined;
  readonly #listeners = new Map<string, ((event: never) => void)[]>();

  constructor(
    url: string,
    readonly protocols: string[],
  ) {
    const [, base = url, separator, clientId, since = ''] =
      /^(.*)([?&])client=(\w+)&since=(.*)$/.exec(url) ?? [];
    this.url = since === '' ? base : `${base}${separator}since=${since}`;
    this.clientId = clientId;
  }

  addEventListener(type: string, listener: (event: never) => void): void {
    this.#listeners.set(type, [...(this.#listeners.get(type) ?? []), listener]);
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  close(code?: number): void {
    this.closed = code ?? 1005;
  }

  /** Emits an event to the client. */
  emit(type: 'message' | 'error' | 'close', event: object): void {
    for (const listener of this.#listeners.get(type) ?? []) listener(event as never);
  }

  /** The client receives `frame` from the server. */
  receive(frame: object): void {
    this.emit('message', { data: JSON.stringify(frame) });
  }

  /** Ends the connection. */
  end(code = 1006, reason = ''): void {
    this.emit('close', { code, reason });
  }

  /** The requests of a type, without those that an earlier call returned. */
  takeSent(type: string): Frame[] {
    const taken = this.sent.filter((frame) => frame.type === type);
    for (const frame of taken) this.sent.splice(this.sent.indexOf(frame), 1);
    return taken;
  }

  /** Sends `ok` for the oldest unanswered request of a type. */
  answer(type: string, data?: unknown): Frame {
    const frame = this.#oldest(type);
    this.receive({ type: 'ok', id: frame.id, data });
    return frame;
  }

  /** Sends an error for the oldest unanswered request of a type. */
  refuse(type: string, code: string, more: object = {}): Frame {
    const frame = this.#oldest(type);
    this.receive({ type: 'error', id: frame.id, code, message: code, ...more });
    return frame;
  }

  #oldest(type: string): Frame {
    const index = this.sent.findIndex((frame) => frame.type === type);
    if (index === -1) throw new Error(`no ${type} was sent`);
    return this.sent.splice(index, 1)[0] as Frame;
  }
}

/** The `welcome` frame, unless a test overrides fields. */
export const WELCOME = {
  type: 'welcome',
  version: 1,
  socket: 's1',
  user: 'alice',
  heartbeat: 25_000,
  maxBytes: 1_000,
};

/** A client on fake sockets and a fake clock, and the events that it emitted. */
export class Harness {
  readonly clock = new FakeClock();
  readonly sockets: FakeSocket[] = [];
  readonly emitted: [string, unknown][] = [];
  readonly client: Client;

  constructor(options: Partial<ConnectOptions> = {}) {
    const { sockets } = this;
    class Socket extends FakeSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        sockets.push(this);
      }
    }
    this.client = connect({
      url: 'wss://chat.test/ws?token=1',
      WebSocket: Socket,
      clock: this.clock,
      random: () => this.clock.random(),
      ...options,
    });
    for (const name of ['state', 'open', 'reconnecting', 'closed', 'error', 'discontinuity'] as const) {
      this.client.on(name, (info) => this.emitted.push([name, info]));
    }
  }

  /** The latest socket. */
  get socket(): FakeSocket {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error('no socket was made');
    return socket;
  }

  /** The payloads of the emitted events of a name. */
  of(name: string): unknown[] {
    return this.emitted.filter(([each]) => each === name).map(([, info]) => info);
  }

  /** Loads the code that requests watches; later requests are then sent at once. */
  async loadWatches(): Promise<void> {
    this.client.watch([]).close();
    await vi.dynamicImportSettled();
    await turn();
  }

  /** Completes the connection attempt with `welcome`. */
  async open(welcome: object = {}): Promise<FakeSocket> {
    await turn();
    this.socket.receive({ ...WELCOME, ...welcome });
    return this.socket;
  }

  /** Breaks the connection, waits for the next attempt, and completes it with `welcome`. */
  async reconnect(welcome: object = {}, code = 1006): Promise<FakeSocket> {
    this.socket.end(code);
    this.clock.advance((this.of('reconnecting').at(-1) as { delay: number }).delay);
    return this.open(welcome);
  }
}

/** The reason that `promise` rejects with. */
export async function failure(promise: Promise<unknown>): Promise<Record<string, unknown>> {
  try {
    await promise;
  } catch (error) {
    return error as Record<string, unknown>;
  }
  throw new Error('the promise did not reject');
}
