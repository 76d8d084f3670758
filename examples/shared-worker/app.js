// A chat whose tabs share one connection. Serves the page, the worker, and the files of rollcall that both import.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { createRollcall } from 'rollcall';
import { createHttpHandler } from 'rollcall/server';
import { serveWebSocket } from 'rollcall/ws';
import { WebSocketServer } from 'ws';

const { resolve } = createRequire(import.meta.url);
const files = {
  '/': ['text/html', new URL('public/index.html', import.meta.url)],
  '/page.js': ['text/javascript', new URL('public/page.js', import.meta.url)],
  '/tabs-worker.js': ['text/javascript', new URL('public/tabs-worker.js', import.meta.url)],
  '/rollcall/client.min.js': ['text/javascript', resolve('rollcall/client.min.js')],
  '/rollcall/shared-worker.min.js': ['text/javascript', resolve('rollcall/shared-worker.min.js')],
};

export function createApp({ redis, ...more }) {
  const rollcall = createRollcall({ redis, rooms: { history: { size: 1_000, ttl: 3_600_000 } } });
  const options = {
    rooms: rollcall.rooms,
    // Instead of a login.
    authenticate: ({ url }) => new URLSearchParams(url.slice(url.indexOf('?'))).get('user'),
    authorize: () => true,
    ...more,
  };
  const http = createHttpHandler(options);
  const server = createServer(async (request, response) => {
    const [path] = request.url.split('?');
    if (path === '/ws') return http.handle(request, response);
    const [type, file] = files[path] ?? [];
    if (!file) return response.writeHead(404).end();
    response.setHeader('content-type', type);
    response.end(await readFile(file));
  });
  const sockets = new WebSocketServer({ server, path: '/ws' });
  const serving = serveWebSocket(sockets, options);
  const close = async () => {
    await Promise.all([serving.close(), http.shutdown()]);
    server.closeAllConnections();
    server.close();
    await rollcall.close();
  };
  return { server, sockets, rollcall, close };
}
