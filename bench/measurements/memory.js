// @ts-check
import { PresenceService, PubSubService } from 'rollcall';
import { connect } from '../support/clients.js';
import { Competitor } from '../support/competitor-process.js';
import { inFlight } from '../support/in-flight.js';
import { message } from '../support/messages.js';
import { socketOf, userOf } from '../support/names.js';
import { info } from '../support/redis-server.js';

/** @typedef {import('./measurement.js').Measurement} Measurement */
/** @typedef {import('./measurement.js').Context} Context */

const USERS = 10_000;
const CHANNELS = 2_000;
/** For what is not measured. */
const MANY = 1_000;

/** @type {Measurement} */
export const memory = {
  name: 'memory',
  title: 'Redis memory per user, room member and channel',
  async run(context) {
    const rollcall = await bytesPerUser(context, 'rollcall');
    const handwritten = await bytesPerUser(context, 'handwritten');
    return [
      {
        ...finding('Redis memory per user with one socket, no meta, all keys and indexes', 540, rollcall),
        measured: `${rollcall.toFixed(0)} B (written by hand: ${handwritten.toFixed(0)} B)`,
        figures: { rollcall, handwritten },
      },
      finding('… per member of a room of 10,000', 160, await bytesPerMember(context)),
      finding('… per channel with a history of one message of 150 B', 1_100, await bytesPerChannel(context)),
    ];
  },
};

/**
 * @param {string} what
 * @param {number} target in bytes
 * @param {number} bytes
 */
function finding(what, target, bytes) {
  return {
    what,
    target: `≤ ${target} B`,
    measured: `${bytes.toFixed(0)} B`,
    met: bytes <= target,
    figures: { bytes },
  };
}

/**
 * @param {Context} context
 * @param {string} name
 */
async function bytesPerUser({ server, libraries }, name) {
  await server.control.flushall();
  const competitor = new Competitor(name);
  try {
    const setting = { what: 'storm', callers: USERS, users: USERS, library: libraries[0], port: server.port };
    await competitor.start('presence', setting);
    const before = await settledMemory(server);
    await competitor.round(USERS);
    const { online } = await competitor.call('after');
    if (online !== USERS) throw new Error(`memory: ${name} has ${online} users`);
    return ((await settledMemory(server)) - before) / USERS;
  } finally {
    await competitor.stop();
  }
}

/** @param {Context} context */
async function bytesPerMember({ server }) {
  await server.control.flushall();
  const redis = /** @type {any} */ (await connect('ioredis', server.port));
  const presence = new PresenceService({ redis, nodeName: 'a-server' });
  try {
    await inFlight(MANY, USERS, (n) => presence.setPresence(userOf(n), socketOf(n)));
    const before = await settledMemory(server);
    await inFlight(MANY, USERS, (n) => presence.join('a-room', userOf(n), socketOf(n)));
    return ((await settledMemory(server)) - before) / USERS;
  } finally {
    await presence.close();
    redis.disconnect();
  }
}

/** @param {Context} context */
async function bytesPerChannel({ server }) {
  await server.control.flushall();
  const redis = /** @type {any} */ (await connect('ioredis', server.port));
  const pubsub = new PubSubService({ redis });
  try {
    await pubsub.connect();
    const before = await settledMemory(server);
    const options = { history: { size: 100, ttl: 600_000 } };
    await inFlight(MANY, CHANNELS, (n) => pubsub.publish(`channel-${n}`, message(n, 150), options));
    return ((await settledMemory(server)) - before) / CHANNELS;
  } finally {
    await pubsub.close();
    redis.disconnect();
  }
}

/**
 * Used memory after hash tables have been rehashed, without the buffers of connections.
 *
 * @param {import('../support/redis-server.js').Server} server
 */
async function settledMemory(server) {
  // It keeps the arguments of commands that waited for a processor.
  await server.control.slowlog('RESET');
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
