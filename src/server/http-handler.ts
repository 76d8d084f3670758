import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { NodeResponseWriter } from '../http/node-response-writer.js';
import type { NodeRequest, NodeResponse } from '../http/node-types.js';
import type { ResponseWriter } from '../http/response-writer.js';
import { WebResponseWriter } from '../http/web-response-writer.js';
import { type Clock, clockOption } from '../internal/clock.js';
import { InvalidArgumentError } from '../internal/errors.js';
import { CloseCode } from '../protocol/close-codes.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';
import type { Subscription } from '../pubsub/subscribe.js';
import { assertHandlerOptions } from './connection-handler.js';
import { ConnectionServer } from './connection-server.js';
import { HttpSession } from './http-session.js';
import { HTTP_HANDLER_OPTION_NAMES } from './option-names.js';
import type {
  ConnectionHandlerOptions,
  ConnectionIdentity,
  HandshakeRequest,
  HttpHandlerOptions,
  ServeCloseOptions,
  ServeStats,
} from './options.js';
import { plainEncoder } from './peer-adapter.js';
import { readHeader, readParameter } from './read-request.js';

/** A request of `node:http` or `node:http2`, whose body is read. */
export type NodeBodyRequest = NodeRequest & AsyncIterable<Uint8Array>;

/** Serves `rollcall/client` over HTTP. Give it all methods of the path that the client's `url` names. */
export interface HttpHandler<R extends HandshakeRequest = IncomingMessage> {
  /** Answers a request of `node:http`, `node:http2`, Express, or Fastify's `request.raw`. Never rejects. */
  handle(request: R & NodeBodyRequest, response: NodeResponse): Promise<void>;
  /** Answers a Web-standard request. Never rejects. */
  fetch(request: R & Request): Promise<Response>;
  /** Counters and gauges. */
  stats(): ServeStats;
  /**
   * Closes all connections with 1012 (service restart) and accepts no new ones; resolves when all sockets are
   * detached. Repeated calls return the same promise.
   *
   * @throws `InvalidArgumentError` for an option out of range; no connection is closed.
   */
  shutdown(options?: ServeCloseOptions): Promise<void>;
  /** Calls `shutdown`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Serves clients whose WebSockets are blocked: `rollcall/client` then falls back to HTTP by itself. Frames of the server
 * are one response that stays open, an event stream; frames of the client are the bodies of further requests, which any
 * process of the deployment may receive. Pass the options of `serveWebSocket`.
 *
 * @example
 * ```ts
 * const options = { rooms, authenticate, authorize };
 * serveWebSocket(wss, options);
 * const http = createHttpHandler(options);
 * app.all('/ws', (req, res) => http.handle(req, res));
 * ```
 * @throws `InvalidArgumentError` for an option out of range.
 */
export function createHttpHandler<
  User extends ConnectionIdentity = ConnectionIdentity,
  R extends HandshakeRequest = IncomingMessage,
>(options: HttpHandlerOptions<User, R>): HttpHandler<R> {
  assertHandlerOptions(options, HTTP_HANDLER_OPTION_NAMES);
  const { origins = [], ...rest } = options;
  if (
    !Array.isArray(origins) ||
    !origins.every((each) => URL.canParse(each) && new URL(each).origin === each)
  ) {
    throw new InvalidArgumentError('origins', 'must be a list of origins such as https://app.example');
  }
  return new HttpConnections(new ConnectionServer(rest), rest, origins);
}

/** A few frames; `rollcall/client` sends less, unless one frame is longer. In bytes. */
const MAX_BODY = 1_048_576;
/** The process, then a secret. */
const SESSION_ID = /^([\w-]{12})\.[\w-]{22}$/;

/** One request and what answers it. */
interface Exchange<R extends HandshakeRequest> {
  readonly request: R;
  readonly method: string;
  readonly body: AsyncIterable<Uint8Array> | null;
  /** False once the response has begun. */
  canRespond(): boolean;
  respond(status: number, headers: Readonly<Record<string, string>>, text?: string): void;
  /** `respond` for a response that stays open. */
  stream(headers: Readonly<Record<string, string>>): ResponseWriter;
}

/** Frames for a session of another process. */
interface RemoteFrames {
  readonly session: string;
  readonly frames: string;
}

class HttpConnections<User extends ConnectionIdentity, R extends HandshakeRequest> implements HttpHandler<R> {
  readonly #server: ConnectionServer<User, R>;
  readonly #pubsub: PubSubService;
  readonly #clock: Clock;
  readonly #origins: readonly string[];
  readonly #maxBody: number;
  readonly #nodeId = randomBytes(9).toString('base64url');
  readonly #sessions = new Map<string, HttpSession>();
  /** Sessions that have received frames by way of another process. */
  readonly #remote = new WeakSet<HttpSession>();
  #inbox: Promise<Subscription> | undefined;
  #closing = false;

  constructor(
    server: ConnectionServer<User, R>,
    { rooms, maxFrameBytes = 0, clock }: ConnectionHandlerOptions<User, R>,
    origins: readonly string[],
  ) {
    this.#server = server;
    this.#pubsub = rooms.pubsub;
    this.#clock = clockOption(clock);
    this.#origins = origins;
    this.#maxBody = Math.max(MAX_BODY, 2 * maxFrameBytes);
  }

  handle(request: R & NodeBodyRequest, response: NodeResponse): Promise<void> {
    return this.#answer({
      request,
      method: request.method ?? 'GET',
      body: request,
      canRespond: () => !response.headersSent,
      respond: (status, headers, text = '') => {
        for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
        response.writeHead(status);
        if (text !== '') response.write(Buffer.from(text));
        response.end();
      },
      stream: (headers) => {
        for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
        response.writeHead(200);
        return new NodeResponseWriter(request, response, this.#clock);
      },
    });
  }

  async fetch(request: R & Request): Promise<Response> {
    let response: Response | undefined;
    await this.#answer({
      request,
      method: request.method,
      body: request.body as AsyncIterable<Uint8Array> | null,
      canRespond: () => response === undefined,
      respond: (status, headers, text) => {
        response = new Response(text ?? null, { status, headers });
      },
      stream: (headers) => {
        const writer = new WebResponseWriter(this.#clock, request);
        response = new Response(writer.body as ReadableStream<Uint8Array>, { headers });
        return writer;
      },
    });
    return response as Response;
  }

  stats(): ServeStats {
    return this.#server.stats();
  }

  async shutdown(options?: ServeCloseOptions): Promise<void> {
    const closed = this.#server.close(options);
    this.#closing = true;
    await closed;
    const inbox = this.#inbox;
    this.#inbox = undefined;
    // A failure was reported when it occurred.
    await inbox?.then((subscription) => subscription.unsubscribe()).catch(() => {});
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }

  async #answer(exchange: Exchange<R>): Promise<void> {
    const headers = this.#corsHeaders(exchange.request);
    try {
      const { method } = exchange;
      if (method === 'GET') await this.#connect(exchange, headers);
      else if (method === 'POST') await this.#receive(exchange, headers);
      else if (method === 'OPTIONS') exchange.respond(204, headers);
      else exchange.respond(405, { ...headers, allow: 'GET, POST, OPTIONS' });
    } catch (error) {
      this.#server.report(error);
      if (exchange.canRespond()) exchange.respond(503, { ...headers, 'retry-after': '1' });
    }
  }

  async #connect(exchange: Exchange<R>, cors: Readonly<Record<string, string>>): Promise<void> {
    const { request } = exchange;
    if (this.#closing) return exchange.respond(503, { ...cors, 'retry-after': '1' });
    // Before the client knows the session: its frames may arrive at another process.
    const [handshake] = await Promise.all([this.#server.upgrade(request), this.#openInbox()]);
    const { rejection } = handshake;
    if (rejection !== undefined) {
      const headers = { ...cors, ...rejection.headers, 'content-type': 'text/plain' };
      return exchange.respond(rejection.status, headers, rejection.text);
    }
    const writer = exchange.stream({
      ...cors,
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store, no-transform',
      'x-accel-buffering': 'no',
    });
    const session = new HttpSession(`${this.#nodeId}.${randomBytes(16).toString('base64url')}`, writer);
    this.#sessions.set(session.id, session);
    // The same object, whose user is known: a token may be valid once.
    const { connection, begin } = this.#server.add(session, plainEncoder, handshake);
    session.connection = connection;
    writer.onClose(() => {
      this.#sessions.delete(session.id);
      session.end();
    });
    begin();
  }

  async #receive(exchange: Exchange<R>, cors: Readonly<Record<string, string>>): Promise<void> {
    const id = readParameter(exchange.request, 'session') ?? '';
    const [, nodeId] = SESSION_ID.exec(id) ?? [];
    if (nodeId === undefined) return exchange.respond(400, cors);
    const frames = await readBody(exchange.body, this.#maxBody);
    if (frames === undefined) return exchange.respond(413, cors);
    if (frames === '') {
      const reason = 'has no body: call handle before anything that reads bodies, such as express.text()';
      this.#server.report(new InvalidArgumentError('request', reason));
      return exchange.respond(400, cors);
    }
    const session = this.#sessions.get(id);
    if (session !== undefined) await session.receive(frames);
    else if (nodeId === this.#nodeId) return exchange.respond(410, cors);
    else await this.#pubsub.publish(toInbox(nodeId), { session: id, frames } satisfies RemoteFrames);
    exchange.respond(204, cors);
  }

  #openInbox(): Promise<Subscription> {
    this.#inbox ??= this.#pubsub.subscribe<RemoteFrames>(
      toInbox(this.#nodeId),
      ({ session: id, frames }) => {
        const session = this.#sessions.get(id);
        if (session === undefined) return;
        this.#remote.add(session);
        // Not awaited: the other process has answered already.
        void session.receive(frames);
      },
      { onDiscontinuity: () => this.#onFramesLost() },
    );
    this.#inbox.catch(() => {
      this.#inbox = undefined;
    });
    return this.#inbox;
  }

  /** A client would wait for the reply to a frame that was lost; it sends it again after a reconnect. */
  #onFramesLost(): void {
    for (const session of this.#sessions.values()) {
      if (this.#remote.has(session)) session.connection?.close(CloseCode.UNAVAILABLE, 'frames may be lost');
    }
  }

  #corsHeaders(request: HandshakeRequest): Readonly<Record<string, string>> {
    const origin = readHeader(request, 'origin');
    if (typeof origin !== 'string' || !this.#origins.includes(origin)) return { vary: 'origin' };
    return {
      vary: 'origin',
      'access-control-allow-origin': origin,
      'access-control-allow-credentials': 'true',
      'access-control-allow-methods': 'GET, POST',
    };
  }
}

/** A channel of one process. */
const toInbox = (nodeId: string): string => `rollcall:http:${nodeId}`;

/** `undefined`: longer than `max` bytes. */
async function readBody(body: AsyncIterable<Uint8Array> | null, max: number): Promise<string | undefined> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > max) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
