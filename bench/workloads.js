// @ts-check
import { sumOf } from './support/messages.js';
import { pubsubPeers } from './support/peers.js';

/**
 * @typedef {import('./support/clients.js').Library} Library
 *
 * What is wanted of rollcall's CPU time on one side, as a share of another contender's.
 *
 * @typedef {object} Target
 * @property {'client' | 'redis'} side
 * @property {string} against a contender, or `fastest peer`
 * @property {number} atMost
 * @property {Library} [library] where it holds for one client only
 *
 * @typedef {object} Workload
 * @property {string} name
 * @property {string} title
 * @property {string} unit what one operation is
 * @property {string} subject the module in subjects/
 * @property {(library: Library) => string[]} rivals contenders beside `rollcall`
 * @property {Record<string, unknown>} setting
 * @property {number} count operations per round
 * @property {number} quickCount the same with --quick
 * @property {Library} quickLibrary with --quick, the only client: the one that more can be compared on
 * @property {boolean} [apart] contenders have channels of their own
 * @property {boolean} [flooded] messages are sent to the contender from outside
 * @property {boolean} [watch] what the contender publishes is counted
 * @property {string[]} [notInRound] commands that check the outcome and must not run while Redis's CPU time is measured
 * @property {(count: number, contender: string) => Record<string, number>} expected what has to be
 *   found after a round
 * @property {Target[]} targets
 */

const USERS = 10_000;

/** What contenders are called in reports. */
export const contenderNames = {
  rollcall: 'rollcall',
  client: 'the raw client',
  tuned: 'the raw client, tuned',
  together: 'the raw client, all at once',
  recipe: 'written by hand',
  tunedRecipe: 'written by hand, tuned',
  scriptRecipe: 'written by hand, one script',
  mget: 'MGET + JSON.parse',
  graphql: 'graphql-redis-subscriptions',
  yoga: '@graphql-yoga/redis-event-target',
  mqemitter: 'mqemitter-redis',
  colyseus: '@colyseus/redis-presence',
  socketio: '@socket.io/redis-adapter',
};

/** The contenders that are libraries of others. */
export const peerNames = new Set(['graphql', 'yoga', 'mqemitter', 'colyseus', 'socketio']);

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
    subject: 'receive',
    quickLibrary: 'ioredis',
    rivals: (library) => ['client', ...pubsubPeers[library]],
    setting: { handlers, channels, raw, bytes, channel: name },
    apart: true,
    flooded: true,
    expected: (messages, contender) => ({
      calls: messages * handlers,
      // Peers know no undecoded messages: theirs are decoded.
      sum: (raw && !peerNames.has(contender) ? messages * bytes : sumOf(messages)) * handlers,
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
    subject: 'presence',
    quickLibrary: 'node-redis',
    rivals: (library) => [
      'recipe',
      'tunedRecipe',
      'scriptRecipe',
      ...(library === 'ioredis' && listener ? ['colyseus'] : []),
    ],
    setting: { what, callers, users: USERS },
    count: USERS,
    quickCount,
    watch: listener,
    notInRound: ['keys', 'hget', 'zcard', 'scan'],
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
    subject: 'lookup',
    quickLibrary: 'node-redis',
    rivals: (library) => (library === 'ioredis' ? ['recipe', 'mget', 'colyseus'] : ['recipe', 'mget']),
    setting: { users },
    count: 100_000,
    quickCount: 20_000,
    expected: (looked) => ({ online: looked }),
    targets: [
      { side: 'client', against: 'recipe', atMost: 0.25 },
      { side: 'client', against: 'mget', atMost: 1.5 },
      { side: 'redis', against: 'recipe', atMost: 0.25 },
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
      { side: 'client', against: 'graphql', atMost: 0.7, library: 'ioredis' },
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
    targets: [{ side: 'client', against: 'fastest peer', atMost: 0.2 }],
  }),
  {
    name: 'publish',
    title: 'publish 150 B of JSON, 100 in flight',
    unit: 'message',
    subject: 'publish',
    quickLibrary: 'ioredis',
    rivals: (library) => ['client', 'tuned', ...pubsubPeers[library]],
    setting: { callers: 100, bytes: 150, channel: 'bench' },
    count: 30_000,
    quickCount: 10_000,
    watch: true,
    expected: (messages) => ({ seen: messages }),
    targets: [
      { side: 'client', against: 'client', atMost: 0.35, library: 'node-redis' },
      { side: 'client', against: 'fastest peer', atMost: 0.8 },
    ],
  },
  {
    name: 'subscribe',
    title: '1,000 subscribes at once (and unsubscribes)',
    unit: 'subscription',
    subject: 'subscribe',
    quickLibrary: 'ioredis',
    rivals: (library) => [
      'client',
      'together',
      // Rooms of this one are no subscriptions.
      ...pubsubPeers[library].filter((peer) => peer !== 'socketio'),
    ],
    setting: { channels: 1_000, channel: 'subscribe' },
    apart: true,
    count: 10_000,
    quickCount: 3_000,
    expected: () => ({ subscribed: 1_000 }),
    targets: [{ side: 'client', against: 'client', atMost: 0.5 }],
  },
  presence({
    name: 'presence',
    title: 'setPresence, 64 callers, 10,000 users',
    what: 'change',
    callers: 64,
    quickCount: USERS / 2,
    left: () => USERS,
    targets: [
      { side: 'client', against: 'recipe', atMost: 0.3 },
      { side: 'redis', against: 'recipe', atMost: 2 },
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
      { side: 'redis', against: 'recipe', atMost: 1.4 },
      { side: 'client', against: 'tunedRecipe', atMost: 0.45 },
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
      { side: 'redis', against: 'recipe', atMost: 2.2 },
      { side: 'client', against: 'tunedRecipe', atMost: 0.25 },
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
      { side: 'client', against: 'recipe', atMost: 0.15 },
      { side: 'redis', against: 'recipe', atMost: 1.75 },
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
];
