// @ts-check
import { sumOf } from './support/messages.js';

/**
 * @typedef {object} Workload
 * @property {string} name
 * @property {string} title
 * @property {string} unit what one operation is
 * @property {string} subject the module in subjects/
 * @property {string[]} rivals contenders beside `rollcall`
 * @property {Record<string, unknown>} setting
 * @property {number} count operations per round
 * @property {number} quickCount the same with --quick
 * @property {number} warmUps rounds before those that count
 * @property {{ bytes: number }} [flood] messages are sent to the contender from outside
 * @property {'messages' | 'changes'} [watch] what is counted of what the contender publishes
 * @property {(count: number) => Record<string, number>} expected what has to be found after a round
 * @property {Record<string, { client?: number, redis?: number }>} targets highest ratio wanted, by rival
 * @property {'node-redis'} [targetOf] the library that the targets are meant for
 */

const USERS = 10_000;
const LOOKUP = 1_000;

/**
 * @param {{ name: string, title: string, handlers: number, count: number, quickCount: number,
 *   bytes: number, raw?: boolean, target?: number }} options
 * @returns {Workload}
 */
function receive({ name, title, handlers, count, quickCount, bytes, raw = false, target }) {
  return {
    name,
    title,
    unit: 'message',
    subject: 'receive',
    rivals: ['client'],
    setting: { handlers, raw, channel: 'bench' },
    count,
    quickCount,
    warmUps: 2,
    flood: { bytes },
    expected: (messages) => ({
      calls: messages * handlers,
      sum: (raw ? messages * bytes : sumOf(messages)) * handlers,
    }),
    targets: target === undefined ? {} : { client: { client: target } },
  };
}

/** @type {Workload[]} */
export const workloads = [
  receive({
    name: 'receive-1',
    title: 'receive 150 B of JSON, 1 handler',
    handlers: 1,
    count: 100_000,
    quickCount: 40_000,
    bytes: 150,
    target: 1.1,
  }),
  receive({
    name: 'receive-10',
    title: 'receive 150 B of JSON, 10 handlers',
    handlers: 10,
    count: 100_000,
    quickCount: 40_000,
    bytes: 150,
  }),
  receive({
    name: 'receive-1000',
    title: 'receive 150 B of JSON, 1,000 handlers',
    handlers: 1_000,
    count: 20_000,
    quickCount: 5_000,
    bytes: 150,
    target: 1.05,
  }),
  receive({
    name: 'receive-raw',
    title: 'receive 2 KB undecoded, 1 handler',
    handlers: 1,
    count: 50_000,
    quickCount: 20_000,
    bytes: 2_048,
    raw: true,
  }),
  {
    name: 'publish',
    title: 'publish 150 B of JSON, 100 in flight',
    unit: 'message',
    subject: 'publish',
    rivals: ['client', 'tuned'],
    setting: { callers: 100, bytes: 150, channel: 'bench' },
    count: 40_000,
    quickCount: 10_000,
    warmUps: 2,
    watch: 'messages',
    // One receiver each: the one who counts.
    expected: (messages) => ({ receivers: messages, seen: messages }),
    targets: { client: { client: 0.35 } },
    targetOf: 'node-redis',
  },
  {
    name: 'presence',
    title: 'setPresence, 64 callers, 10,000 users',
    unit: 'call',
    subject: 'presence',
    rivals: ['client'],
    setting: { callers: 64, users: USERS },
    count: USERS,
    quickCount: USERS / 2,
    warmUps: 2,
    watch: 'changes',
    expected: (calls) => ({ online: USERS, seen: calls }),
    targets: { client: { client: 0.3, redis: 2 } },
  },
  {
    name: 'storm',
    title: 'setPresence, 10,000 users arrive at once',
    unit: 'call',
    subject: 'presence',
    rivals: ['client'],
    setting: { callers: USERS, users: USERS },
    count: USERS,
    quickCount: USERS,
    warmUps: 2,
    watch: 'changes',
    expected: (calls) => ({ online: USERS, seen: calls }),
    targets: { client: { client: 0.15, redis: 1.75 } },
  },
  {
    name: 'lookup',
    title: 'getMultiplePresence of 1,000 users',
    unit: 'user',
    subject: 'lookup',
    rivals: ['client', 'mget'],
    setting: { users: LOOKUP },
    count: 100 * LOOKUP,
    quickCount: 20 * LOOKUP,
    warmUps: 2,
    expected: (users) => ({ online: users }),
    targets: { client: { client: 0.25 }, mget: { client: 1.5 } },
  },
];

/** Redis memory of users with one socket each; not timed. */
export const memory = {
  name: 'memory',
  title: 'Redis memory per user with one socket',
  setting: { callers: USERS, users: USERS },
  users: USERS,
  target: 750,
};

/** What contenders are called in reports. */
export const rivalNames = {
  client: 'by hand',
  tuned: 'by hand, tuned',
  mget: 'MGET + JSON.parse',
};
