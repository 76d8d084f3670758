// A process with a presence service, which `bench/faults.js` starts, kills, freezes or closes, and
// controls over IPC.
import process from 'node:process';
import { Cluster, Redis } from 'ioredis';
import { PresenceService } from 'rollcall';

const { port, cluster, options } = JSON.parse(/** @type {string} */ (process.argv[2]));
const redis = cluster
  ? new Cluster([{ host: '127.0.0.1', port }])
  : new Redis({ host: '127.0.0.1', port, retryStrategy: () => 50, maxRetriesPerRequest: null });
redis.on('error', () => {});
/** @type {string[]} Stages of the reported errors. */
const reported = [];
const presence = new PresenceService({
  ...options,
  redis,
  onError: (_error, { stage }) => reported.push(stage),
});

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
  join: ({ users, room, socket = 'socket' }) =>
    Promise.all(
      users.map((/** @type {string} */ user) => presence.join(room, user, `${socket}-${user}`)),
    ).then(() => undefined),
  // What this process reads; a process that owns no socket judges others, too.
  state: async ({ rooms = [] }) => ({
    online: await presence.getOnlineCount(),
    rooms: Object.fromEntries(await presence.getRoomCounts(rooms)),
  }),
  endClient: () => redis.disconnect(),
  reported: () => reported,
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
