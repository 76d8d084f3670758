// @ts-check
import { Competitor } from '../support/competitor-process.js';
import { monitor } from '../support/monitor.js';
import { info, startRedis } from '../support/redis-server.js';

/** @typedef {import('./measurement.js').Measurement} Measurement */

const FEW = 100;
const MANY = 100_000;

/** @type {Measurement} */
export const rest = {
  name: 'rest',
  title: 'commands per second at rest',
  async run({ server, libraries, quick, progress }) {
    // A second server, so that both processes are measured during the same time.
    const other = await startRedis();
    const settings = quick ? { lease: 3_000, seconds: 8 } : { lease: 30_000, seconds: 45 };
    const competitors = [new Competitor('rollcall'), new Competitor('rollcall')];
    try {
      await server.control.flushall();
      const library = libraries[0];
      const [few, many] = await Promise.all(
        [FEW, MANY].map(async (sockets, at) => {
          const competitor = /** @type {Competitor} */ (competitors[at]);
          const { port, control } = at === 0 ? server : other;
          await competitor.start('node', { library, port, sockets, lease: settings.lease });
          progress(`${sockets} sockets, at rest for ${settings.seconds} s`);
          const watching = await monitor(port, ['INFO']);
          const before = await netBytes(control);
          await new Promise((resolve) => setTimeout(resolve, settings.seconds * 1_000));
          const after = await netBytes(control);
          watching.stop();
          return {
            sockets,
            sent: watching.counts.sent / settings.seconds,
            inScripts: watching.counts.inScripts / settings.seconds,
            bytes: (after - before) / settings.seconds,
          };
        }),
      );
      if (few === undefined || many === undefined) throw new Error('rest: nothing was measured');
      return [
        {
          what: `commands per second at rest, ${FEW} and ${MANY.toLocaleString('en')} sockets of one process`,
          target: 'the same',
          measured: `${few.sent.toFixed(2)} and ${many.sent.toFixed(2)} sent (${few.inScripts.toFixed(1)} and ${many.inScripts.toFixed(1)} inside scripts; ${few.bytes.toFixed(0)} and ${many.bytes.toFixed(0)} B/s received by Redis)`,
          // The difference may be up to two commands: a timer fires just inside or outside the window.
          met: (many.sent - few.sent) * settings.seconds <= 2,
          figures: { few, many },
        },
      ];
    } finally {
      await Promise.all(competitors.map((competitor) => competitor.stop()));
      await other.stop();
    }
  },
};

/** @param {import('ioredis').Redis} control */
const netBytes = async (control) => Number((await info(control, 'stats')).get('total_net_input_bytes'));
