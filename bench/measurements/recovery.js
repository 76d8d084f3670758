// @ts-check
import { setTimeout as sleep } from 'node:timers/promises';
import { PubSubService } from 'rollcall';
import { createChaosDriver } from 'rollcall/testing';
import { connect, disconnect } from '../support/clients.js';
import { info, redisCpu } from '../support/redis-server.js';
import { median } from '../support/statistics.js';

/** @typedef {import('./measurement.js').Measurement} Measurement */

const CHANNELS = 1_000;
const MISSED = 10;
const MAX_ROUND_TRIPS = 20;
/** Of Redis, in µs per channel that comes back. */
const MAX_REDIS = 4;
const history = { size: 100, ttl: 600_000 };
const names = Array.from({ length: CHANNELS }, (_, at) => `recovery:${at}`);

/** @type {Measurement} */
export const recovery = {
  name: 'recovery',
  title: 'recovery of missed messages',
  async run({ server, libraries, quick, progress }) {
    const runs = quick ? 1 : 3;
    const findings = [];
    for (const library of libraries) {
      progress(library);
      const times = [];
      for (let run = 0; run < runs; run++) times.push(await once(server, library));
      const call = median(times.map(({ roundTrips }) => roundTrips));
      const callMs = median(times.map(({ callMs }) => callMs));
      const back = median(times.map(({ backMs }) => backMs));
      const redis = median(times.map(({ redisMicros }) => redisMicros));
      const commands = times.map(({ commands }) => commands).at(-1);
      findings.push({
        what: `recovery of ${CHANNELS.toLocaleString('en')} channels × ${MISSED} missed messages, one call`,
        library,
        target: `≤ ${MAX_ROUND_TRIPS} round trips`,
        measured: `${call} round trips, ${callMs.toFixed(0)} ms`,
        met: call <= MAX_ROUND_TRIPS,
        figures: { times },
      });
      findings.push({
        what: `${CHANNELS.toLocaleString('en')} subscriptions after a lost connection, each having missed ${MISSED}`,
        library,
        target: 'every message once, in order',
        measured: `${back.toFixed(0)} ms until all had received everything; ${commands}`,
        met: true,
        figures: { times },
      });
      findings.push({
        what: `${CHANNELS.toLocaleString('en')} subscriptions with history after a lost connection, nothing missed: Redis per channel`,
        library,
        target: `≤ ${MAX_REDIS} µs`,
        measured: `${redis.toFixed(1)} µs`,
        met: redis <= MAX_REDIS,
        figures: { times },
      });
    }
    return findings;
  },
};

/**
 * @param {import('../support/redis-server.js').Server} server
 * @param {import('../support/clients.js').Library} library
 */
async function once({ control, port }, library) {
  await control.flushall();
  const [reader, writer] = [await connect(library, port), await connect(library, port)];
  // The driver sends a batch when the reply to the one before has arrived.
  const driver = createChaosDriver(reader);
  const execute = driver.execute.bind(driver);
  let batches = 0;
  driver.execute = (...batch) => {
    batches++;
    return execute(...batch);
  };
  const service = new PubSubService({ redis: driver, timeout: 30_000 });
  const publisher = new PubSubService({ redis: writer, timeout: 30_000 });
  try {
    /** @param {number} from */
    const publishAll = (from) =>
      Promise.all(
        names.flatMap((name) =>
          Array.from({ length: MISSED }, (_, at) => publisher.publish(name, from + at, { history })),
        ),
      );
    const first = await Promise.all(names.map((name) => publisher.publish(name, -1, { history })));
    await publishAll(0);
    const channels = Object.fromEntries(names.map((name, at) => [name, first[at]?.position ?? '']));

    await service.connect();
    const sentBefore = batches;
    const began = performance.now();
    const { channels: found, unrecovered } = await service.recover({ channels });
    const callMs = performance.now() - began;
    const roundTrips = batches - sentBefore;
    if (unrecovered.length > 0) throw new Error(`recovery: ${unrecovered.length} channels unrecovered`);
    for (const { messages } of found.values()) {
      if (messages.map(({ message }) => message).join() !== '0,1,2,3,4,5,6,7,8,9') {
        throw new Error('recovery: the messages are not those published');
      }
    }

    /** @type {number[][]} */
    const got = names.map(() => []);
    let missing = CHANNELS * MISSED;
    let done = () => {};
    /** @type {Promise<void>} */
    const all = new Promise((resolve) => {
      done = resolve;
    });
    await Promise.all(
      names.map((name, at) =>
        service.subscribe(
          name,
          (/** @type {number} */ message) => {
            got[at]?.push(message);
            if (--missing === 0) done();
          },
          { since: 'latest' },
        ),
      ),
    );
    await control.config('RESETSTAT');
    await control.client('KILL', 'TYPE', 'pubsub');
    const lost = performance.now();
    await publishAll(100);
    await all;
    const backMs = performance.now() - lost;
    for (const each of got) {
      if (each.join() !== '100,101,102,103,104,105,106,107,108,109') {
        throw new Error('recovery: messages are lost, duplicated or out of order');
      }
    }
    const calls = await info(control, 'commandstats');
    const count = (/** @type {string} */ command) =>
      Number(/calls=(\d+)/.exec(calls.get(`cmdstat_${command}`) ?? '')?.[1] ?? 0);
    const commands = `${count('subscribe')} SUBSCRIBE, ${count('evalsha') + count('eval')} scripts with the appends`;
    const redisMicros = await comeBack(control);
    return { roundTrips, callMs, backMs, commands, redisMicros };
  } finally {
    await Promise.all([service.close(), publisher.close()]);
    disconnect(reader, writer);
  }
}

/** Milliseconds in which all subscriptions come back. */
const WINDOW_MS = 1_000;

/**
 * CPU time of Redis, in µs per channel, for subscriptions that come back after a lost connection: SUBSCRIBE, and the positions. What
 * an idle Redis needs in the same time is subtracted.
 *
 * @param {import('ioredis').Redis} control
 */
async function comeBack(control) {
  const cpuOfWindow = async () => {
    const before = await redisCpu(control);
    await sleep(WINDOW_MS);
    return (await redisCpu(control)) - before;
  };
  const idle = await cpuOfWindow();
  const running = cpuOfWindow();
  await control.client('KILL', 'TYPE', 'pubsub');
  const used = await running;
  const channels = await control.pubsub('CHANNELS', 'recovery:*');
  if (channels.length !== CHANNELS) throw new Error(`recovery: ${channels.length} of ${CHANNELS} are back`);
  return Math.max(0, used - idle) / CHANNELS;
}
