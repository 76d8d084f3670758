// @ts-check
import { Competitor } from '../support/competitor-process.js';

/** @typedef {import('./measurement.js').Measurement} Measurement */

const LIMIT_MS = 180_000;
const MAX_BLOCK = 25;

/**
 * @typedef {object} Case
 * @property {string} name in comparisons/blocks.js
 * @property {(count: string) => string} what
 * @property {number} count
 * @property {number} atMost in ms
 * @property {number} runs
 */

/** @type {Case[]} */
const cases = [
  { name: 'storm', what: (n) => `${n} users arrive at once`, count: 10_000, atMost: MAX_BLOCK, runs: 3 },
  { name: 'lookup', what: (n) => `a lookup of ${n} users`, count: 10_000, atMost: 15, runs: 3 },
  {
    name: 'close',
    what: (n) => `\`presence.close()\` with ${n} sockets`,
    count: 50_000,
    atMost: MAX_BLOCK,
    runs: 2,
  },
  {
    name: 'subscriptions',
    what: (n) => `${n} subscriptions come back, while each is sent a message with history`,
    count: 10_000,
    atMost: MAX_BLOCK,
    runs: 3,
  },
  {
    name: 'rooms',
    what: (n) => `\`rooms.close()\` with ${n} sockets in one room`,
    count: 30_000,
    atMost: 50,
    runs: 1,
  },
];

/** @type {Measurement} */
export const blocks = {
  name: 'blocks',
  title: 'the longest synchronous block of the process',
  async run({ server, libraries, quick, progress }) {
    const findings = [];
    for (const library of libraries) {
      for (const { name, what, count: whole, atMost, runs } of cases) {
        // It takes long, and hardly depends on the client.
        if (name === 'rooms' && library !== libraries[0]) continue;
        const count = quick ? whole / 10 : whole;
        progress(`${library}, ${name}`);
        await server.control.flushall();
        const competitor = new Competitor(name);
        const publisher = name === 'subscriptions' ? new Competitor('publisher') : undefined;
        try {
          const setting = { library, port: server.port, count };
          await publisher?.start('blocks', setting);
          // The histories begin.
          await publisher?.call('run');
          await competitor.start('blocks', setting, LIMIT_MS);
          const found = [];
          for (let run = 0; run < runs; run++) {
            const running = competitor.call('run', undefined, LIMIT_MS);
            await publisher?.call('run');
            const facts = await running;
            if (facts.done !== count) throw new Error(`blocks: ${name} has ${facts.done} of ${count}`);
            found.push(facts);
          }
          // The best run: other work on the machine only lengthens the times.
          const [best] = found.sort((a, b) => a.ms - b.ms);
          const { ms, ran } = best;
          const errors = found.reduce((sum, facts) => sum + (facts.errors ?? 0), 0);
          const isRooms = name === 'rooms';
          findings.push({
            what: `longest synchronous block: ${what(count.toLocaleString('en'))}`,
            library,
            target: `≤ ${atMost} ms${isRooms ? ', no error, everybody offline' : ''}`,
            measured: `${ms.toFixed(0)} ms, ${ran.toFixed(0)} of them on a processor${isRooms ? `, ${errors} errors` : ''}`,
            met: ms <= atMost && errors === 0,
            figures: { runs: found },
          });
        } finally {
          await Promise.all([competitor.stop(), publisher?.stop()]);
        }
      }
    }
    return findings;
  },
};
