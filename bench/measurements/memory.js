// @ts-check
import { NotificationService, PresenceService, PubSubService, RoomService } from 'rollcall';
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
/** In each channel, where idempotency keys are measured. */
const MESSAGES = 10;
const HISTORY = { size: 100, ttl: 600_000 };
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
      finding('… per member of a room of 10,000', 140, await bytesPerMember(context)),
      finding('… per room of one member', undefined, await bytesPerRoom(context)),
      finding('… per channel with a history of one message of 150 B', 700, await bytesPerChannel(context)),
      finding(
        '… per notification of 150 B to a user who is away',
        1_850,
        await bytesPerNotification(context),
      ),
      ...(await idempotencyKeys(context)),
    ];
  },
};

/**
 * @param {string} what
 * @param {number | undefined} target in bytes
 * @param {number} bytes
 */
function finding(what, target, bytes) {
  return {
    what,
    target: target === undefined ? '' : `≤ ${target.toLocaleString('en')} B`,
    measured: `${bytes.toFixed(0)} B`,
    ...(target === undefined ? {} : { met: bytes <= target }),
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

/**
 * The growth of Redis's memory by `work`, in an empty database.
 *
 * @param {Context} context
 * @param {(services: Services) => Promise<unknown>} work
 * @param {(services: Services) => Promise<unknown>} [prepare]
 */
async function bytesOf({ server }, work, prepare = async () => {}) {
  await server.control.flushall();
  const redis = /** @type {any} */ (await connect('ioredis', server.port));
  const presence = new PresenceService({ redis, nodeName: 'a-server' });
  const pubsub = new PubSubService({ redis });
  const rooms = new RoomService({ pubsub, presence });
  const services = { presence, pubsub, notifications: new NotificationService({ rooms }) };
  try {
    await Promise.all([presence.connect(), pubsub.connect()]);
    await prepare(services);
    const before = await settledMemory(server);
    await work(services);
    return (await settledMemory(server)) - before;
  } finally {
    await rooms.close();
    await Promise.all([presence.close(), pubsub.close()]);
    redis.disconnect();
  }
}

/** @typedef {{ presence: PresenceService, pubsub: PubSubService, notifications: NotificationService }} Services */

/** @param {Services} services */
const arrive = ({ presence }) => inFlight(MANY, USERS, (n) => presence.setPresence(userOf(n), socketOf(n)));

/** @param {Context} context */
async function bytesPerMember(context) {
  const join = (/** @type {Services} */ { presence }) =>
    inFlight(MANY, USERS, (n) => presence.join('a-room', userOf(n), socketOf(n)));
  return (await bytesOf(context, join, arrive)) / USERS;
}

/** @param {Context} context */
async function bytesPerRoom(context) {
  const join = (/** @type {Services} */ { presence }) =>
    inFlight(MANY, USERS, (n) => presence.join(`room-${n}`, userOf(n), socketOf(n)));
  return (await bytesOf(context, join, arrive)) / USERS;
}

/**
 * @param {Services} services
 * @param {number} messages to each of the channels
 * @param {(n: number) => object} [optionsOf]
 */
const publishTo = ({ pubsub }, messages, optionsOf = () => ({})) =>
  inFlight(MANY, CHANNELS * messages, (n) =>
    pubsub.publish(`channel-${n % CHANNELS}`, message(n % 1_000, 150), { history: HISTORY, ...optionsOf(n) }),
  );

/** @param {Context} context */
async function bytesPerChannel(context) {
  return (await bytesOf(context, (services) => publishTo(services, 1))) / CHANNELS;
}

/** @param {Context} context */
async function bytesPerNotification(context) {
  const notify = (/** @type {Services} */ { notifications }) =>
    inFlight(MANY, CHANNELS, (n) => notifications.notify(userOf(n), message(n % 1_000, 150)));
  return (await bytesOf(context, notify)) / CHANNELS;
}

/**
 * What idempotency keys add to messages with history.
 *
 * @param {Context} context
 */
async function idempotencyKeys(context) {
  const { control } = context.server;
  const plain = await bytesOf(context, (services) => publishTo(services, MESSAGES));
  const keysBefore = await control.dbsize();
  const idempotencyKey = (/** @type {number} */ n) => `a-key-of-20-B-${100_000 + n}`;
  const withKeys = await bytesOf(context, (services) =>
    publishTo(services, MESSAGES, (n) => ({ idempotencyKey: idempotencyKey(n) })),
  );
  const keys = ((await control.dbsize()) - keysBefore) / (CHANNELS * MESSAGES);
  return [
    finding(
      `… per idempotency key of 20 B, with ${MESSAGES} messages in each channel`,
      undefined,
      (withKeys - plain) / (CHANNELS * MESSAGES),
    ),
    {
      what: 'keys of Redis per message with an idempotency key',
      target: `≤ ${1 / MESSAGES}: at most one for each channel`,
      measured: keys.toFixed(2),
      met: keys <= 1 / MESSAGES,
      figures: { keys },
    },
  ];
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
