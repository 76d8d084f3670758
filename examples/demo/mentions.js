// @ts-check
import { ROOMS } from './settings.js';

/** So many people one message can call. */
const AT_MOST = 5;

/**
 * Notifies whoever is mentioned in a room, `@alice`, wherever he is. Every node listens to every room, so that
 * mentions are seen while any node lives; the key makes what several of them see one notification.
 *
 * @param {object} services
 * @param {import('rollcall').PubSubService} services.pubsub
 * @param {import('rollcall').RoomService} services.rooms
 * @param {import('rollcall').PresenceService} services.presence
 * @param {import('rollcall').NotificationService} services.notifications
 * @param {{ madeUp: number, lost: number }} totals counts gaps in what this node hears
 */
export async function notifyMentions({ pubsub, rooms, presence, notifications }, totals) {
  for (const room of ROOMS) {
    await pubsub.subscribe(
      rooms.channel(room),
      async ({ event, from, data }, { position }) => {
        const { text } = /** @type {{ text?: unknown }} */ (Object(data));
        if (event !== 'message' || typeof text !== 'string') return;
        for (const name of mentionsIn(text)) {
          // Somebody who was never here would never read it.
          if (name === from || (await presence.getPresence(name)) === null) continue;
          const notification = { room, from: from ?? '', text: text.slice(0, 200) };
          await notifications.notify(name, notification, { idempotencyKey: `${room} ${position}` });
        }
      },
      {
        onDiscontinuity({ recovered }) {
          if (recovered) totals.madeUp++;
          else totals.lost++;
        },
      },
    );
  }
}

/** @param {string} text */
function mentionsIn(text) {
  const found = text.matchAll(/(?<![\p{L}\p{N}_])@([\p{L}\p{N}][\p{L}\p{N}_-]{0,23})/gu);
  return new Set([...found].slice(0, AT_MOST).map(([, name = '']) => name));
}
