// @ts-check
import { NotificationService, PresenceService, PubSubService, RoomService } from 'rollcall';
import { connect, tunedClient } from '../support/clients.js';
import { appendScript } from '../support/handwritten-history.js';
import { inFlight } from '../support/in-flight.js';
import { message, VARIETY } from '../support/messages.js';
import { userOf } from '../support/names.js';

/**
 * @typedef {object} Setting
 * @property {import('../support/clients.js').Library} library
 * @property {number} port
 * @property {number} users who are all away
 * @property {number} callers
 * @property {number} bytes
 */

/**
 * @param {Setting} setting
 * @param {(user: string, notification: object) => Promise<unknown>} notify
 */
function notifier({ users, callers, bytes }, notify) {
  const messages = Array.from({ length: VARIETY }, (_, n) => message(n, bytes));
  return {
    /** @param {number} count */
    async round(count) {
      await inFlight(callers, count, (n) =>
        notify(userOf(n % users), /** @type {object} */ (messages[n % VARIETY])),
      );
      return { notified: count };
    },
  };
}

/** @type {Record<string, (setting: Setting) => Promise<object>>} */
export default {
  /** Stores the notification, stores the event for a user who comes back, and reads whether the user is online. */
  async rollcall(setting) {
    const redis = /** @type {any} */ (await connect(setting.library, setting.port));
    const pubsub = new PubSubService({ redis });
    const presence = new PresenceService({ redis, nodeName: 'a-server' });
    await presence.connect();
    const notifications = new NotificationService({ rooms: new RoomService({ pubsub, presence }) });
    return notifier(setting, (user, notification) =>
      notifications.notify(user, /** @type {any} */ (notification)),
    );
  },

  /** Stores the notification and publishes it. */
  async handwrittenScript(setting) {
    const client = await tunedClient(setting.library, setting.port);
    const append = await appendScript(setting.library, client, { size: 100, ttl: 2_592_000_000 });
    return notifier(setting, (user, notification) => append(user, JSON.stringify(notification)));
  },
};
