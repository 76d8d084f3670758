// @ts-check
import express from 'express';

const MAX_USERS = 1_000;

/** Errors that pass: Redis is away, or this process is about to end. */
const TEMPORARY = new Set(['ERR_CONNECTION', 'ERR_TIMEOUT', 'ERR_CLOSED']);

/**
 * Who is online, over HTTP.
 *
 * @param {Pick<import('rollcall').PresenceService, 'getMultiplePresence' | 'getOnlineCount'>} presence
 */
export function createApp(presence) {
  const app = express();

  // GET /presence?id=ann&id=bob: for as many users as fit into a URL.
  app.get('/presence', async (request, response) => {
    await answer(request.query['id'], response);
  });

  // POST /presence with {"ids":["ann","bob"]}: for any list.
  app.post('/presence', express.json({ limit: '1mb' }), async (request, response) => {
    await answer(request.body?.ids, response);
  });

  app.get('/presence/count', async (_request, response) => {
    response.json({ online: await presence.getOnlineCount() });
  });

  async function answer(given, response) {
    const ids = typeof given === 'string' ? [given] : given;
    const valid = Array.isArray(ids) && ids.length > 0 && ids.length <= MAX_USERS;
    if (!valid) {
      response.status(400).json({ error: 'BAD_REQUEST', message: `id: name 1 to ${MAX_USERS} users` });
      return;
    }
    const found = await presence.getMultiplePresence(ids);
    const users = ids.map((userId) => {
      const user = found.get(userId);
      // Not the sockets: what is in their ids and meta is nobody else's business.
      return { userId, status: user?.status ?? 'offline', lastSeen: user?.lastSeen ?? null };
    });
    response.set('cache-control', 'no-store').json({ users });
  }

  // Express knows an error handler by its four parameters.
  app.use((error, _request, response, next) => {
    if (response.headersSent) return next(error);
    if (error.code === 'ERR_INVALID_ARGUMENT') {
      response.status(400).json({ error: error.code, message: error.message });
    } else if (TEMPORARY.has(error.code)) {
      response.status(503).set('retry-after', '1').json({ error: error.code });
    } else if (error.status >= 400 && error.status < 500) {
      // From express.json: no JSON, too large, …
      response.status(error.status).json({ error: 'BAD_REQUEST', message: error.message });
    } else {
      console.error(error);
      response.status(500).json({ error: 'INTERNAL' });
    }
  });

  return app;
}
