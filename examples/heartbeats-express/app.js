// @ts-check
import express from 'express';

const TTL = 90_000;

/**
 * Presence of devices that send `PUT /presence/<device>` every 30 seconds, and `DELETE` when they stop.
 *
 * @param {Pick<import('rollcall').PresenceService, 'setPresence' | 'removeSocket'>} presence
 * @param {(request: import('express').Request) => string | undefined} authenticate returns the user
 */
export function createApp(presence, authenticate) {
  const app = express();

  /**
   * @param {import('express').Request} request
   * @param {import('express').Response} response
   * @param {() => void} next
   */
  function identify(request, response, next) {
    response.locals['userId'] = authenticate(request);
    if (response.locals['userId'] === undefined) response.sendStatus(401);
    else next();
  }

  app.put('/presence/:device', identify, express.json(), async (request, response) => {
    const status = request.body?.status ?? 'online';
    const { userId } = response.locals;
    const user = await presence.setPresence(userId, request.params.device, status, null, { ttl: TTL });
    response.json({ status: user.status, next: TTL / 3 });
  });

  app.delete('/presence/:device', identify, async (request, response) => {
    await presence.removeSocket(response.locals['userId'], request.params.device);
    response.sendStatus(204);
  });

  // Express recognizes an error handler by its four parameters.
  app.use((error, _request, response, _next) => {
    if (error.code === 'ERR_INVALID_ARGUMENT') response.status(400).json({ error: error.message });
    else if (error.status >= 400 && error.status < 500) response.sendStatus(error.status);
    else response.set('retry-after', '5').sendStatus(503);
  });

  return app;
}
