// A process with a presence service, which `bench/faults.js` starts, kills, freezes or closes, and
// controls over IPC.
import process from 'node:process';
import { Redis } from 'ioredis';
import { PresenceService } from 'rollcall';

const { port, options } = JSON.parse(/** @type {string} */ (process.argv[2]));
const redis = new Redis({ host: '127.0.0.1', port, retryStrategy: () => 50, maxRetriesPerRequest: null });
redis.on('error', () => {});
const presence = new PresenceService({ ...options, redis, onError: () => {} });

/** @type {Record<string, (args: any) => unknown>} */
const actions = {
  register: ({ users, status, socket = 'socket' }) =>
    Promise.all(
      users.map((/** @type {string} */ user) => presence.setPresence(user, `${socket}-${user}`, status)),
    ).then(() => undefined),
  remove: ({ users, socket = 'socket' }) =>
    Promise.all(
      users.map((/** @type {string} */ user) => presence.removeSocket(user, `${socket}-${user}`)),
    ).then(() => undefined),
  stats: () => presence.stats(),
  close: (closing) => presence.close(closing),
};

process.on('message', async (/** @type {{ id: number, action: string, args: any }} */ message) => {
  const { id, action, args } = message;
  let answer;
  try {
    answer = { id, value: await actions[action]?.(args) };
  } catch (error) {
    answer = { id, error: String(error) };
  }
  if (process.connected) process.send?.(answer);
});
process.on('disconnect', () => process.exit());

await presence.connect();
process.send?.({ id: 0 });
