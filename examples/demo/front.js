// @ts-check
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { isRollcallError } from 'rollcall';
import { WebSocketServer } from 'ws';
import { GRACE, LEASE, MAX_LISTED, MAX_MESSAGE_BYTES } from './settings.js';

/** @typedef {import('node:http').IncomingMessage} Request */
/** @typedef {import('node:http').ServerResponse} Response */
/** @typedef {import('node:stream').Duplex} Duplex */

/** @param {string} name */
const load = (name) => readFileSync(new URL(`public/${name}`, import.meta.url));

/** @type {Record<string, { type: string, body: Buffer }>} */
const FILES = {
  '/': { type: 'text/html; charset=utf-8', body: load('index.html') },
  '/style.css': { type: 'text/css; charset=utf-8', body: load('style.css') },
  '/page.js': { type: 'text/javascript; charset=utf-8', body: load('page.js') },
};

/**
 * The only server the browser talks to: it serves the page, answers `/presence`, and hands
 * WebSockets on to the nodes, as a load balancer would.
 *
 * @param {object} parts
 * @param {import('./nodes.js').Nodes} parts.nodes
 * @param {import('./room.js').Room} parts.room for those who only watch
 * @param {import('rollcall').PresenceService} parts.presence
 * @param {string} parts.redis what the demo runs on, for people
 */
export function createFront({ nodes, room, presence, redis }) {
  const watching = new WebSocketServer({ noServer: true, maxPayload: MAX_MESSAGE_BYTES });

  const server = createServer(async (request, response) => {
    try {
      await answer(request, response);
    } catch (error) {
      const bad = isRollcallError(error) && error.code === 'ERR_INVALID_ARGUMENT';
      const message = error instanceof Error ? error.message : String(error);
      sendJson(response, bad ? 400 : 503, { error: message });
    }
  });

  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy());
    const url = parseUrl(request);
    if (url?.pathname !== '/ws' || !isSameOrigin(request)) return refuse(socket, '403 Forbidden');
    const node = url.searchParams.get('node');
    if (node === null) {
      return watching.handleUpgrade(request, socket, head, (webSocket) => room.welcome(webSocket));
    }
    const port = nodes.port(node);
    if (port === undefined) return refuse(socket, '503 Service Unavailable');
    passOn(request, socket, head, port);
  });

  return server;

  /**
   * @param {Request} request
   * @param {Response} response
   */
  async function answer(request, response) {
    const url = parseUrl(request);
    if (url === null) return sendJson(response, 400, { error: 'the address is malformed' });
    const [, action] = /^\/nodes\/[^/]+\/(kill|start)$/.exec(url.pathname) ?? [];
    const method = action === undefined ? 'GET' : 'POST';
    if (request.method !== method) {
      response.setHeader('allow', method);
      return sendJson(response, 405, { error: `use ${method} here` });
    }

    const file = Object.hasOwn(FILES, url.pathname) ? FILES[url.pathname] : undefined;
    if (file !== undefined) {
      response.setHeader(
        'content-security-policy',
        "default-src 'self'; connect-src 'self' ws: wss:; img-src data:",
      );
      response.writeHead(200, { 'content-type': file.type, 'cache-control': 'no-store' });
      response.end(file.body);
    } else if (url.pathname === '/presence') {
      await lookUp(response, url.searchParams.getAll('user'));
    } else if (url.pathname === '/nodes') {
      sendJson(response, 200, { nodes: nodes.list(), lease: LEASE, grace: GRACE, redis });
    } else if (action !== undefined) {
      const name = url.pathname.split('/')[2] ?? '';
      if (!nodes.has(name)) return sendJson(response, 404, { error: 'there is no such node' });
      if (!isSameOrigin(request)) return sendJson(response, 403, { error: 'only for this page' });
      if (action === 'kill') nodes.kill(name);
      else await nodes.start(name);
      sendJson(response, 200, {});
    } else {
      sendJson(response, 404, { error: 'there is nothing here' });
    }
  }

  /**
   * @param {Response} response
   * @param {string[]} users
   */
  async function lookUp(response, users) {
    if (users.length === 0 || users.length > MAX_LISTED) {
      const error = `name 1 to ${MAX_LISTED} users: /presence?user=alice&user=bob`;
      return sendJson(response, 400, { error });
    }
    // One round trip for all of them; whoever is not in the map was never seen.
    const found = await presence.getMultiplePresence(users);
    sendJson(response, 200, Object.fromEntries(users.map((user) => [user, found.get(user) ?? null])));
  }
}

/**
 * Passes the upgrade request on to the node that listens on `port`, and then bytes to and fro. When
 * either side ends so does the other: a killed node is a closed connection for the browser.
 *
 * @param {Request} request
 * @param {Duplex} socket
 * @param {Buffer} head
 * @param {number} port
 */
function passOn(request, socket, head, port) {
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
function refuse(socket, status) {
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}

/**
 * Other sites that are open in the same browser have no business here.
 * @param {Request} request
 */
function isSameOrigin({ headers }) {
  return headers.origin === undefined || headers.origin.replace(/^https?:\/\//, '') === headers.host;
}

/** @param {Request} request */
function parseUrl(request) {
  try {
    return new URL(`http://front${request.url}`);
  } catch {
    return null;
  }
}

/**
 * @param {Response} response
 * @param {number} status
 * @param {object} body
 */
function sendJson(response, status, body) {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(`${JSON.stringify(body, null, 2)}\n`);
}
