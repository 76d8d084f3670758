import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PresenceService, PubSubService, type RedisClient } from 'rollcall';
import { type PresenceTracker, type TrackPresenceOptions, trackPresence } from 'rollcall/socket.io';
import { Server, type ServerOptions, type Socket } from 'socket.io';
import { type Socket as ClientSocket, io as connectTo, type ManagerOptions } from 'socket.io-client';
import { waitFor } from '../support/wait.js';

/** What `presence:watch` and `presence:changed` bring. */
export interface News {
  userId: string;
  status: string;
  lastSeen: number;
  version: number;
}

/** What a request is answered with. */
export interface Answer {
  users?: News[];
  status?: string;
  error?: { code: string; message: string };
}

/** One process: a Socket.IO server with rollcall beside it. */
export interface SocketIoNode {
  readonly io: Server;
  readonly url: string;
  readonly presence: PresenceService;
  readonly pubsub: PubSubService;
  readonly tracking: PresenceTracker<Socket>;
  readonly errors: string[];
}

export interface SocketIoNodeOptions {
  io?: Partial<ServerOptions>;
  tracking?: Partial<TrackPresenceOptions<Socket>>;
  /** The grace of the presence service. */
  grace?: number;
  namespace?: string;
  /** Called before the tracking begins. */
  prepare?: (io: Server) => void;
}

/** A client in a test: what it heard, and requests that are answered. */
export class Client {
  readonly news: News[] = [];
  /** Everything that came, as event and first argument. */
  readonly events: [string, unknown, unknown][] = [];

  constructor(readonly socket: ClientSocket) {
    socket.on('presence:changed', (news: News) => this.news.push(news));
    socket.onAny((event: string, first: unknown, second: unknown) =>
      this.events.push([event, first, second]),
    );
  }

  ask(event: string, ...payload: unknown[]): Promise<Answer> {
    return this.socket.timeout(8_000).emitWithAck(event, ...payload) as Promise<Answer>;
  }

  async statuses(...userIds: string[]): Promise<string[]> {
    const { users = [], error } = await this.ask('presence:watch', userIds);
    return error === undefined ? users.map(({ status }) => status) : [error.code];
  }

  heard(userId: string): string[] {
    return this.news.filter((news) => news.userId === userId).map(({ status }) => status);
  }

  async until(userId: string, status: string): Promise<void> {
    await waitFor(() => this.heard(userId).at(-1) === status, {
      timeout: 15_000,
      message: () => `${userId} to become ${status}; heard: ${this.heard(userId).join(', ') || 'nothing'}`,
    });
  }

  /** Breaks the connection as a network would; Socket.IO connects again, to `url` where it is given. */
  async reconnect(url?: string): Promise<void> {
    const { io } = this.socket;
    if (url !== undefined) (io as unknown as { uri: string }).uri = url;
    const again = once(this.socket as never, 'connect');
    io.engine.close();
    await again;
  }
}

/** The processes and clients of one test on one Redis; ended together. */
export class SocketIoWorld {
  readonly #nodes: SocketIoNode[] = [];
  readonly #clients: ClientSocket[] = [];
  readonly prefix: string;
  static #count = 0;

  constructor(readonly redis: () => RedisClient) {
    this.prefix = `io-${process.pid}-${++SocketIoWorld.#count}`;
  }

  async node(options: SocketIoNodeOptions = {}): Promise<SocketIoNode> {
    const errors: string[] = [];
    const onError = (error: Error, { stage }: { stage: string }) => errors.push(`${stage}: ${error.message}`);
    const redis = this.redis();
    const presence = new PresenceService({
      redis,
      prefix: this.prefix,
      lease: 3_000,
      timeout: 2_000,
      grace: options.grace ?? 0,
      onError,
    });
    const pubsub = new PubSubService({ redis, prefix: `${this.prefix}:`, timeout: 2_000, onError });
    const http = createServer();
    const io = new Server(http, { transports: ['websocket'], ...options.io });
    options.prepare?.(io);
    const space = io.of(options.namespace ?? '/');
    space.use((socket, next) => {
      socket.data.user = socket.handshake.auth['user'];
      next();
    });
    const tracking = trackPresence(space, { presence, pubsub, onError, ...options.tracking });
    await once(http.listen(0, '127.0.0.1'), 'listening');
    const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
    const node: SocketIoNode = { io, url, presence, pubsub, tracking, errors };
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
    for (const { io, presence, pubsub, tracking } of this.#nodes) {
      await tracking.close();
      await io.close();
      await Promise.all([presence.close(), pubsub.close()]);
    }
  }
}
