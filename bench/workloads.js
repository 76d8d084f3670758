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
 * @property {number} atMost
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
 * @property {boolean} [publishLoad] messages are published to the competitor by bench/support/publish-load.js
 * @property {boolean} [watch] the messages that the competitor publishes are counted
 * @property {string[]} [notInRound] commands that check the outcome and must not run while Redis's CPU time is measured
 * @property {(count: number, competitor: string) => Record<string, number>} expected the facts
 *   that must hold after a round
 * @property {Target[]} targets
 */

const USERS = 10_000;

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
 *   quickCount: number, bytes?: number, raw?: boolean, targets?: Target[] }} options
 * @returns {Workload}
 */
function receive({
  name,
  title,
  handlers = 1,
  channels = 1,
  bytes = 150,
  raw = false,
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
    competitors: (library) => ['client', ...pubsubLibraryNames[library]],
    setting: { handlers, channels, raw, bytes, channel: name },
    ownChannels: true,
    publishLoad: true,
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
    notInRound: ['keys', 'hget', 'scan'],
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
      library === 'ioredis' ? ['handwritten', 'mget', 'colyseus'] : ['handwritten', 'mget'],
    setting: { users },
    count: 100_000,
    quickCount: 20_000,
    expected: (looked) => ({ online: looked }),
    targets: [
      { side: 'client', against: 'handwritten', atMost: 0.25 },
      { side: 'client', against: 'mget', atMost: 1.5 },
      { side: 'redis', against: 'handwritten', atMost: 0.25 },
    ],
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
      { side: 'client', against: 'graphql', atMost: 0.5, library: 'ioredis' },
    ],
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
    targets: [{ side: 'client', against: 'fastest library', atMost: 0.2 }],
  }),
  {
    name: 'publish',
    title: 'publish 150 B of JSON, 100 in flight',
    unit: 'message',
    comparison: 'publish',
    quickLibrary: 'ioredis',
    competitors: (library) => ['client', 'tuned', ...pubsubLibraryNames[library]],
    setting: { callers: 100, bytes: 150, channel: 'bench' },
    count: 30_000,
    quickCount: 10_000,
    watch: true,
    expected: (messages) => ({ seen: messages }),
    targets: [
      { side: 'client', against: 'client', atMost: 0.35, library: 'node-redis' },
      { side: 'client', against: 'fastest library', atMost: 0.8 },
    ],
  },
  {
    name: 'publish-history',
    title: 'publish 150 B of JSON with history over 100 channels, 100 in flight',
    unit: 'message',
    comparison: 'publish',
    quickLibrary: 'node-redis',
    competitors: () => ['handwrittenScript', 'handwrittenTuned'],
    setting: {
      callers: 100,
      bytes: 150,
      channel: 'kept',
      channels: 100,
      history: { size: 100, ttl: 600_000 },
    },
    ownChannels: true,
    count: 30_000,
    quickCount: 10_000,
    expected: (messages) => ({ published: messages }),
    targets: [
      { side: 'client', against: 'handwrittenScript', atMost: 0.8 },
      { side: 'redis', against: 'handwrittenScript', atMost: 1.2 },
    ],
  },
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
    ownChannels: true,
    count: 10_000,
    quickCount: 3_000,
    expected: () => ({ subscribed: 1_000 }),
    targets: [{ side: 'client', against: 'client', atMost: 0.25 }],
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
      { side: 'redis', against: 'handwritten', atMost: 2 },
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
      { side: 'redis', against: 'handwritten', atMost: 1.4 },
      { side: 'client', against: 'handwrittenTuned', atMost: 0.45 },
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
      { side: 'redis', against: 'handwritten', atMost: 2.2 },
      { side: 'client', against: 'handwrittenTuned', atMost: 0.25 },
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
      { side: 'redis', against: 'handwritten', atMost: 1.75 },
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
  {
    name: 'lookup-again',
    title: 'getMultiplePresence of the same 1,000 users again, with lookupCache, nothing changed',
    unit: 'user',
    comparison: 'lookup',
    quickLibrary: 'node-redis',
    competitors: () => ['uncached'],
    setting: { users: 1_000, cached: true },
    count: 100_000,
    quickCount: 20_000,
    expected: (looked) => ({ online: looked }),
    targets: [
      { side: 'client', against: 'uncached', atMost: 0.15 },
      { side: 'redis', against: 'uncached', atMost: 0.05 },
    ],
  },
];
