import { createServer } from 'node:http';
import { connect } from 'node:net';
import { pipeline } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { build, stop } from 'esbuild';
import express from 'express';
import { isRollcallError } from 'rollcall';
import { pipeEventStream } from 'rollcall/sse';
import { isSameOrigin, issueTicket } from './security.js';
import { isName, stats } from './settings.js';

const MAX_LOOKUP = 100;
const MAX_FREEZE = 10_000;
const PAGE = fileURLToPath(new URL('public/', import.meta.url));
const HEADERS = {
  // Files of this server only, and no inline scripts: a user's text never runs in another user's browser.
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
};

/**
 * The only server that the browser connects to. It serves the page, assigns a node to each client, forwards
 * WebSockets to the nodes like a load balancer, streams the dashboard, and handles the buttons that break things.
 *
 * @param secret signs tickets
 * @param signal ends the streams
 */
export async function createFront({ nodes, presence, pubsub, secret, freeze, signal }) {
  let thaw;
  const script = await bundlePage();
  const app = express().disable('x-powered-by');

  app.use((request, response, next) => {
    response.set(HEADERS);
    if (request.method === 'GET' || isSameOrigin(request)) next();
    else throw httpError(403, 'this request must come from the demo page');
  });
  app.use(express.static(PAGE), express.json({ limit: 1_024 }));
  app.get('/page.js', (_, response) => response.type('js').send(script));

  app.get('/events', (request, response) => {
    const channels = [{ channel: stats(), event: 'stats', last: 270 }];
    pipeEventStream(request, response, { pubsub, channels, signal });
  });

  app.get('/presence', async ({ query }, response) => {
    const users = [query.user ?? []].flat();
    if (users.length === 0 || users.length > MAX_LOOKUP)
      throw httpError(400, `name 1 to ${MAX_LOOKUP} users: /presence?user=alice&user=bob`);
    // One round trip for all users. Unknown users are missing from the map.
    const found = await presence.getMultiplePresence(users);
    response.json(Object.fromEntries(users.map((user) => [user, found.get(user) ?? null])));
  });

  // Issues a ticket for the requested node if it runs, otherwise for any. A real application would authenticate the
  // user first.
  app.post('/connect', ({ body }, response) => {
    const { name, node } = Object(body);
    if (!isName(name)) throw httpError(400, 'A name is 1 to 24 letters, digits, hyphens and underscores.');
    const up = nodes.list().filter((each) => each.up);
    const chosen = up.find((each) => each.name === node) ?? up[Math.floor(Math.random() * up.length)];
    if (chosen === undefined) throw httpError(503, 'No node is running.');
    const url = `/nodes/${chosen.name}/socket?ticket=${issueTicket(secret, name)}`;
    response.json({ node: chosen.name, url });
  });

  app.post('/nodes/:name/:action', async ({ params: { name, action } }, response, next) => {
    const isNode = nodes.list().some((node) => node.name === name);
    if (!isNode || !['kill', 'start', 'restart'].includes(action)) return next();
    await nodes[action](name);
    response.json({});
  });

  app.post('/redis/freeze', ({ body }, response, next) => {
    if (freeze === undefined) return next();
    const { ms } = Object(body);
    if (!(ms > 0 && ms <= MAX_FREEZE)) throw httpError(400, `ms: up to ${MAX_FREEZE}`);
    freeze.begin();
    clearTimeout(thaw);
    thaw = setTimeout(freeze.end, ms);
    response.json({});
  });

  const refuse = () => {
    throw httpError(405, 'this method is not possible here');
  };
  app.get(['/connect', '/nodes/:name/:action', '/redis/freeze'], refuse).post('/', refuse);
  app.use(() => {
    throw httpError(404, 'not found');
  });
  app.use((error, _request, response, _next) => {
    const isInvalid = isRollcallError(error) && error.code === 'ERR_INVALID_ARGUMENT';
    if (response.headersSent) response.destroy();
    else response.status(error.status ?? (isInvalid ? 400 : 503)).json({ error: error.message });
  });

  return createServer(app).on('upgrade', (request, socket, head) => {
    const [, name] = /^\/nodes\/([^/]+)\/socket\?/.exec(request.url) ?? [];
    const port = nodes.port(name);
    if (port === undefined) socket.end('HTTP/1.1 503 Service Unavailable\r\n\r\n');
    else forward(request, socket, head, port);
  });
}

/** An error that is answered with its status. */
const httpError = (status, message) => Object.assign(new Error(message), { status });

/** The script of the page: one file with all that it imports, such as React and `rollcall/react`. */
async function bundlePage() {
  const { outputFiles } = await build({
    entryPoints: [`${PAGE}page.jsx`],
    bundle: true,
    write: false,
    format: 'esm',
    jsx: 'automatic',
    define: { 'process.env.NODE_ENV': '"production"' },
  });
  await stop();
  return outputFiles[0].text;
}

/** Forwards an upgrade to the node at `port`, and then all bytes. When one side closes, the other is closed. */
function forward({ url, headers }, socket, head, port) {
  const node = connect(port, '127.0.0.1');
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  node.write(`GET ${url} HTTP/1.1\r\n${lines.join('')}\r\n`);
  node.write(head);
  pipeline(socket, node, socket, () => {});
}
