// @ts-check

import { pubsubLibraryNames } from './support/competitors.js';
import { sumOf } from './support/messages.js';

/**
 * @typedef {import('./support/clients.js').Library} Library
 *
 * The target for rollcall's CPU time on one side, relative to another competitor.
 *
 * @typedef {object} Target
 * @property {'client' | 'redis'} side
 * @property {string} against a competitor, or `fastest library`
 * @property {number | Record<Library, number>} atMost
 * @property {Library} [library] set if the target is for one client only
 *
 * @typedef {object} Workload
 * @property {string} name
 * @property {string} title
 * @property {string} unit what one operation is
 * @property {string} comparison the module in comparisons/
 * @property {(library: Library) => string[]} competitors those beside `rollcall`
 * @property {Record<string, unknown>} setting
 * @property {number} count operations per round
 * @property {number} quickCount the same with --quick
 * @property {Library} quickLibrary the only client with --quick: the one with more competitors
 * @property {boolean} [ownChannels] every competitor uses channels of its own
 * @property {'publish' | 'presence'} [load] what the competitor receives: messages published by
 *   bench/support/publish-load.js, or changes of presence by a process of the same competitor
 * @property {boolean} [watch] the messages that the competitor publishes are counted
 * @property {(competitor: string) => string[]} commands all that a measured round needs. Redis's CPU time would include any
 *   other, so that the run warns about it
 * @property {boolean} [fullOnly] not a part of `--quick`
 * @property {boolean} [contended] while busy processes compete for every core
 * @property {string} [subtract] a competitor that does only what the rounds of all have in common; its cost is subtracted
 * @property {(count: number, competitor: string) => Record<string, number>} expected the facts
 *   that must hold after a round
 * @property {Target[]} targets
 */

const USERS = 10_000;
const HISTORY = { size: 100, ttl: 600_000 };

// Commands that rounds need, those of scripts included: see `Workload.commands`.

/** Start, renewals and sweeps of rollcall's process, which may come in the round of another competitor. */
// biome-ignore format: one list
const leaseCommands = [
  'evalsha', 'eval', 'script|load', 'time', 'get', 'zadd', 'zscore', 'zrange', 'zrangebyscore', 'pexpire', 'hexists', 'sismember',
  'sscan', 'subscribe',
];
const historyCommands = ['evalsha', 'time', 'get', 'set', 'lindex', 'rpush', 'ltrim', 'pexpire', 'publish'];
const idempotencyCommands = ['hget', 'hset', 'pexpireat'];
const handwrittenHistoryCommands = ['evalsha', 'xadd', 'pexpire', 'publish'];
const handwrittenCommands = ['multi', 'exec', 'hset', 'sadd', 'expire', 'srem', 'scard', 'publish'];
/** @type {Record<string, string[]>} */
const presenceCommands = {
  // biome-ignore format: one list
  rollcall: [
    'multi', 'exec', 'hlen', 'hset', 'hdel', 'mget', 'set', 'sadd', 'srem', 'smembers', 'rpushx', 'publish',
  ],
  handwritten: handwrittenCommands,
  handwrittenTuned: handwrittenCommands,
  handwrittenScript: ['evalsha', 'hset', 'expire', 'publish'],
  colyseus: ['hset', 'sadd', 'expire', 'srem', 'scard', 'publish'],
};
/** @type {Record<string, string[]>} */
const lookupCommands = {
  rollcall: ['mget'],
  handwritten: ['multi', 'exec', 'hgetall', 'smembers'],
  handwrittenTuned: ['multi', 'exec', 'hgetall', 'smembers'],
  handwrittenScript: ['hget'],
  mget: ['mget'],
  colyseus: ['hgetall', 'smembers'],
};
/** What a lookup cache asks about changes. */
const cacheCommands = ['mget', 'lrange', 'lpos', 'lindex', 'rpush', 'pexpire'];
/** @param {Record<string, string[]>} commands */
const withLease = (commands) => (/** @type {string} */ competitor) => [
  ...leaseCommands,
  ...(commands[competitor] ?? []),
];

/** Names of competitors in reports. */
export const competitorNames = {
  rollcall: 'rollcall',
  client: 'the raw client',
  tuned: 'the raw client, tuned',
  together: 'the raw client, all at once',
  handwritten: 'written by hand',
  handwrittenTuned: 'written by hand, tuned',
  handwrittenScript: 'written by hand, one script',
  uncached: 'rollcall without the cache',
  plain: 'rollcall without history',
  mget: 'MGET + JSON.parse',
  graphql: 'graphql-redis-subscriptions',
  yoga: '@graphql-yoga/redis-event-target',
  mqemitter: 'mqemitter-redis',
  colyseus: '@colyseus/redis-presence',
  socketio: '@socket.io/redis-adapter',
};

/** The competitors that are published libraries. */
export const libraryNames = new Set(['graphql', 'yoga', 'mqemitter', 'colyseus', 'socketio']);

/**
 * @param {{ name: string, title: string, handlers?: number, channels?: number, count: number,
 *   quickCount: number, bytes?: number, raw?: boolean, contended?: boolean, fullOnly?: boolean, setting?: object,
 *   competitors?: (library: Library) => string[], targets?: Target[] }} options
 * @returns {Workload}
 */
function receive({
  name,
  title,
  handlers = 1,
  channels = 1,
  bytes = 150,
  raw = false,
  competitors = (library) => ['client', ...pubsubLibraryNames[library]],
  setting = {},
  targets = [],
  ...rest
}) {
  return {
    ...rest,
    name,
    title,
    unit: 'message',
    comparison: 'receive',
    quickLibrary: 'ioredis',
    competitors,
    setting: { handlers, channels, raw, bytes, channel: name, ...setting },
    ownChannels: true,
    load: 'publish',
    commands: () => ['publish'],
    expected: (messages, competitor) => ({
      calls: messages * handlers,
      // The libraries always decode messages.
      sum: (raw && !libraryNames.has(competitor) ? messages * bytes : sumOf(messages)) * handlers,
    }),
    targets,
  };
}

/**
 * @param {{ name: string, title: string, what: string, callers: number, quickCount: number,
 *   left: (calls: number) => number, listener?: boolean, targets?: Target[] }} options
 * @returns {Workload}
 */
function presence({ name, title, what, callers, quickCount, left, listener = true, targets = [] }) {
  return {
    name,
    title,
    unit: 'call',
    comparison: 'presence',
    quickLibrary: 'node-redis',
    competitors: (library) => [
      'handwritten',
      'handwrittenTuned',
      'handwrittenScript',
      ...(library === 'ioredis' && listener ? ['colyseus'] : []),
    ],
    setting: { what, callers, users: USERS },
    count: USERS,
    quickCount,
    watch: listener,
    commands: withLease(presenceCommands),
    expected: (calls) => ({ online: left(calls), ...(listener ? { seen: calls } : {}) }),
    targets,
  };
}

/**
 * @param {number} users
 * @returns {Workload}
 */
function lookup(users) {
  return {
    name: `lookup-${users}`,
    title: `getMultiplePresence of ${users.toLocaleString('en')} users`,
    unit: 'user',
    comparison: 'lookup',
    quickLibrary: 'node-redis',
    competitors: (library) =>
      ['handwritten', 'handwrittenTuned', 'handwrittenScript', 'mget'].concat(
        library === 'ioredis' ? ['colyseus'] : [],
      ),
    commands: withLease(lookupCommands),
    setting: { users },
    fullOnly: users === 10_000,
    count: 50_000,
    quickCount: 20_000,
    expected: (looked) => ({ online: looked }),
    targets: [
      {
        side: 'client',
        against: 'handwritten',
        atMost: users === 1_000 ? 0.18 : { 'node-redis': 0.25, ioredis: users === 10_000 ? 0.16 : 0.25 },
      },
      { side: 'client', against: 'mget', atMost: 1.5 },
      { side: 'redis', against: 'handwritten', atMost: users === 1_000 ? 0.16 : 0.25 },
    ],
  };
}

/**
 * @param {number} channels
 * @param {{ client: Record<Library, number>, redis: Record<Library, number> }} targets
 * @returns {Workload}
 */
function publishHistory(channels, targets) {
  return {
    name: `publish-history${channels === 100 ? '' : `-${channels}`}`,
    title: `publish 150 B of JSON with history ${channels === 1 ? 'on one channel' : `over ${channels.toLocaleString('en')} channels`}, 100 in flight`,
    unit: 'message',
    comparison: 'publish',
    quickLibrary: 'node-redis',
    competitors: () => ['handwrittenScript', 'handwrittenTuned'],
    setting: { callers: 100, bytes: 150, channel: 'kept', channels, history: HISTORY },
    commands: (competitor) => (competitor === 'rollcall' ? historyCommands : handwrittenHistoryCommands),
    ownChannels: true,
    count: channels === 100 ? 30_000 : 20_000,
    quickCount: 10_000,
    fullOnly: channels !== 100,
    expected: (messages) => ({ published: messages }),
    targets: [
      { side: 'client', against: 'handwrittenScript', atMost: targets.client },
      { side: 'redis', against: 'handwrittenScript', atMost: targets.redis },
    ],
  };
}

/**
 * @param {number} changed of 1,000 users, between two lookups
 * @param {Target[]} targets
 * @returns {Workload}
 */
function lookupAgain(changed, targets) {
  return {
    name: changed === 0 ? 'lookup-again' : 'lookup-changed',
    title: `getMultiplePresence of the same 1,000 users again, with lookupCache, ${changed === 0 ? 'nothing changed' : `${changed / 10} % changed`}`,
    unit: 'user',
    comparison: 'lookup',
    quickLibrary: 'node-redis',
    competitors: () => ['uncached'],
    setting: { users: 1_000, cached: true, changed },
    commands: () => [
      ...leaseCommands,
      ...cacheCommands,
      ...(changed === 0 ? [] : ['hgetall', ...(presenceCommands['rollcall'] ?? [])]),
    ],
    ...(changed === 0 ? {} : { subtract: 'changes' }),
    count: 50_000,
    quickCount: 20_000,
    expected: (looked) => ({ online: looked }),
    targets,
  };
}

/** @type {Workload[]} */
export const workloads = [
  receive({
    name: 'receive-1',
    title: 'receive 150 B of JSON, 1 handler',
    count: 80_000,
    quickCount: 20_000,
    targets: [{ side: 'client', against: 'client', atMost: 1.1 }],
  }),
  receive({
    name: 'receive-1000',
    title: 'receive 150 B of JSON, 1,000 handlers on one channel',
    handlers: 1_000,
    count: 10_000,
    quickCount: 4_000,
    targets: [
      { side: 'client', against: 'client', atMost: 1.05 },
      { side: 'client', against: 'graphql', atMost: 0.45, library: 'ioredis' },
    ],
  }),
  receive({
    name: 'receive-1000-contended',
    title: 'receive 150 B of JSON, 1,000 handlers on one channel, on a contended machine',
    handlers: 1_000,
    competitors: () => ['client'],
    contended: true,
    fullOnly: true,
    count: 5_000,
    quickCount: 2_000,
    targets: [{ side: 'client', against: 'client', atMost: 1.05 }],
  }),
  receive({
    name: 'receive-history',
    title: 'receive 150 B of JSON with history, 1 handler on each of 100 channels',
    channels: 100,
    setting: { history: HISTORY },
    competitors: () => ['plain'],
    count: 60_000,
    quickCount: 20_000,
    targets: [{ side: 'client', against: 'plain', atMost: 1.25 }],
  }),
  receive({
    name: 'receive-channels',
    title: 'receive 150 B of JSON, 10,000 channels',
    channels: 10_000,
    count: 60_000,
    quickCount: 20_000,
    targets: [{ side: 'client', against: 'client', atMost: 1.1 }],
  }),
  receive({
    name: 'receive-raw',
    title: 'receive 2 KB with `raw: true`',
    bytes: 2_048,
    raw: true,
    count: 30_000,
    quickCount: 10_000,
    targets: [{ side: 'client', against: 'fastest library', atMost: { 'node-redis': 0.15, ioredis: 0.2 } }],
  }),
  {
    name: 'publish',
    title: 'publish 150 B of JSON, 100 in flight',
    unit: 'message',
    comparison: 'publish',
    quickLibrary: 'ioredis',
    competitors: (library) => ['client', 'tuned', ...pubsubLibraryNames[library]],
    setting: { callers: 100, bytes: 150, channel: 'bench' },
    commands: () => ['publish'],
    count: 30_000,
    quickCount: 10_000,
    watch: true,
    expected: (messages) => ({ seen: messages }),
    targets: [
      { side: 'client', against: 'client', atMost: 0.35, library: 'node-redis' },
      { side: 'client', against: 'fastest library', atMost: { 'node-redis': 0.3, ioredis: 0.8 } },
    ],
  },
  publishHistory(1, {
    client: { 'node-redis': 0.6, ioredis: 0.75 },
    redis: { 'node-redis': 0.85, ioredis: 0.55 },
  }),
  publishHistory(100, {
    client: { 'node-redis': 0.6, ioredis: 0.8 },
    redis: { 'node-redis': 1.2, ioredis: 0.9 },
  }),
  publishHistory(10_000, {
    client: { 'node-redis': 0.65, ioredis: 0.8 },
    redis: { 'node-redis': 1.2, ioredis: 1.1 },
  }),
  {
    name: 'subscribe',
    title: '1,000 subscribes at once (and unsubscribes)',
    unit: 'subscription',
    comparison: 'subscribe',
    quickLibrary: 'ioredis',
    competitors: (library) => [
      'client',
      'together',
      // A room of Socket.IO's adapter is not a subscription in Redis.
      ...pubsubLibraryNames[library].filter((name) => name !== 'socketio'),
    ],
    setting: { channels: 1_000, channel: 'subscribe' },
    commands: () => ['subscribe', 'unsubscribe', 'psubscribe', 'punsubscribe'],
    ownChannels: true,
    count: 10_000,
    quickCount: 3_000,
    expected: () => ({ subscribed: 1_000 }),
    targets: [{ side: 'client', against: 'client', atMost: 0.2 }],
  },
  presence({
    name: 'presence',
    title: 'setPresence, 64 callers, 10,000 users',
    what: 'change',
    callers: 64,
    quickCount: USERS / 2,
    left: () => USERS,
    targets: [
      { side: 'client', against: 'handwritten', atMost: 0.3 },
      { side: 'redis', against: 'handwritten', atMost: { 'node-redis': 1.9, ioredis: 0.65 } },
    ],
  }),
  presence({
    name: 'presence-unheard',
    title: 'setPresence, 64 callers, 10,000 users, nobody subscribed',
    what: 'change',
    callers: 64,
    quickCount: USERS / 2,
    left: () => USERS,
    listener: false,
    targets: [
      { side: 'redis', against: 'handwritten', atMost: { 'node-redis': 1.4, ioredis: 0.6 } },
      { side: 'client', against: 'handwrittenTuned', atMost: { 'node-redis': 0.45, ioredis: 0.3 } },
    ],
  }),
  presence({
    name: 'storm-unheard',
    title: 'setPresence, 10,000 users arrive at once, nobody subscribed',
    what: 'storm',
    callers: USERS,
    quickCount: USERS,
    left: () => USERS,
    listener: false,
    targets: [
      { side: 'redis', against: 'handwritten', atMost: { 'node-redis': 2.2, ioredis: 0.68 } },
      { side: 'client', against: 'handwrittenTuned', atMost: { 'node-redis': 0.25, ioredis: 0.17 } },
    ],
  }),
  presence({
    name: 'storm',
    title: 'setPresence, 10,000 users arrive at once',
    what: 'storm',
    callers: USERS,
    quickCount: USERS,
    left: () => USERS,
    targets: [
      { side: 'client', against: 'handwritten', atMost: 0.15 },
      { side: 'redis', against: 'handwritten', atMost: { 'node-redis': 1.75, ioredis: 0.85 } },
    ],
  }),
  presence({
    name: 'leave',
    title: 'removeSocket, 64 callers, the last socket of each user',
    what: 'leave',
    callers: 64,
    quickCount: USERS / 2,
    left: (calls) => USERS - calls,
  }),
  lookup(100),
  lookup(1_000),
  lookup(10_000),
  lookupAgain(0, [
    { side: 'client', against: 'uncached', atMost: 0.15 },
    { side: 'redis', against: 'uncached', atMost: 0.05 },
  ]),
  lookupAgain(10, [
    { side: 'client', against: 'uncached', atMost: 0.35 },
    { side: 'redis', against: 'uncached', atMost: 0.3 },
  ]),
  {
    name: 'watch',
    title: 'a change of presence in a process that watches 1,000 of the 10,000 users who change',
    unit: 'change',
    comparison: 'watch',
    quickLibrary: 'node-redis',
    competitors: () => ['handwritten'],
    setting: { users: USERS, every: 10, callers: 64 },
    load: 'presence',
    commands: withLease(presenceCommands),
    count: USERS,
    quickCount: USERS / 2,
    expected: (changes) => ({ calls: changes / 10 }),
    targets: [],
  },
  {
    name: 'notify',
    title: 'notify 1,000 users who are away, 150 B of JSON, 64 callers',
    unit: 'notification',
    comparison: 'notify',
    quickLibrary: 'node-redis',
    competitors: () => ['handwrittenScript'],
    setting: { users: 1_000, callers: 64, bytes: 150 },
    commands: (competitor) =>
      competitor === 'rollcall'
        ? [...leaseCommands, ...historyCommands, ...idempotencyCommands, 'mget']
        : [...leaseCommands, ...handwrittenHistoryCommands],
    count: 10_000,
    quickCount: 3_000,
    expected: (notifications) => ({ notified: notifications }),
    targets: [],
  },
];
