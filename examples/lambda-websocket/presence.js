// @ts-check
import { isRollcallError } from 'rollcall';

/**
 * The events of a WebSocket API of API Gateway that presence needs. The authorizer of the route `$connect` returns the user
 * in its context.
 *
 * @typedef {{
 *   requestContext: {
 *     eventType: 'CONNECT' | 'MESSAGE' | 'DISCONNECT',
 *     routeKey: string,
 *     connectionId: string,
 *     authorizer?: { userId?: string },
 *   },
 *   body?: string,
 * }} WebSocketEvent
 */

/** Three heartbeats per TTL: two may be lost. Clients send one a minute. */
export const TTL = 180_000;

/**
 * The handler of all routes: `$connect`, `$disconnect`, `heartbeat` and `status`.
 *
 * @param {Pick<import('rollcall').PresenceService, 'setPresence' | 'heartbeat' | 'removeSocket'>} presence
 */
export function createHandler(presence) {
  /** @param {WebSocketEvent} event */
  return async function handler({ requestContext, body }) {
    const { eventType, routeKey, connectionId, authorizer } = requestContext;
    const userId = authorizer?.userId;
    if (userId === undefined) return { statusCode: 401 };
    try {
      if (eventType === 'CONNECT') {
        await presence.setPresence(userId, connectionId);
      } else if (eventType === 'DISCONNECT') {
        await presence.removeSocket(userId, connectionId);
      } else if (routeKey === 'heartbeat') {
        const known = await presence.heartbeat(userId, connectionId);
        if (!known) await presence.setPresence(userId, connectionId);
      } else if (routeKey === 'status') {
        await presence.setPresence(userId, connectionId, JSON.parse(body ?? '{}').status);
      }
      return { statusCode: 200 };
    } catch (error) {
      // A status that is no status, or no JSON.
      const invalid = isRollcallError(error) && error.code === 'ERR_INVALID_ARGUMENT';
      if (invalid || error instanceof SyntaxError) return { statusCode: 400 };
      // `$connect` is refused. All other calls can be repeated; a lost `$disconnect` ends with the TTL.
      console.error(error);
      return { statusCode: 503 };
    }
  };
}
