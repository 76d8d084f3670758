// @ts-check
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRollcall } from 'rollcall';
import { serveWebSocket } from 'rollcall/ws';
import { WebSocketServer } from 'ws';
import { createCookie, userOf } from '../session.js';

const ROOMS = ['lobby', 'garden'];

/** @param {import('rollcall').RedisClient} redis */
export function createChat(redis) {
  const { rooms, presence, close } = createRollcall({
    redis,
    presence: { grace: 10_000 }, // a page reload does not make a user offline
    rooms: { history: { size: 1_000, ttl: 86_400_000 } },
    onError: console.error,
  });
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.writeHead(500).end());
  });
  const webSockets = new WebSocketServer({ server, path: '/ws' });
  const serving = serveWebSocket(webSockets, {
    rooms,
    onError: console.error,
    authenticate: ({ headers }) => {
      // Browsers send the cookie with WebSockets that any page opens.
      if (headers.origin !== `http://${headers.host}`) return null;
      return userOf(headers.cookie);
    },
    authorize: (_user, request) => {
      switch (request.action) {
        case 'join':
        case 'members':
        case 'history':
          return ROOMS.includes(request.room);
        case 'send':
          return ROOMS.includes(request.room) && request.event === 'message' && isText(request.data);
        default:
          return false;
      }
    },
  });
  return { server, serving, webSockets, rooms, presence, close };
}

/** @param {unknown} data */
function isText(data) {
  const text = /** @type {{ text?: unknown } | null} */ (data)?.text;
  return typeof text === 'string' && text !== '' && text.length <= 2_000;
}

/** @type {Record<string, [type: string, file: () => URL]>} */
const FILES = {
  '/': ['text/html; charset=utf-8', () => new URL('./page.html', import.meta.url)],
  '/page.js': ['text/javascript', () => new URL('./page.js', import.meta.url)],
  '/client.min.js': ['text/javascript', () => new URL(import.meta.resolve('rollcall/client.min.js'))],
};

/**
 * @param {import('node:http').IncomingMessage} request
 * @param {import('node:http').ServerResponse} response
 */
async function answer(request, response) {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost');
  if (pathname === '/sign-in') {
    // Your login goes here. This one believes every name.
    const cookie = `${createCookie(searchParams.get('name') || 'guest')}; HttpOnly; SameSite=Lax; Path=/`;
    response.writeHead(303, { location: '/', 'set-cookie': cookie }).end();
    return;
  }
  const found = FILES[pathname];
  if (found === undefined) response.writeHead(404).end();
  else response.setHeader('content-type', found[0]).end(await readFile(found[1]()));
}
