// @ts-check
import { ROOMS } from './settings.js';

/** Users that one message can mention. */
const MAX_MENTIONS = 5;

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
  for (const room of ROOMS) {
    await pubsub.subscribe(
      rooms.channel(room),
      async ({ event, from, data }, { position }) => {
        const { text } = /** @type {{ text?: unknown }} */ (Object(data));
        if (event !== 'message' || typeof text !== 'string') return;
        for (const name of mentionsIn(text)) {
          // An unknown user would never read it.
          if (name === from || (await presence.getPresence(name)) === null) continue;
          const notification = { room, position, from: from ?? '', text: text.slice(0, 200) };
          await notifications.notify(name, notification, { idempotencyKey: `${room} ${position}` });
        }
      },
      {
        onDiscontinuity({ recovered }) {
          if (recovered) totals.recovered++;
          else totals.lost++;
        },
      },
    );
  }
}

/** @param {string} text */
function mentionsIn(text) {
  const found = text.matchAll(/(?<![\p{L}\p{N}_])@([\p{L}\p{N}][\p{L}\p{N}_-]{0,23})/gu);
  return new Set([...found].slice(0, MAX_MENTIONS).map(([, name = '']) => name));
}
