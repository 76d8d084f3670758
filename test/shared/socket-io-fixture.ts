import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PresenceService, PubSubService, type RedisClient } from 'rollcall';
import { type PresenceTracker, type TrackPresenceOptions, trackPresence } from 'rollcall/socket.io';
import { Server, type ServerOptions, type Socket } from 'socket.io';
import { type Socket as ClientSocket, io as connectTo, type ManagerOptions } from 'socket.io-client';
import { timeLimit } from '../support/machine.js';
import { waitFor } from '../support/wait.js';

/** A user in the acknowledgement of `presence:watch` and in `presence:changed`. */
export interface PresenceUpdate {
  userId: string;
  status: string;
  lastSeen: number;
  version: number;
  code?: string;
}

/** The acknowledgement of a request. */
export interface Answer {
  users?: PresenceUpdate[];
  status?: string;
  error?: { code: string; message: string };
}

/** One process: a Socket.IO server with rollcall. */
export interface SocketIoNode {
  readonly io: Server;
  readonly url: string;
  readonly presence: PresenceService;
  readonly pubsub: PubSubService;
  readonly tracker: PresenceTracker<Socket>;
  readonly errors: string[];
}

export interface SocketIoNodeOptions {
  io?: Partial<ServerOptions>;
  tracker?: Partial<TrackPresenceOptions<Socket>>;
  /** The grace of the presence service. */
  grace?: number;
  namespace?: string;
  /** Called before `trackPresence`. */
  prepare?: (io: Server) => void;
}

/** A client that records events and sends requests. */
export class Client {
  readonly updates: PresenceUpdate[] = [];
  /** All received events, each with its first two arguments. */
  readonly events: [string, unknown, unknown][] = [];

  constructor(readonly socket: ClientSocket) {
    socket.on('presence:changed', (update: PresenceUpdate) => this.updates.push(update));
    socket.onAny((event: string, first: unknown, second: unknown) =>
      this.events.push([event, first, second]),
    );
  }

  request(event: string, ...payload: unknown[]): Promise<Answer> {
    return this.socket.timeout(timeLimit(8_000)).emitWithAck(event, ...payload) as Promise<Answer>;
  }

  async statuses(...userIds: string[]): Promise<string[]> {
    const { users = [], error } = await this.request('presence:watch', userIds);
    return error === undefined ? users.map(({ status }) => status) : [error.code];
  }

  statusesOf(userId: string): string[] {
    return this.updates.filter((update) => update.userId === userId).map(({ status }) => status);
  }

  async until(userId: string, status: string): Promise<void> {
    await waitFor(() => this.statusesOf(userId).at(-1) === status, {
      timeout: 15_000,
      message: () =>
        `${userId} to become ${status}; received: ${this.statusesOf(userId).join(', ') || 'nothing'}`,
    });
  }

  /** Breaks the connection. Socket.IO reconnects, to `url` if it is given. */
  async reconnect(url?: string): Promise<void> {
    const { io } = this.socket;
    if (url !== undefined) (io as unknown as { uri: string }).uri = url;
    const reconnected = once(this.socket as never, 'connect');
    io.engine.close();
    await reconnected;
  }
}

/** The processes and clients of one test on one Redis; `end` stops them all. */
export class SocketIoFixture {
  readonly #nodes: SocketIoNode[] = [];
  readonly #clients: ClientSocket[] = [];
  readonly prefix: string;
  static #count = 0;

  constructor(readonly redis: () => RedisClient) {
    this.prefix = `io-${process.pid}-${++SocketIoFixture.#count}`;
  }

  async node(options: SocketIoNodeOptions = {}): Promise<SocketIoNode> {
    const errors: string[] = [];
    const onError = (error: Error, { stage }: { stage: string }) => errors.push(`${stage}: ${error.message}`);
    const redis = this.redis();
    const presence = new PresenceService({
      redis,
      prefix: this.prefix,
      lease: 3_000,
      timeout: timeLimit(2_000),
      grace: options.grace ?? 0,
      onError,
    });
    const pubsub = new PubSubService({
      redis,
      prefix: `${this.prefix}:`,
      timeout: timeLimit(2_000),
      onError,
    });
    const http = createServer();
    const io = new Server(http, { transports: ['websocket'], ...options.io });
    options.prepare?.(io);
    const namespace = io.of(options.namespace ?? '/');
    namespace.use((socket, next) => {
      socket.data.user = socket.handshake.auth['user'];
      next();
    });
    const tracker = trackPresence(namespace, { presence, pubsub, onError, ...options.tracker });
    await once(http.listen(0, '127.0.0.1'), 'listening');
    const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
    const node: SocketIoNode = { io, url, presence, pubsub, tracker, errors };
    this.#nodes.push(node);
    return node;
  }

  async client(
    node: SocketIoNode,
    user?: unknown,
    { namespace = '', ...options }: Partial<ManagerOptions> & { namespace?: string } = {},
  ): Promise<Client> {
    const socket = connectTo(node.url + namespace, {
      transports: ['websocket'],
      forceNew: true,
      reconnectionDelay: 10,
      reconnectionDelayMax: 50,
      auth: user === undefined ? {} : { user },
      ...options,
    });
    this.#clients.push(socket);
    const client = new Client(socket);
    await once(socket as never, 'connect');
    return client;
  }

  async end(): Promise<void> {
    for (const socket of this.#clients) socket.disconnect();
    for (const { io, presence, pubsub, tracker } of this.#nodes) {
      await tracker.close();
      await io.close();
      await Promise.all([presence.close(), pubsub.close()]);
    }
  }
}
