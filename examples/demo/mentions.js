import { ROOMS } from './settings.js';

/** Users that one message can mention. */
const MAX_MENTIONS = 5;
const MENTION = /(?<![\p{L}\p{N}_])@([\p{L}\p{N}][\p{L}\p{N}_-]{0,23})/gu;

/**
 * Notifies users that are mentioned in a room, such as `@alice`. Every node subscribes to every room, so that
 * mentions are found as long as one node runs. The idempotency key makes one notification of all their calls.
 */
export async function notifyMentions({ pubsub, rooms, presence, notifications }) {
  for (const room of ROOMS) {
    await pubsub.subscribe(rooms.channel(room), async ({ event, from, data }, { position }) => {
      if (event !== 'message' || typeof data?.text !== 'string') return;
      const mentioned = [...data.text.matchAll(MENTION)].slice(0, MAX_MENTIONS).map(([, name]) => name);
      for (const name of new Set(mentioned)) {
        // An unknown user would never read it.
        if (name === from || (await presence.getPresence(name)) === null) continue;
        const notification = { room, position, from, text: data.text.slice(0, 200) };
        await notifications.notify(name, notification, { idempotencyKey: `${room} ${position}` });
      }
    });
  }
}
