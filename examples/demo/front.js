// @ts-check
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { isRollcallError } from 'rollcall';
import { pipeEventStream } from 'rollcall/sse';
import { serveFile } from './files.js';
import { HttpError, isSameOrigin, readJson, sendJson, urlOf } from './http.js';
import { isName, stats } from './settings.js';
import { issueTicket } from './tickets.js';

/** @typedef {import('node:http').IncomingMessage} Request */
/** @typedef {import('node:http').ServerResponse} Response */
/** @typedef {import('node:stream').Duplex} Duplex */

const MAX_LOOKUP = 100;
const MAX_FREEZE = 10_000;

/**
 * The only server that the browser connects to. It serves the page, assigns a node to each client, forwards
 * WebSockets to the nodes like a load balancer, streams the dashboard, and handles the buttons that break things.
 *
 * @param {object} parts
 * @param {import('./nodes.js').Nodes} parts.nodes
 * @param {import('rollcall').PresenceService} parts.presence
 * @param {import('rollcall').PubSubService} parts.pubsub
 * @param {string} parts.secret signs tickets
 * @param {(ms: number) => void} [parts.freeze] makes Redis unreachable for a while, if possible
 * @param {AbortSignal} parts.signal ends the streams
 */
export function createFront({ nodes, presence, pubsub, secret, freeze, signal }) {
  /** Open WebSockets per node. @type {Map<string, number>} */
  const load = new Map();

  const server = createServer(async (request, response) => {
    try {
      await handle(request, response);
    } catch (error) {
      const { message } = /** @type {Error} */ (error);
      if (response.headersSent) response.destroy();
      else sendJson(response, statusOf(error), { error: message });
    }
  });

  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy());
    const [, name = ''] = /^\/nodes\/([^/]+)\/socket\?/.exec(request.url ?? '') ?? [];
    const port = nodes.port(name);
    if (!isSameOrigin(request)) return reject(socket, '403 Forbidden');
    if (port === undefined) return reject(socket, '503 Service Unavailable');
    load.set(name, (load.get(name) ?? 0) + 1);
    socket.on('close', () => load.set(name, (load.get(name) ?? 0) - 1));
    forward(request, socket, head, port);
  });

  return server;

  /**
   * @param {Request} request
   * @param {Response} response
   */
  async function handle(request, response) {
    const url = urlOf(request);
    const [, kind, name = '', action] = /^\/(nodes|redis)\/(?:([^/]+)\/)?(\w+)$/.exec(url.pathname) ?? [];
    const changes = kind !== undefined || url.pathname === '/connect';
    const method = changes ? 'POST' : 'GET';
    if (request.method !== method) {
      response.setHeader('allow', method);
      throw new HttpError(405, `use ${method} here`);
    }
    if (changes && !isSameOrigin(request))
      throw new HttpError(403, 'this request must come from the demo page');

    if (url.pathname === '/connect') {
      sendJson(response, 200, assignNode(await readJson(request)));
    } else if (url.pathname === '/events') {
      pipeEventStream(request, response, {
        pubsub,
        channels: [{ channel: stats(), event: 'stats', last: 270 }],
        signal,
      });
    } else if (url.pathname === '/presence') {
      sendJson(response, 200, await lookUp(url.searchParams.getAll('user')));
    } else if (kind === 'redis' && action === 'freeze' && freeze !== undefined) {
      const { ms } = await readJson(request);
      if (!(Number(ms) > 0 && Number(ms) <= MAX_FREEZE)) throw new HttpError(400, `ms: up to ${MAX_FREEZE}`);
      freeze(Number(ms));
      sendJson(response, 200, {});
    } else if (kind === 'nodes' && nodes.has(name) && isAction(action)) {
      await nodes[action](name);
      sendJson(response, 200, {});
    } else if (changes || !serveFile(url.pathname, response)) {
      throw new HttpError(404, 'not found');
    }
  }

  /**
   * Issues a ticket for the requested node if it runs, otherwise for the node with the fewest connections. A real
   * application would authenticate the user first.
   *
   * @param {Record<string, unknown>} request
   */
  function assignNode({ name, node }) {
    if (!isName(name)) {
      throw new HttpError(400, 'A name is 1 to 24 letters, digits, hyphens and underscores.');
    }
    const up = nodes.list().filter((each) => each.up);
    const [leastLoaded] = up.toSorted((a, b) => (load.get(a.name) ?? 0) - (load.get(b.name) ?? 0));
    const chosen = up.find((each) => each.name === node) ?? leastLoaded;
    if (chosen === undefined) throw new HttpError(503, 'No node is running.');
    const ticket = issueTicket(secret, name);
    return { node: chosen.name, url: `/nodes/${chosen.name}/socket?ticket=${ticket}` };
  }

  /** @param {string[]} users */
  async function lookUp(users) {
    if (users.length === 0 || users.length > MAX_LOOKUP) {
      throw new HttpError(400, `name 1 to ${MAX_LOOKUP} users: /presence?user=alice&user=bob`);
    }
    // One round trip for all users. Unknown users are missing from the map.
    const found = await presence.getMultiplePresence(users);
    return Object.fromEntries(users.map((user) => [user, found.get(user) ?? null]));
  }
}

/**
 * @param {string | undefined} action
 * @returns {action is 'kill' | 'start' | 'restart'}
 */
function isAction(action = '') {
  return ['kill', 'start', 'restart'].includes(action);
}

/** @param {unknown} error */
function statusOf(error) {
  if (error instanceof HttpError) return error.status;
  return isRollcallError(error) && error.code === 'ERR_INVALID_ARGUMENT' ? 400 : 503;
}

/**
 * Forwards the upgrade request to the node that listens on `port`, and then bytes in both directions. When one
 * side closes, the other is closed: the browser sees a killed node as a closed connection.
 *
 * @param {Request} request
 * @param {Duplex} socket
 * @param {Buffer} head
 * @param {number} port
 */
function forward(request, socket, head, port) {
  const lines = [`GET ${request.url} HTTP/1.1`];
  const headers = request.rawHeaders;
  for (let at = 0; at < headers.length; at += 2) lines.push(`${headers[at]}: ${headers[at + 1]}`);
  const upstream = connect(port, '127.0.0.1', () => {
    upstream.write(`${lines.join('\r\n')}\r\n\r\n`);
    upstream.write(head);
    upstream.pipe(socket).pipe(upstream);
  });
  upstream.on('error', () => upstream.destroy());
  upstream.on('close', () => socket.destroy());
  socket.on('close', () => upstream.destroy());
}

/**
 * @param {Duplex} socket
 * @param {string} status
 */
function reject(socket, status) {
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
