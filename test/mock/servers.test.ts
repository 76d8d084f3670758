import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { serve } from '@hono/node-server';
import type { CrosswsHandle } from 'rollcall/crossws';
import { type ConnectionHandler, createConnectionHandler } from 'rollcall/server';
import { createEmbeddedRedis } from 'rollcall/testing';
import { serveWebSocket } from 'rollcall/ws';
import { WebSocketServer } from 'ws';
import { serverBehaviour } from '../shared/server-behaviour.js';
import type { ServerOptions, StartedServer, StartServer } from '../shared/server-fixture.js';

// The same connections on every transport. The transports are set up by the examples, as the guides show them.

async function startBackend() {
  const redis = await createEmbeddedRedis();
  return { client: () => redis.connect(), end: () => redis.close() };
}

/** An example, which TypeScript does not see here. */
const load = <T>(file: string): Promise<{ createApp: T }> =>
  import(new URL(`../../examples/servers/${file}`, import.meta.url).href);

async function listen(server: Server): Promise<Pick<StartedServer, 'url' | 'end'>> {
  if (!server.listening) await once(server.listen(0, '127.0.0.1'), 'listening');
  const end = async () => {
    server.close();
    server.closeAllConnections();
  };
  return { url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}/chat`, end };
}

const ofHandler = (handler: Pick<ConnectionHandler, 'stats' | 'shutdown'>) => ({
  stats: () => handler.stats(),
  shutdown: (options: object = {}) => handler.shutdown(options),
});

const ws: StartServer = async (options) => {
  const server = createServer((_, response) => response.writeHead(404).end());
  const wss = new WebSocketServer({ server });
  const serving = serveWebSocket(wss, options as never);
  return {
    ...(await listen(server)),
    stats: () => serving.stats(),
    shutdown: (given) => serving.close(given),
  };
};

const crossws: StartServer = async (options) => {
  const { createApp } =
    await load<(options: ServerOptions) => { server: Server; serving: CrosswsHandle }>('crossws.js');
  const { server, serving } = createApp(options);
  return {
    ...(await listen(server)),
    stats: () => serving.stats(),
    shutdown: (given) => serving.close(given),
  };
};

const fastify: StartServer = async (options) => {
  const { createApp } =
    await load<
      (handler: ConnectionHandler<IncomingMessage>) => Promise<{
        listen(options: object): Promise<string>;
        close(): Promise<void>;
      }>
    >('fastify.js');
  const handler = createConnectionHandler(options as ServerOptions);
  const app = await createApp(handler as unknown as ConnectionHandler<IncomingMessage>);
  const url = await app.listen({ port: 0, host: '127.0.0.1' });
  return { ...ofHandler(handler), url: `${url.replace('http', 'ws')}/chat`, end: () => app.close() };
};

const hono: StartServer = async (options) => {
  const { createApp } = await load<(handler: ConnectionHandler) => { fetch: typeof fetch }>('hono.js');
  const handler = createConnectionHandler(options as ServerOptions);
  const wss = new WebSocketServer({ noServer: true });
  const app = createApp(handler as unknown as ConnectionHandler);
  const server = serve({
    fetch: app.fetch as never,
    port: 0,
    hostname: '127.0.0.1',
    websocket: { server: wss as never },
  });
  await once(server, 'listening');
  return { ...(await listen(server as Server)), ...ofHandler(handler) };
};

serverBehaviour('ws', ws, startBackend);
serverBehaviour('crossws on Node', crossws, startBackend);
serverBehaviour('Fastify', fastify, startBackend);
serverBehaviour('Hono on Node', hono, startBackend);
