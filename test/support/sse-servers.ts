import { once } from 'node:events';
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttp2Server, type Http2Server } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { serve } from '@hono/node-server';
import fastify from 'fastify';
import { Hono } from 'hono';
import {
  type EventStreamHandle,
  type EventStreamOptions,
  eventStream,
  type NodeRequest,
  type NodeResponse,
  pipeEventStream,
} from 'rollcall/sse';

/** Runs before a stream begins, as authentication does. */
export type Prepare = () => Promise<unknown>;

/** The stream for a request; `undefined` answers 204, after which EventSource does not reconnect. */
export type Answer = (url: URL) => EventStreamOptions | undefined;

export type StartServer = (answer: Answer, port?: number) => Promise<SseServer>;

export interface SseServer {
  readonly url: string;
  /** The handles of all streams so far. */
  readonly streams: EventStreamHandle[];
  /** Stops the server and cuts its connections, as a crash does. */
  stop(): Promise<void>;
}

async function listen(
  server: Server | Http2Server,
  streams: EventStreamHandle[],
  port = 0,
): Promise<SseServer> {
  await once(server.listen(port, '127.0.0.1'), 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    streams,
    stop: async () => {
      const closed = once(server.close(), 'close');
      if ('closeAllConnections' in server) server.closeAllConnections();
      await closed;
    },
  };
}

function pipe(
  streams: EventStreamHandle[],
  answer: Answer,
  url: URL,
  request: NodeRequest,
  response: NodeResponse,
) {
  const options = answer(url);
  if (options !== undefined) return streams.push(pipeEventStream(request, response, options));
  response.writeHead(204);
  return response.end();
}

/** Express has no types of its own. */
interface ExpressApp extends RequestListener {
  get(
    path: string,
    handler: (request: IncomingMessage & { originalUrl: string }, response: ServerResponse) => void,
  ): void;
}

const base = 'http://host';

/**
 * Servers with all tests: one writes to Node's response, one returns a web stream. The others use one of these two
 * paths, so that they have a few tests only, unless MATRIX=all.
 */
export const fullyTested: ReadonlySet<string> = new Set(['node:http', 'Hono']);

/** The frameworks that docs/sse.md shows. */
export const sseServers = {
  'node:http': (answer: Answer, port?: number, prepare?: Prepare) => {
    const streams: EventStreamHandle[] = [];
    const server = createServer(async (request, response) => {
      await prepare?.();
      pipe(streams, answer, new URL(request.url ?? '', base), request, response);
    });
    return listen(server, streams, port);
  },
  Express: async (answer: Answer, port?: number) => {
    const streams: EventStreamHandle[] = [];
    const { default: express } = (await import('express' as string)) as { default(): ExpressApp };
    const app = express();
    app.get('/events', (request, response) => {
      pipe(streams, answer, new URL(request.originalUrl, base), request, response);
    });
    return listen(createServer(app), streams, port);
  },
  Fastify: async (answer: Answer, port = 0) => {
    const streams: EventStreamHandle[] = [];
    const app = fastify({ forceCloseConnections: true });
    app.get('/events', (request, reply) => {
      reply.hijack();
      pipe(streams, answer, new URL(request.url, base), request.raw, reply.raw);
    });
    const url = await app.listen({ port, host: '127.0.0.1' });
    return { url, streams, stop: () => app.close() };
  },
  Hono: async (answer: Answer, port = 0) => {
    const streams: EventStreamHandle[] = [];
    const app = new Hono();
    app.get('/events', (context) => {
      const options = answer(new URL(context.req.url));
      if (options === undefined) return context.body(null, 204);
      const response = eventStream(context.req.raw, options);
      streams.push(response.events);
      return response;
    });
    const server = serve({ fetch: app.fetch, port, hostname: '127.0.0.1' }) as Server;
    await once(server, 'listening');
    return {
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      streams,
      stop: async () => {
        const closed = once(server.close(), 'close');
        server.closeAllConnections();
        await closed;
      },
    };
  },
} satisfies Record<string, StartServer>;

/** A server of HTTP/2 without TLS, which `fetch` does not support. */
export async function startHttp2(answer: Answer, prepare?: Prepare): Promise<SseServer> {
  const streams: EventStreamHandle[] = [];
  const server = createHttp2Server(async (request, response) => {
    await prepare?.();
    pipe(streams, answer, new URL(request.url, base), request, response);
  });
  return listen(server, streams);
}
