// @ts-check
import { Competitor } from '../support/competitor-process.js';

/** @typedef {import('./measurement.js').Measurement} Measurement */

/** @type {Measurement} */
export const heap = {
  name: 'heap',
  title: 'heap of the process',
  async run({ server, libraries, quick }) {
    const count = quick ? 20_000 : 100_000;
    /**
     * @param {string} name
     * @param {string} library
     */
    const bytesOf = async (name, library) => {
      await server.control.flushall();
      const competitor = new Competitor(name, ['--expose-gc']);
      try {
        await competitor.start('heap', { library, port: server.port });
        const { facts } = await competitor.round(count);
        if (facts['kept'] !== count + 1_000) throw new Error(`heap: ${name} has ${facts['kept']}`);
        return /** @type {number} */ (facts['bytes']);
      } finally {
        await competitor.stop();
      }
    };
    const findings = [];
    for (const library of libraries) {
      const own = await bytesOf('rollcall', library);
      const raw = await bytesOf('client', library);
      findings.push({
        what: 'heap per subscription with one handler, beyond the client’s own',
        library,
        target: '≤ 300 B',
        measured: `${(own - raw).toFixed(0)} B (${own.toFixed(0)} B, of which the client’s ${raw.toFixed(0)} B)`,
        met: own - raw <= 300,
        figures: { rollcall: own, client: raw },
      });
      const socket = await bytesOf('sockets', library);
      findings.push({
        what: 'heap per owned socket',
        library,
        target: '≤ 240 B',
        measured: `${socket.toFixed(0)} B`,
        met: socket <= 240,
        figures: { bytes: socket },
      });
    }
    return findings;
  },
};
