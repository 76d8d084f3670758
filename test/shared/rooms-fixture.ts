import {
  createRollcall,
  type ErrorContext,
  type FrameEncoder,
  type Peer,
  type RedisClient,
  type Rollcall,
  type RollcallError,
  type RollcallOptions,
} from 'rollcall';
import { waitFor } from '../support/wait.js';

/** One Redis, and clients of one library. */
export interface RoomsBackend {
  /** A new client, as another process would have. */
  client(): RedisClient;
  end(): Promise<void>;
}

/** A frame, whichever it is. */
export type Frame = {
  readonly type: string;
  readonly room?: string;
  readonly event?: string;
  readonly position?: string;
  readonly data?: unknown;
  readonly [member: string]: unknown;
};

/** A connection that records the frames sent to it. */
export class TestPeer implements Peer {
  bufferedAmount = 0;
  closed: { code: number; reason: string } | undefined;
  readonly frames: Frame[] = [];
  readonly format?: FrameEncoder;
  /** What it does with a frame beside keeping it. */
  act: (frame: Frame) => void = () => {};

  constructor(format?: FrameEncoder) {
    if (format !== undefined) this.format = format;
  }

  send(frame: string | Buffer): void {
    const parsed = JSON.parse(String(frame)) as Frame;
    this.act(parsed);
    this.frames.push(parsed);
  }

  close(code: number, reason: string): void {
    this.closed = { code, reason };
  }

  /** Its frames of one type, of one room where that is named. */
  of(type: string, room?: string): Frame[] {
    return this.frames.filter((frame) => frame.type === type && (room === undefined || frame.room === room));
  }

  /** The data of the events received in `room`, or for the user, without fences. */
  receivedData(room?: string): unknown[] {
    return this.frames
      .filter((frame) => frame.type === 'event' && frame.room === room && frame.event !== 'fence')
      .map(({ data }) => data);
  }

  /** The last place it knows of in `room`. */
  position(room?: string): string | undefined {
    return this.frames.findLast((frame) => frame.room === room && frame.position !== undefined)?.position;
  }
}

/** A server process: its services, and the errors that they reported. */
export interface TestServer extends Rollcall {
  readonly errors: [RollcallError, ErrorContext][];
}

/** Servers on one Redis, and peers. */
export class RoomsFixture {
  readonly #fixture: () => RoomsBackend;
  #servers: TestServer[] = [];
  #serial = 0;

  constructor(fixture: () => RoomsBackend) {
    this.#fixture = fixture;
  }

  /** An unused name. */
  fresh(text = 'x'): string {
    return `${text}.${++this.#serial}`;
  }

  server(options: Partial<RollcallOptions> = {}): TestServer {
    const errors: TestServer['errors'] = [];
    const redis = this.#fixture().client();
    const onError = (error: RollcallError, context: ErrorContext) => void errors.push([error, context]);
    const server = Object.assign(createRollcall({ redis, onError, ...options }), { errors });
    this.#servers.push(server);
    return server;
  }

  /** Closes all servers. */
  async end(): Promise<void> {
    const servers = this.#servers;
    this.#servers = [];
    await Promise.all(servers.map((server) => server.close()));
  }

  until(what: string, done: () => boolean | Promise<boolean>, timeout = 5_000): Promise<boolean> {
    const errors = () => this.#servers.flatMap((server) => server.errors.map(([error]) => error.message));
    return waitFor(done, { timeout, message: () => `${what}; errors: ${errors().join('; ')}` });
  }

  /** Waits until `peers` have received all earlier events of `room`, because messages keep their order. */
  async fence({ rooms }: TestServer, room: string, ...peers: TestPeer[]): Promise<void> {
    const data = this.fresh('fence');
    await rooms.broadcast(room, 'fence', data);
    const came = (peer: TestPeer) => peer.frames.some((frame) => frame.data === data);
    await this.until(`the fence in ${room}`, () => peers.every(came));
  }

  /** The same for events sent to a user. */
  async fenceUser({ rooms }: TestServer, userId: string, ...peers: TestPeer[]): Promise<void> {
    const data = this.fresh('fence');
    await rooms.sendToUser(userId, 'fence', data);
    const came = (peer: TestPeer) => peer.frames.some((frame) => frame.data === data);
    await this.until(`the fence for ${userId}`, () => peers.every(came));
  }
}

/** The numbers from `from` up to, but not including, `to`. */
export const numbers = (from: number, to: number): number[] =>
  Array.from({ length: to - from }, (_, at) => from + at);
