// A server process with a presence service, started by node-process.ts. It runs the commands that it receives
// over IPC and returns the results. Plain JavaScript on the built package, like an application.
import process from 'node:process';
import { PresenceService } from 'rollcall';

const { client: library, port, options } = JSON.parse(process.argv[2]);

async function connectClient() {
  if (library === 'ioredis') {
    const { Redis } = await import('ioredis');
    return new Redis(port, { host: '127.0.0.1', retryStrategy: () => 50 });
  }
  const { createClient } = await import('redis');
  return createClient({ url: `redis://127.0.0.1:${port}`, socket: { reconnectStrategy: 50 } });
}

const realNow = Date.now;
const errors = [];
const presence = new PresenceService({
  ...options,
  redis: await connectClient(),
  onError: (error, { stage }) => errors.push(`${stage}: ${error.name}: ${error.message}`),
});

/** Errors are returned as data, because IPC does not preserve their class. */
const runAll = async (calls) => {
  const counts = { done: 0 };
  for (const outcome of await Promise.allSettled(calls)) {
    const key = outcome.status === 'fulfilled' ? 'done' : `${outcome.reason?.name}`;
    counts[key] = (counts[key] ?? 0) + 1;
  }
  return counts;
};

let loading = false;
let load = Promise.resolve();
const loadCounts = {};

const actions = {
  /** Registers `count` users `prefix0`, `prefix1`, … on one socket each. */
  register: ({ prefix, count, status }) =>
    runAll(
      Array.from({ length: count }, (_, at) =>
        presence.setPresence(`${prefix}${at}`, `socket-${prefix}${at}`, status),
      ),
    ),
  remove: ({ prefix, count }) =>
    runAll(
      Array.from({ length: count }, (_, at) =>
        presence.removeSocket(`${prefix}${at}`, `socket-${prefix}${at}`),
      ),
    ),
  /** Updates the meta of these users' sockets, over and over. */
  startLoad: ({ prefix, count, width = 50 }) => {
    loading = true;
    load = (async () => {
      for (let turn = 0; loading; turn++) {
        const calls = Array.from({ length: width }, (_, index) => {
          const at = (turn * width + index) % count;
          return presence.setPresence(`${prefix}${at}`, `socket-${prefix}${at}`, 'online', { turn });
        });
        for (const [key, value] of Object.entries(await runAll(calls))) {
          loadCounts[key] = (loadCounts[key] ?? 0) + value;
        }
      }
    })();
  },
  stopLoad: async () => {
    loading = false;
    await load;
    return loadCounts;
  },
  call: ({ method, args }) => presence[method](...args),
  /** Sets this process's wall clock ahead, or back; its monotonic clock goes on as before. */
  shiftClock: ({ ms }) => {
    Date.now = () => realNow() + ms;
    return Date.now();
  },
  stats: () => presence.stats(),
  errors: () => errors.splice(0),
  close: async (closing) => {
    loading = false;
    await presence.close(closing);
  },
};

process.on('message', async ({ id, action, args }) => {
  let answer;
  try {
    answer = { id, value: await actions[action](args) };
  } catch (error) {
    answer = { id, error: { name: error.name, message: error.message } };
  }
  if (process.connected) process.send(answer);
});
// Whoever started this process has ended, however that went.
process.on('disconnect', () => process.exit());

await presence.connect();
process.send({ ready: true });
