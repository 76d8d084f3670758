import { createServer } from 'node:http';
import { connect } from 'node:net';
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
 * @param {object} parts
 * @param {import('./nodes.js').Nodes} parts.nodes
 * @param {import('rollcall').PresenceService} parts.presence
 * @param {import('rollcall').PubSubService} parts.pubsub
 * @param {string} parts.secret signs tickets
 * @param {import('./backends.js').Backend['freeze']} parts.freeze
 * @param {AbortSignal} parts.signal ends the streams
 */
export async function createFront({ nodes, presence, pubsub, secret, freeze, signal }) {
  /** Open WebSockets per node. @type {Map<string, number>} */
  const load = new Map();
  /** @type {NodeJS.Timeout | undefined} */
  let thaw;
  const script = await bundle(`${PAGE}page.jsx`);

  const app = express().disable('x-powered-by');
  app.use((request, response, next) => {
    response.set(HEADERS);
    if (request.method === 'GET' || isSameOrigin(request)) next();
    else throw httpError(403, 'this request must come from the demo page');
  });
  app.use(express.static(PAGE));
  app.get('/page.js', (_, response) => response.type('js').send(script));

  app.get('/events', (request, response) => {
    const channels = [{ channel: stats(), event: 'stats', last: 270 }];
    pipeEventStream(request, response, { pubsub, channels, signal });
  });

  app.get('/presence', async ({ query }, response) => {
    const users = [query.user ?? []].flat();
    if (users.length === 0 || users.length > MAX_LOOKUP) {
      throw httpError(400, `name 1 to ${MAX_LOOKUP} users: /presence?user=alice&user=bob`);
    }
    // One round trip for all users. Unknown users are missing from the map.
    const found = await presence.getMultiplePresence(users);
    response.json(Object.fromEntries(users.map((user) => [user, found.get(user) ?? null])));
  });

  app.use(express.json({ limit: 1_024 }));

  // Issues a ticket for the requested node if it runs, otherwise for the node with the fewest connections. A real
  // application would authenticate the user first.
  app.post('/connect', ({ body }, response) => {
    const { name, node } = Object(body);
    if (!isName(name)) throw httpError(400, 'A name is 1 to 24 letters, digits, hyphens and underscores.');
    const up = nodes.list().filter((each) => each.up);
    const [leastLoaded] = up.toSorted((a, b) => (load.get(a.name) ?? 0) - (load.get(b.name) ?? 0));
    const chosen = up.find((each) => each.name === node) ?? leastLoaded;
    if (chosen === undefined) throw httpError(503, 'No node is running.');
    response.json({
      node: chosen.name,
      url: `/nodes/${chosen.name}/socket?ticket=${issueTicket(secret, name)}`,
    });
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
    socket.on('error', () => socket.destroy());
    const [, name = ''] = /^\/nodes\/([^/]+)\/socket\?/.exec(request.url ?? '') ?? [];
    const port = nodes.port(name);
    if (port === undefined) return socket.end('HTTP/1.1 503 Service Unavailable\r\n\r\n');
    load.set(name, (load.get(name) ?? 0) + 1);
    socket.on('close', () => load.set(name, (load.get(name) ?? 0) - 1));
    forward(request, socket, head, port);
  });
}

/**
 * An error that is answered with its status.
 *
 * @param {number} status
 * @param {string} message
 */
const httpError = (status, message) => Object.assign(new Error(message), { status });

/**
 * The script of the page: one file with all that it imports, such as React and `rollcall/react`.
 *
 * @param {string} entry
 */
async function bundle(entry) {
  const define = { 'process.env.NODE_ENV': '"production"' };
  const settings = { bundle: true, write: false, format: /** @type {const} */ ('esm'), define };
  const { outputFiles } = await build({ entryPoints: [entry], jsx: 'automatic', ...settings });
  await stop();
  return outputFiles[0]?.text;
}

/**
 * Forwards the upgrade request to the node that listens on `port`, and then bytes in both directions. When one
 * side closes, the other is closed: the browser sees a killed node as a closed connection.
 *
 * @param {import('node:http').IncomingMessage} request
 * @param {import('node:stream').Duplex} socket
 * @param {Buffer} head
 * @param {number} port
 */
function forward({ url, rawHeaders }, socket, head, port) {
  const headers = rawHeaders.map((text, i) => (i % 2 === 0 ? `\r\n${text}: ` : text)).join('');
  const upstream = connect(port, '127.0.0.1', () => {
    upstream.write(`GET ${url} HTTP/1.1${headers}\r\n\r\n`);
    upstream.write(head);
    upstream.pipe(socket).pipe(upstream);
  });
  upstream.on('error', () => upstream.destroy());
  upstream.on('close', () => socket.destroy());
  socket.on('close', () => upstream.destroy());
}
