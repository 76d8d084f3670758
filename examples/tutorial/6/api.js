// @ts-check
import { createServer } from 'node:http';
import { isRollcallError, PresenceService } from 'rollcall';
import { userOf } from '../session.js';

/**
 * GET /presence?id=ann&id=bob, for a page that shows many users. A process that only reads owns no sockets.
 *
 * @param {import('rollcall').RedisClient} redis
 */
export function createApi(redis) {
  // A short timeout: a quick 503 is better than a request that hangs.
  const presence = new PresenceService({ redis, timeout: 1_000, onError: console.error });

  const server = createServer(async (request, response) => {
    const [status, body] = await answer(request);
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });

  /**
   * @param {import('node:http').IncomingMessage} request
   * @returns {Promise<[status: number, body: unknown]>}
   */
  async function answer(request) {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost');
    const ids = searchParams.getAll('id');
    if (pathname !== '/presence') return [404, { error: 'not found' }];
    if (userOf(request.headers.cookie) === null) return [401, { error: 'sign in first' }];
    if (ids.length === 0 || ids.length > 1_000) return [400, { error: 'name 1 to 1,000 users' }];
    try {
      const found = await presence.getMultiplePresence(ids); // one command for all of them
      // Sockets and meta are left out: they are private.
      return [200, ids.map((userId) => ({ userId, status: found.get(userId)?.status ?? 'offline' }))];
    } catch (error) {
      const invalid = isRollcallError(error) && error.code === 'ERR_INVALID_ARGUMENT';
      return invalid ? [400, { error: 'not an id' }] : [503, { error: 'try again' }];
    }
  }

  return {
    server,
    async close() {
      await new Promise((resolve) => server.close(resolve));
      await presence.close();
    },
  };
}
