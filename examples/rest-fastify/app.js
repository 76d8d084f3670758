// @ts-check
import fastify from 'fastify';

const id = { type: 'string', minLength: 1, maxLength: 512 };
const ids = { type: 'array', minItems: 1, maxItems: 1_000, items: id };

/** Temporary errors: Redis is unavailable, or this process is shutting down. */
const TEMPORARY = new Set(['ERR_CONNECTION', 'ERR_TIMEOUT', 'ERR_CLOSED']);

/**
 * Presence lookups over HTTP.
 *
 * @param {Pick<import('rollcall').PresenceService, 'getMultiplePresence' | 'getOnlineCount'>} presence
 */
export function createApp(presence) {
  // Fastify's default turns other types into strings; ids that are not strings must be rejected.
  const app = fastify({ ajv: { customOptions: { coerceTypes: false } } });

  // GET /presence?id=ann&id=bob, for as many users as fit into a URL.
  const querystring = { type: 'object', required: ['id'], properties: { id: { anyOf: [id, ids] } } };
  app.get('/presence', { schema: { querystring } }, (request, reply) =>
    sendPresence([/** @type {{ id: string | string[] }} */ (request.query).id].flat(), reply),
  );

  // POST /presence with {"ids":["ann","bob"]}, for up to 1,000 users.
  const body = { type: 'object', required: ['ids'], properties: { ids } };
  app.post('/presence', { schema: { body } }, (request, reply) =>
    sendPresence(/** @type {{ ids: string[] }} */ (request.body).ids, reply),
  );

  app.get('/presence/count', async () => ({ online: await presence.getOnlineCount() }));

  /**
   * @param {string[]} userIds
   * @param {import('fastify').FastifyReply} reply
   */
  async function sendPresence(userIds, reply) {
    const found = await presence.getMultiplePresence(userIds);
    const users = userIds.map((userId) => {
      const user = found.get(userId);
      // Socket ids and meta are left out: they may be private.
      return { userId, status: user?.status ?? 'offline', lastSeen: user?.lastSeen ?? null };
    });
    reply.header('cache-control', 'no-store');
    return { users };
  }

  app.setErrorHandler((/** @type {import('fastify').FastifyError} */ error, _request, reply) => {
    const { code, message, statusCode = 500 } = error;
    if (code === 'ERR_INVALID_ARGUMENT') return reply.code(400).send({ error: code, message });
    if (TEMPORARY.has(code)) return reply.code(503).header('retry-after', '1').send({ error: code });
    // From Fastify: schema violation, invalid JSON, body too large, …
    if (statusCode < 500) return reply.code(statusCode).send({ error: 'BAD_REQUEST', message });
    console.error(error);
    return reply.code(500).send({ error: 'INTERNAL' });
  });

  return app;
}
