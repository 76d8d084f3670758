// @ts-check
import { Competitor } from '../support/competitor-process.js';
import { info } from '../support/redis-server.js';

/** @typedef {import('./measurement.js').Measurement} Measurement */

const USERS = 10_000;
const TARGET = 750;

/** @type {Measurement} */
export const memory = {
  name: 'memory',
  title: 'Redis memory per user with one socket',
  async run({ server, libraries }) {
    /** @param {string} name */
    const bytesOf = async (name) => {
      await server.control.flushall();
      const competitor = new Competitor(name);
      try {
        const setting = {
          what: 'storm',
          callers: USERS,
          users: USERS,
          library: libraries[0],
          port: server.port,
        };
        await competitor.start('presence', setting);
        const before = await settledMemory(server);
        await competitor.round(USERS);
        const { online } = await competitor.call('after');
        if (online !== USERS) throw new Error(`memory: ${name} has ${online} users`);
        return ((await settledMemory(server)) - before) / USERS;
      } finally {
        await competitor.stop();
      }
    };
    const [rollcall, handwritten] = [await bytesOf('rollcall'), await bytesOf('handwritten')];
    return [
      {
        what: 'Redis memory per user with one socket, no meta, all keys and indexes',
        target: `≤ ${TARGET} B`,
        measured: `${rollcall.toFixed(0)} B (written by hand: ${handwritten.toFixed(0)} B)`,
        met: rollcall <= TARGET,
        figures: { rollcall, handwritten },
      },
    ];
  },
};

/**
 * Used memory after hash tables have been rehashed, without the buffers of connections.
 *
 * @param {import('../support/redis-server.js').Server} server
 */
async function settledMemory(server) {
  /** @type {number[]} */
  const readings = [];
  for (let at = 0; at < 20; at++) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    const fields = await info(server.control, 'memory');
    readings.push(Number(fields.get('used_memory')) - Number(fields.get('mem_clients_normal')));
    if (at >= 4 && Math.abs((readings.at(-1) ?? 0) - (readings.at(-2) ?? 0)) < 4_096) break;
  }
  return readings.at(-1) ?? 0;
}
