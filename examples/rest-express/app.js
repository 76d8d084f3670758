// @ts-check
import { parse } from 'node:querystring';
import express from 'express';

const MAX_USERS = 1_000;

/** Temporary errors: Redis is unavailable, or this process is shutting down. */
const TEMPORARY = new Set(['ERR_CONNECTION', 'ERR_TIMEOUT', 'ERR_CLOSED']);

/**
 * Presence lookups over HTTP.
 *
 * @param {Pick<import('rollcall').PresenceService, 'getMultiplePresence' | 'getOnlineCount'>} presence
 */
export function createApp(presence) {
  const app = express();
  // The default parser drops parameters after the 1,000th. Without that limit, too many ids are rejected below.
  app.set('query parser', (/** @type {string} */ text) => parse(text, '&', '=', { maxKeys: 0 }));

  // GET /presence?id=ann&id=bob, for as many users as fit into a URL.
  app.get('/presence', async (request, response) => {
    await sendPresence([request.query['id']].flat(), response);
  });

  // POST /presence with {"ids":["ann","bob"]}, for up to 1,000 users.
  app.post('/presence', express.json({ limit: '1mb' }), async (request, response) => {
    await sendPresence(request.body?.ids, response);
  });

  app.get('/presence/count', async (_request, response) => {
    response.json({ online: await presence.getOnlineCount() });
  });

  /**
   * @param {unknown} ids
   * @param {import('express').Response} response
   */
  async function sendPresence(ids, response) {
    const valid = Array.isArray(ids) && ids.length > 0 && ids.length <= MAX_USERS;
    if (!valid) {
      response.status(400).json({ error: 'BAD_REQUEST', message: `name 1 to ${MAX_USERS} users` });
      return;
    }
    const found = await presence.getMultiplePresence(ids);
    const users = ids.map((userId) => {
      const user = found.get(userId);
      // Socket ids and meta are left out: they may be private.
      return { userId, status: user?.status ?? 'offline', lastSeen: user?.lastSeen ?? null };
    });
    response.set('cache-control', 'no-store').json({ users });
  }

  // Express recognizes an error handler by its four parameters.
  app.use((error, _request, response, next) => {
    if (response.headersSent) return next(error);
    if (error.code === 'ERR_INVALID_ARGUMENT') {
      response.status(400).json({ error: error.code, message: error.message });
    } else if (TEMPORARY.has(error.code)) {
      response.status(503).set('retry-after', '1').json({ error: error.code });
    } else if (error.status >= 400 && error.status < 500) {
      // From express.json: invalid JSON, body too large, …
      response.status(error.status).json({ error: 'BAD_REQUEST', message: error.message });
    } else {
      console.error(error);
      response.status(500).json({ error: 'INTERNAL' });
    }
  });

  return app;
}
