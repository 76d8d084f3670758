import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  type PresenceOptions,
  PresenceService,
  PubSubService,
  type RedisClient,
  RoomService,
  type RoomServiceOptions,
} from 'rollcall';
import { type ConnectionIdentity, type ServeHandle, type ServeOptions, serveWebSocket } from 'rollcall/ws';
import { type ServerOptions, WebSocket, WebSocketServer } from 'ws';
import type { ErrorFrame, OkFrame, ServerFrame, WelcomeFrame } from '../../src/protocol/frames.js';
import { deferred, waitFor, withDeadline } from '../support/wait.js';

/** The Redis of the services of a fixture. */
export interface WsBackend {
  client(): RedisClient;
  end(): Promise<void>;
}

export interface WsNodeOptions {
  serve?: Partial<ServeOptions<ConnectionIdentity>>;
  ws?: ServerOptions;
  rooms?: Partial<RoomServiceOptions>;
  presence?: Partial<PresenceOptions> | false;
  /** Called before the serving begins. */
  prepare?: (wss: WebSocketServer, http: Server) => void;
}

/** One server process, in this process. */
export interface WsNode {
  readonly http: Server;
  readonly wss: WebSocketServer;
  readonly pubsub: PubSubService;
  readonly presence: PresenceService;
  readonly rooms: RoomService;
  readonly serving: ServeHandle;
  /** What was reported, as "Name: message". */
  readonly errors: string[];
  readonly port: number;
  readonly url: string;
}

const SOON = { timeout: 8_000 };

/** The user of the parameter `user=…` in the URL, if any. */
export function userOf({ url = '' }: { url?: string | undefined }): string | null {
  return new URL(url, 'http://localhost').searchParams.get('user');
}

/** A client that speaks the protocol by hand. */
export class WsClient {
  readonly frames: ServerFrame[] = [];
  readonly closed: Promise<{ code: number; reason: string }>;
  readonly #asked = new Map<number, (frame: OkFrame | ErrorFrame) => void>();
  /** How the connection ended, for messages. */
  #end = '';
  #id = 0;

  constructor(readonly socket: WebSocket) {
    const closed = deferred<{ code: number; reason: string }>();
    this.closed = closed.promise;
    socket.on('message', (data: Buffer) => {
      const frame = JSON.parse(data.toString()) as ServerFrame;
      this.frames.push(frame);
      if (frame.type !== 'ok' && frame.type !== 'error') return;
      this.#asked.get(frame.id ?? 0)?.(frame);
      this.#asked.delete(frame.id ?? 0);
    });
    // The event "close" reports the end of the socket.
    socket.on('error', () => {});
    socket.on('close', (code: number, reason: Buffer) => {
      this.#end = `, but it was closed with ${code} ${reason}`;
      closed.resolve({ code, reason: reason.toString() });
    });
  }

  /** Frames of one type received so far. */
  of<T extends ServerFrame['type']>(type: T): Extract<ServerFrame, { type: T }>[] {
    return this.frames.filter((frame) => frame.type === type) as Extract<ServerFrame, { type: T }>[];
  }

  /** The data of the events received in a room, or for the user. */
  receivedData(room?: string): unknown[] {
    return this.of('event')
      .filter((frame) => frame.room === room)
      .map(({ data }) => data);
  }

  get errors(): string[] {
    return this.of('error').map(({ code }) => code);
  }

  async welcome(): Promise<WelcomeFrame> {
    const message = () => `welcome${this.#end}`;
    const frame = await waitFor(() => this.of('welcome')[0], { ...SOON, message });
    if (this.frames[0] !== frame) throw new Error('welcome was not the first frame');
    return frame as WelcomeFrame;
  }

  /** Sends any value. */
  write(frame: unknown): void {
    this.socket.send(typeof frame === 'string' || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame));
  }

  /** Sends a request; resolves with its answer. */
  ask(frame: object): Promise<OkFrame | ErrorFrame> {
    const id = ++this.#id;
    const answer = deferred<OkFrame | ErrorFrame>();
    this.#asked.set(id, answer.resolve);
    this.write({ ...frame, id });
    return withDeadline(answer.promise, SOON.timeout, `the answer to ${JSON.stringify(frame).slice(0, 80)}`);
  }

  /** The data of an `ok`, or the code of an `error`. */
  async get(frame: object): Promise<unknown> {
    const answer = await this.ask(frame);
    return answer.type === 'ok' ? answer.data : answer.code;
  }

  /** Waits until all replies to earlier frames have arrived. */
  async settled(): Promise<void> {
    const pongs = this.of('pong').length;
    this.write({ type: 'ping' });
    await waitFor(() => this.of('pong').length > pongs, { ...SOON, message: 'pong' });
  }

  until(condition: () => unknown, message: string): Promise<unknown> {
    const seen = () => `${message}; got ${JSON.stringify(this.frames.slice(-8))}`;
    return waitFor(condition, { ...SOON, message: seen });
  }

  end(): Promise<{ code: number; reason: string }> {
    this.socket.close(1000);
    return withDeadline(this.closed, SOON.timeout, 'the end of a connection');
  }
}

let count = 0;

/** Some servers of one application, and their clients. */
export class WsFixture {
  readonly prefix = `ws-${++count}`;
  readonly #backend: () => WsBackend;
  readonly #ends: (() => unknown)[] = [];

  constructor(backend: () => WsBackend) {
    this.#backend = backend;
  }

  async node({
    serve,
    ws,
    rooms: roomOptions,
    presence: presenceOptions,
    prepare,
  }: WsNodeOptions = {}): Promise<WsNode> {
    const errors: string[] = [];
    const onError = (error: Error) => void errors.push(`${error.name}: ${error.message}`);
    const options = { prefix: this.prefix, onError };
    const pubsub = new PubSubService({ ...options, redis: this.#backend().client() });
    const presence = new PresenceService({
      ...options,
      redis: this.#backend().client(),
      ...(presenceOptions || {}),
    });
    const rooms = new RoomService({
      pubsub,
      ...(presenceOptions === false ? {} : { presence }),
      onError,
      ...roomOptions,
    });
    const http = createServer((_, response) => response.writeHead(404).end());
    const wss = new WebSocketServer(ws?.noServer === true ? ws : { server: http, ...ws });
    prepare?.(wss, http);
    const serving = serveWebSocket(wss, {
      rooms,
      authenticate: userOf,
      authorize: (_user, request) =>
        !Object.values(request).some((value) => String(value).startsWith('closed')),
      onError,
      ...serve,
    });
    http.listen(0, '127.0.0.1');
    await once(http, 'listening');
    const { port } = http.address() as AddressInfo;
    this.#ends.push(async () => {
      await serving.close();
      wss.close();
      http.close();
      http.closeAllConnections();
      await rooms.close();
      await presence.close();
      await pubsub.close();
    });
    return { http, wss, pubsub, presence, rooms, serving, errors, port, url: `ws://127.0.0.1:${port}` };
  }

  /** A WebSocket whose connection may fail. */
  open(url: string, protocols: string[] = ['rollcall.1'], options: object = {}): WsClient {
    const socket = new WebSocket(url, protocols, { perMessageDeflate: false, ...options });
    this.#ends.unshift(() => socket.terminate());
    return new WsClient(socket);
  }

  /** A client that has received `welcome`. */
  async client(
    { url }: { url: string },
    user: string,
    query: Record<string, string> = {},
  ): Promise<WsClient> {
    const client = this.open(`${url}/?${new URLSearchParams({ user, ...query })}`);
    await client.welcome();
    return client;
  }

  /** Done before the servers end. */
  before(end: () => unknown): void {
    this.#ends.unshift(end);
  }

  async end(): Promise<void> {
    const ends = this.#ends.splice(0);
    for (const end of ends) await end();
  }
}
