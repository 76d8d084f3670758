// @ts-check
import { PresenceService } from 'rollcall';

/** @param {{ createRedis: () => import('rollcall').RedisClient, log: (line: string) => void }} options */
export async function main({ createRedis, log }) {
  const presence = new PresenceService({ redis: createRedis(), onError: console.error });

  /** @type {() => void} */
  let onOffline = () => {};
  const offline = new Promise((resolve) => {
    onOffline = () => resolve(undefined);
  });
  await presence.subscribe(({ userId, previous, status }) => {
    log(`${userId}: ${previous} -> ${status}`);
    if (status === 'offline') onOffline();
  });

  // A user is online while at least one socket is. The ids of sockets are yours.
  await presence.setPresence('ann', 'laptop');
  await presence.setPresence('ann', 'phone', 'busy');
  const ann = await presence.getPresence('ann');
  log(`ann is ${ann?.status} on ${ann?.sockets.length} devices`);

  await presence.removeSocket('ann', 'phone');
  await presence.removeSocket('ann', 'laptop');
  await offline; // events arrive on a connection of their own
  await presence.close();
}
