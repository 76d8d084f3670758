// @ts-check
import { Hono } from 'hono';

const TTL = 90_000;

/**
 * Presence of devices that send `PUT /presence/<device>` every 30 seconds, and `DELETE` when they stop.
 *
 * @param {Pick<import('rollcall').PresenceService, 'setPresence' | 'removeSocket'>} presence
 * @param {(request: Request) => string | undefined} authenticate returns the user
 */
export function createApp(presence, authenticate) {
  /** @type {Hono<{ Variables: { userId: string } }>} */
  const app = new Hono();

  app.use(async (context, next) => {
    const userId = authenticate(context.req.raw);
    if (userId === undefined) return context.body(null, 401);
    context.set('userId', userId);
    return next();
  });

  app.put('/presence/:device', async (context) => {
    const { status = 'online' } = await context.req.json().catch(() => ({}));
    const device = context.req.param('device');
    const user = await presence.setPresence(context.get('userId'), device, status, null, { ttl: TTL });
    return context.json({ status: user.status, next: TTL / 3 });
  });

  app.delete('/presence/:device', async (context) => {
    await presence.removeSocket(context.get('userId'), context.req.param('device'));
    return context.body(null, 204);
  });

  app.onError((error, context) => {
    if ('code' in error && error.code === 'ERR_INVALID_ARGUMENT') {
      return context.json({ error: error.message }, 400);
    }
    return context.body(null, 503, { 'retry-after': '5' });
  });

  return app;
}
