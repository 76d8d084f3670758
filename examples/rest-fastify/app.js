// @ts-check
import fastify from 'fastify';

const ids = {
  type: 'array',
  minItems: 1,
  maxItems: 1_000,
  items: { type: 'string', minLength: 1, maxLength: 512 },
};

/** Errors that pass: Redis is away, or this process is about to end. */
const TEMPORARY = new Set(['ERR_CONNECTION', 'ERR_TIMEOUT', 'ERR_CLOSED']);

/**
 * Who is online, over HTTP.
 *
 * @param {Pick<import('rollcall').PresenceService, 'getMultiplePresence' | 'getOnlineCount'>} presence
 */
export function createApp(presence) {
  const app = fastify();

  // GET /presence?id=ann&id=bob: for as many users as fit into a URL.
  const querystring = { type: 'object', required: ['id'], properties: { id: ids } };
  app.get('/presence', { schema: { querystring } }, (request, reply) =>
    answer(/** @type {{ id: string[] }} */ (request.query).id, reply),
  );

  // POST /presence with {"ids":["ann","bob"]}: for any list.
  const body = { type: 'object', required: ['ids'], properties: { ids } };
  app.post('/presence', { schema: { body } }, (request, reply) =>
    answer(/** @type {{ ids: string[] }} */ (request.body).ids, reply),
  );

  app.get('/presence/count', async () => ({ online: await presence.getOnlineCount() }));

  /**
   * @param {string[]} userIds
   * @param {import('fastify').FastifyReply} reply
   */
  async function answer(userIds, reply) {
    const found = await presence.getMultiplePresence(userIds);
    const users = userIds.map((userId) => {
      const user = found.get(userId);
      // Not the sockets: what is in their ids and meta is nobody else's business.
      return { userId, status: user?.status ?? 'offline', lastSeen: user?.lastSeen ?? null };
    });
    reply.header('cache-control', 'no-store');
    return { users };
  }

  app.setErrorHandler((/** @type {import('fastify').FastifyError} */ error, _request, reply) => {
    const { code, message, statusCode = 500 } = error;
    if (code === 'ERR_INVALID_ARGUMENT') return reply.code(400).send({ error: code, message });
    if (TEMPORARY.has(code)) return reply.code(503).header('retry-after', '1').send({ error: code });
    // Fastify's own: the schema, no JSON, too large, …
    if (statusCode < 500) return reply.code(statusCode).send({ error: 'BAD_REQUEST', message });
    console.error(error);
    return reply.code(500).send({ error: 'INTERNAL' });
  });

  return app;
}
