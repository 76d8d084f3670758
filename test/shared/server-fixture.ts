import type { IncomingMessage } from 'node:http';
import { PresenceService, PubSubService, RoomService, type RoomServiceOptions } from 'rollcall';
import { type Client, connect } from 'rollcall/client';
import type {
  ConnectionHandlerOptions,
  ConnectionIdentity,
  ServeCloseOptions,
  ServeStats,
} from 'rollcall/server';
import { WebSocket } from 'ws';
import { type WsBackend, WsClient } from './ws-fixture.js';

/** Requests of any transport. */
export type AnyRequest = Request & IncomingMessage;
export type ServerOptions = ConnectionHandlerOptions<ConnectionIdentity, AnyRequest>;

/** A transport on a port of its own. */
export interface StartedServer {
  /** Of the WebSockets, without a query. */
  readonly url: string;
  stats(): ServeStats;
  /** Ends the connections, and leaves the transport open. */
  shutdown(options?: ServeCloseOptions): Promise<void>;
  /** Ends the transport. */
  end(): Promise<unknown>;
}

export type StartServer = (options: ServerOptions) => Promise<StartedServer>;

export interface ServerNode extends StartedServer {
  readonly rooms: RoomService;
  readonly presence: PresenceService;
  /** What was reported, as "Name: message". */
  readonly errors: string[];
}

/** A header of a request of any transport. */
export function headerOf({ headers }: AnyRequest, name: string): string | undefined {
  return typeof headers.get === 'function'
    ? (headers.get(name) ?? undefined)
    : (headers as IncomingMessage['headers'])[name]?.toString();
}

let count = 0;

/** Some servers of one application on one transport, and their clients. */
export class ServerFixture {
  readonly #backend: WsBackend;
  readonly #start: StartServer;
  readonly #prefix = `server-${++count}`;
  readonly #ends: (() => unknown)[] = [];

  constructor(backend: WsBackend, start: StartServer) {
    this.#backend = backend;
    this.#start = start;
  }

  async node(
    options: Partial<ServerOptions> = {},
    roomOptions: Partial<RoomServiceOptions> = {},
  ): Promise<ServerNode> {
    const errors: string[] = [];
    const onError = (error: Error) => void errors.push(`${error.name}: ${error.message}`);
    const common = { prefix: this.#prefix, onError };
    const pubsub = new PubSubService({ ...common, redis: this.#backend.client() });
    const presence = new PresenceService({ ...common, redis: this.#backend.client(), grace: 0 });
    const rooms = new RoomService({ pubsub, presence, onError, ...roomOptions });
    const started = await this.#start({
      rooms,
      authenticate: ({ url = '' }) => new URL(url, 'http://localhost').searchParams.get('user'),
      authorize: (_, request) => !('room' in request) || request.room !== 'closed',
      onError,
      ...options,
    });
    this.#ends.push(async () => {
      await started.shutdown();
      await started.end();
      await rooms.close();
      await presence.close();
      await pubsub.close();
    });
    return { ...started, rooms, presence, errors };
  }

  /** A WebSocket whose connection may fail. */
  open(url: string, protocols: string[] = ['rollcall.1'], options: object = {}): WsClient {
    const socket = new WebSocket(url, protocols, { perMessageDeflate: false, ...options });
    this.#ends.unshift(() => socket.terminate());
    return new WsClient(socket);
  }

  /** A client that has received `welcome`. */
  async client({ url }: { url: string }, user: string, options: object = {}): Promise<WsClient> {
    const client = this.open(`${url}?user=${user}`, undefined, options);
    await client.welcome();
    return client;
  }

  /** A client of `rollcall/client`. */
  connect(url: () => string): Client {
    const client = connect({ url, WebSocket: WebSocket as never, backoff: { first: 20, max: 100 } });
    this.#ends.unshift(() => client.close());
    return client;
  }

  async end(): Promise<void> {
    for (const end of this.#ends.splice(0)) await end();
  }
}
