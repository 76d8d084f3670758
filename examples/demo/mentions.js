// @ts-check
import { ROOMS } from './settings.js';

/** Users that one message can mention. */
const MAX_MENTIONS = 5;
const MENTION = /(?<![\p{L}\p{N}_])@([\p{L}\p{N}][\p{L}\p{N}_-]{0,23})/gu;

/**
 * Notifies users that are mentioned in a room, such as `@alice`. Every node subscribes to every room, so that
 * mentions are found as long as one node runs. The idempotency key makes one notification of all their calls.
 *
 * @param {object} services
 * @param {import('rollcall').PubSubService} services.pubsub
 * @param {import('rollcall').RoomService} services.rooms
 * @param {import('rollcall').PresenceService} services.presence
 * @param {import('rollcall').NotificationService} services.notifications
 * @param {{ recovered: number, lost: number }} totals counts gaps in this node's subscriptions
 */
export async function notifyMentions({ pubsub, rooms, presence, notifications }, totals) {
  const onDiscontinuity = (/** @type {{ recovered: boolean }} */ { recovered }) =>
    void totals[recovered ? 'recovered' : 'lost']++;
  for (const room of ROOMS) {
    /** @type {(event: import('rollcall').RoomEvent, context: import('rollcall').MessageContext) => Promise<void>} */
    const onEvent = async ({ event, from = '', data }, { position }) => {
      const { text } = /** @type {{ text?: unknown }} */ (Object(data));
      const written = event === 'message' && typeof text === 'string' ? text : '';
      const mentioned = [...written.matchAll(MENTION)].slice(0, MAX_MENTIONS).map(([, name = '']) => name);
      for (const name of new Set(mentioned)) {
        // An unknown user would never read it.
        if (name === from || (await presence.getPresence(name)) === null) continue;
        const notification = { room, position, from, text: written.slice(0, 200) };
        await notifications.notify(name, notification, { idempotencyKey: `${room} ${position}` });
      }
    };
    await pubsub.subscribe(rooms.channel(room), onEvent, { onDiscontinuity });
  }
}
