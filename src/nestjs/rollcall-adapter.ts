import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Json } from '../internal/codec.js';
import { InvalidArgumentError, UnsupportedError } from '../internal/errors.js';
import { assertFunction, assertOptions } from '../internal/validate.js';
import { CloseCode } from '../protocol/close-codes.js';
import type { RoomSocket } from '../rooms/room-socket.js';
import type { ConnectionIdentity, RequestHandler, ServeCloseOptions, ServeStats } from '../server/options.js';
import { METHOD } from '../server/parse-frame.js';
import type { ServeHandle } from '../server/serve-handle.js';
import { serveWebSocket } from '../ws/serve-web-socket.js';
import { GatewayClient, runRequest } from './gateway-client.js';
import type {
  NestApplicationLike,
  NestMessageHandler,
  NestObservable,
  UpgradeServerLike,
} from './nest-types.js';
import { ROLLCALL_ADAPTER_OPTION_NAMES } from './option-names.js';
import type { RollcallAdapterOptions } from './options.js';
import { RollcallHost } from './rollcall-host.js';

/** The connections of one path; the value of `@WebSocketServer()`. */
export interface GatewayServer {
  /** Counters and gauges. */
  stats(): ServeStats;
}

/**
 * A WebSocket adapter of Nest on `serveWebSocket`: gateways serve `rollcall/client`, on the HTTP server of the
 * application. A request of a client calls the handler with that name in `@SubscribeMessage`, whose result is the reply.
 *
 * @example
 * ```ts
 * app.useWebSocketAdapter(
 *   new RollcallAdapter(app, {
 *     createServer: () => new WebSocketServer({ noServer: true }),
 *     authenticate: (request) => app.get(Sessions).findUser(request),
 *     authorize: (user, request) => app.get(Members).mayDo(user, request),
 *   }),
 * );
 * ```
 */
export class RollcallAdapter<User extends ConnectionIdentity = ConnectionIdentity> {
  readonly #host: RollcallHost;
  readonly #http: Server;
  readonly #options: RollcallAdapterOptions<User>;
  readonly #paths = new Map<string, GatewayPath<User>>();
  readonly #clients = new WeakMap<GatewayClient<User>, GatewayPath<User>>();

  /**
   * @throws `InvalidArgumentError` for an invalid option, and if the application does not import `RollcallModule`.
   */
  constructor(app: NestApplicationLike, options: RollcallAdapterOptions<User>) {
    assertOptions('options', options ?? null, ROLLCALL_ADAPTER_OPTION_NAMES);
    assertFunction('createServer', options.createServer);
    assertFunction('authenticate', options.authenticate);
    assertFunction('authorize', options.authorize);
    this.#host = findHost(app);
    this.#http = app.getHttpServer();
    this.#options = options;
  }

  /**
   * Called by Nest for each path of the gateways.
   *
   * @throws `UnsupportedError` for a gateway with a port or a namespace.
   */
  create(port: number, options: { path?: string; namespace?: unknown } = {}): GatewayServer {
    if (port !== 0) {
      throw new UnsupportedError(
        `a gateway of RollcallAdapter has no port: use @WebSocketGateway({ path }) instead of ${port}`,
      );
    }
    if (options.namespace !== undefined) {
      throw new UnsupportedError(
        'a gateway of RollcallAdapter has no namespace: use @WebSocketGateway({ path })',
      );
    }
    const path = toPath(options.path);
    const existing = this.#paths.get(path);
    if (existing !== undefined) return existing;
    if (this.#paths.size === 0) this.#http.on('upgrade', this.#onUpgrade);
    const server = new GatewayPath<User>(path, this.#host, this.#options, (client) =>
      this.#clients.set(client, server),
    );
    this.#paths.set(path, server);
    this.#host.add(server);
    return server;
  }

  /** Called by Nest for each gateway. */
  bindClientConnect(server: GatewayServer, callback: (client: GatewayClient<User>) => void): void {
    (server as GatewayPath<User>).onClient(callback);
  }

  /** Called by Nest for each client and gateway. */
  bindClientDisconnect(client: GatewayClient<User>, callback: (reason?: unknown) => void): void {
    this.#clients.get(client)?.onEnd(client, callback);
  }

  /**
   * Called by Nest for each client and gateway.
   *
   * @throws `UnsupportedError` for a handler with `@Ack()`, whose reply is its result; `InvalidArgumentError` for a name
   * that clients cannot send.
   */
  bindMessageHandlers(
    client: GatewayClient<User>,
    handlers: readonly NestMessageHandler[],
    // biome-ignore lint/suspicious/noExplicitAny: as in Nest
    transform: (result: any) => NestObservable,
  ): void {
    this.#clients.get(client)?.bind(client, handlers, transform);
  }

  /** Called by Nest 12 for a client that connects before the application is ready. */
  closeClient(client: GatewayClient<User>): void {
    client.socket.close(CloseCode.SERVICE_RESTART, 'not ready');
  }

  /** Called by Nest when the application closes. */
  async close(server: GatewayServer): Promise<void> {
    await (server as GatewayPath<User>).close();
  }

  /** Called by Nest after all servers are closed. */
  dispose(): void {
    this.#http.off('upgrade', this.#onUpgrade);
    this.#paths.clear();
  }

  readonly #onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    const path = toPath(request.url?.split('?', 1)[0]);
    const server = this.#paths.get(path);
    if (server !== undefined) return server.upgrade(request, socket, head);
    // Another listener may serve this path; without one the request would have no answer.
    if (this.#http.listenerCount('upgrade') > 1) return;
    socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
  };
}

/** The gateways of one path share its connections. */
class GatewayPath<User extends ConnectionIdentity> implements GatewayServer {
  readonly #server: UpgradeServerLike;
  readonly #serving: ServeHandle;
  readonly #onConnect: ((client: GatewayClient<User>) => void)[] = [];
  readonly #connections = new WeakMap<RoomSocket, Connection<User>>();
  /** By the name of the message; filled by the first client, because Nest has the handlers of a gateway for each client. */
  readonly #requests: Record<string, RequestHandler<User>> = Object.create(null);

  constructor(
    path: string,
    host: RollcallHost,
    { createServer, ...options }: RollcallAdapterOptions<User>,
    register: (client: GatewayClient<User>) => void,
  ) {
    this.#server = createServer();
    if (typeof this.#server?.handleUpgrade !== 'function') {
      throw new InvalidArgumentError(
        'createServer',
        `must return a WebSocketServer of ws with noServer: true (for the path ${path})`,
      );
    }
    const { rooms, presence } = host.rollcall;
    this.#serving = serveWebSocket<User>(this.#server, {
      ...options,
      rooms,
      requests: this.#requests,
      onConnect: (socket, user) => {
        const client = new GatewayClient(socket, user, presence);
        this.#connections.set(socket, { client, handlers: new Map(), onEnd: [] });
        register(client);
        for (const callback of this.#onConnect) callback(client);
      },
      onDisconnect: (socket) => {
        for (const callback of this.#connections.get(socket)?.onEnd ?? []) callback();
      },
    });
  }

  stats(): ServeStats {
    return this.#serving.stats();
  }

  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    this.#server.handleUpgrade(request, socket, head, (opened) =>
      this.#server.emit('connection', opened, request),
    );
  }

  onClient(callback: (client: GatewayClient<User>) => void): void {
    this.#onConnect.push(callback);
  }

  onEnd(client: GatewayClient<User>, callback: () => void): void {
    this.#connections.get(client.socket)?.onEnd.push(callback);
  }

  bind(
    client: GatewayClient<User>,
    handlers: readonly NestMessageHandler[],
    transform: (result: unknown) => NestObservable,
  ): void {
    const bound = this.#connections.get(client.socket)?.handlers;
    for (const { message, callback, isAckHandledManually } of handlers) {
      const name = typeof message === 'string' ? message : '';
      if (isAckHandledManually === true) {
        throw new UnsupportedError(`the handler of ${name} has @Ack(): return the reply instead`);
      }
      if (!METHOD.test(name)) {
        throw new InvalidArgumentError(
          '@SubscribeMessage',
          `${JSON.stringify(message)} is no name that a client can call: use 1 to 64 letters, digits or any of "_ . : -"`,
        );
      }
      bound?.set(name, (data) => runRequest(() => toLastValue(transform(callback(data)))));
      this.#requests[name] ??= (socket, data) => this.#connections.get(socket)?.handlers.get(name)?.(data);
    }
  }

  async close(options?: ServeCloseOptions): Promise<void> {
    await this.#serving.close(options);
    this.#server.close();
  }
}

interface Connection<User extends ConnectionIdentity> {
  readonly client: GatewayClient<User>;
  readonly handlers: Map<string, (data: Json) => Promise<unknown>>;
  readonly onEnd: (() => void)[];
}

function findHost(app: NestApplicationLike): RollcallHost {
  if (typeof app?.get !== 'function' || typeof app.getHttpServer !== 'function') {
    throw new InvalidArgumentError('app', 'must be the application that NestFactory.create returned');
  }
  try {
    return app.get(RollcallHost, { strict: false });
  } catch (cause) {
    throw new InvalidArgumentError('app', 'does not import RollcallModule.forRoot({ redis })', { cause });
  }
}

/** With a slash at the start and none at the end. */
function toPath(path = ''): string {
  return `/${path.replace(/^\/+|\/+$/g, '')}`;
}

/** Resolves with `undefined` for an observable without values. */
function toLastValue(values: NestObservable): Promise<unknown> {
  return new Promise((resolve, reject) => {
    let last: unknown;
    values.subscribe({
      next: (value) => {
        last = value;
      },
      error: reject,
      complete: () => resolve(last),
    });
  });
}
