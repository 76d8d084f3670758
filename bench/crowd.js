// @ts-check
// One room, many connections, two servers: what a delivered message costs, and a connection.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { writeSection } from './support/page.js';
import { aligned, table } from './support/report.js';
import { median, spread } from './support/spread.js';

/** @typedef {import('./support/redis-server.js').Server} Server */

const KINDS = [
  { kind: 'bare', name: '`ws` and a Redis client, by hand' },
  { kind: 'plain', name: '**rollcall/ws**, nothing kept' },
  { kind: 'history', name: '**rollcall/ws** with history' },
  { kind: 'socket.io', name: 'Socket.IO with its Redis adapter' },
];
const ROUNDS = 5;
const MESSAGES = 20;
const LIMIT_MS = 120_000;
/** The share of connections that stop reading half-way. */
const STALLED = 0.01;

/** The run with slow readers: large messages, so that their buffers fill in a reasonable time. */
const SLOW = { connections: 500, stalled: 25, size: 16_384, messages: 40 };

/** A process of the run, which does one thing after another. */
class Helper {
  /**
   * @param {string} file
   * @param {string[]} args
   */
  constructor(file, args) {
    this.process = fork(new URL(file, import.meta.url), args, { execArgv: ['--expose-gc'] });
    this.process.on('error', () => {});
  }

  /** @returns {Promise<any>} */
  async next() {
    const [message] = await once(this.process, 'message', { signal: AbortSignal.timeout(LIMIT_MS) });
    return message;
  }

  /** @param {object} order */
  ask(order) {
    const answer = this.next();
    this.process.send(order);
    return answer;
  }

  async stop() {
    const gone = once(this.process, 'exit');
    this.process.disconnect();
    await gone;
  }
}

/**
 * @param {Server} server
 * @param {string} kind
 * @param {number} connections
 * @param {(text: string) => void} progress
 */
async function measure(server, kind, connections, progress) {
  await server.control.flushall();
  const nodes = [0, 1].map(() => new Helper('./support/crowd-node.js', [kind, String(server.port)]));
  const load = new Helper('./support/crowd-load.js', []);
  try {
    const ports = (await Promise.all(nodes.map((node) => node.next()))).map(({ port }) => port);
    const look = () => Promise.all(nodes.map((node) => node.ask({ do: 'measure' })));
    const before = await look();
    progress(`${kind}: ${connections} connections`);
    await load.ask({ do: 'enter', kind, ports, count: connections });
    const after = await look();
    /** @param {'rss' | 'heap'} what */
    const grown = (what) =>
      nodes.reduce((sum, _, at) => sum + after[at][what] - before[at][what], 0) / connections;
    progress(`${kind}: ${ROUNDS} × ${MESSAGES} messages to each`);
    const say = saying(load, nodes);
    await say(1, connections);
    const rounds = async (/** @type {number} */ each) => {
      const costs = [];
      const delays = [];
      for (let round = 0; round < ROUNDS; round++) {
        const [begin, began] = [await look(), performance.now()];
        await say(MESSAGES, each);
        delays.push((performance.now() - began) / MESSAGES);
        const end = await look();
        const cpu = nodes.reduce((sum, _, at) => sum + end[at].cpu - begin[at].cpu, 0);
        costs.push(cpu / (MESSAGES * each));
      }
      return { cost: spread(costs), delay: median(delays) };
    };
    const { cost, delay } = await rounds(connections);
    const stalled = Math.ceil(connections * STALLED);
    progress(`${kind}: the same, while ${stalled} do not read`);
    await load.ask({ do: 'stall', count: stalled });
    const slow = await rounds(connections - stalled);
    return { kind, cost, delay, slow, rss: grown('rss'), heap: grown('heap') };
  } finally {
    await Promise.all([load, ...nodes].map((helper) => helper.stop()));
  }
}

/**
 * Says messages one after the other, each when the one before has arrived everywhere.
 *
 * @param {Helper} load
 * @param {Helper[]} nodes
 */
function saying(load, nodes) {
  return async (/** @type {number} */ messages, /** @type {number} */ each, size = 150) => {
    for (let message = 0; message < messages; message++) {
      await load.ask({ do: 'expect', count: each });
      const arrived = load.next();
      await nodes[message % nodes.length]?.ask({ do: 'broadcast', size });
      await arrived;
    }
  };
}

/**
 * Some stop reading; what do the others notice?
 *
 * @param {Server} server
 * @param {string} kind
 * @param {(text: string) => void} progress
 */
async function measureSlow(server, kind, progress) {
  await server.control.flushall();
  const nodes = [0, 1].map(() => new Helper('./support/crowd-node.js', [kind, String(server.port)]));
  const load = new Helper('./support/crowd-load.js', []);
  try {
    const ports = (await Promise.all(nodes.map((node) => node.next()))).map(({ port }) => port);
    const { connections, stalled, size, messages } = SLOW;
    progress(`${kind}: ${stalled} of ${connections} stop reading`);
    await load.ask({ do: 'enter', kind, ports, count: connections });
    const say = saying(load, nodes);
    const look = () => Promise.all(nodes.map((node) => node.ask({ do: 'measure' })));
    const delay = async (/** @type {number} */ each) => {
      const delays = [];
      for (let round = 0; round < ROUNDS * 2; round++) {
        const began = performance.now();
        await say(messages, each, size);
        delays.push((performance.now() - began) / messages);
      }
      return median(delays);
    };
    await say(messages, connections, size);
    const before = await delay(connections);
    const begin = await look();
    await load.ask({ do: 'stall', count: stalled });
    // What was on its way to them may still be counted.
    const during = await delay(connections - stalled);
    const end = await look();
    const sum = (/** @type {(report: any) => number} */ of) =>
      end.reduce((all, report) => all + of(report), 0);
    const held = sum(({ rss }) => rss) - begin.reduce((all, { rss }) => all + rss, 0);
    return { kind, before, during, held, closed: sum(({ stats }) => stats.closedSlow ?? 0) };
  } finally {
    await Promise.all([load, ...nodes].map((helper) => helper.stop()));
  }
}

/**
 * @param {Server} server
 * @param {{ connections: number }} how
 * @param {(text: string) => void} progress
 */
export async function runCrowd(server, { connections }, progress) {
  const standings = [];
  for (const { kind } of KINDS) standings.push(await measure(server, kind, connections, progress));
  const slow = [];
  for (const kind of ['plain', 'history', 'socket.io']) slow.push(await measureSlow(server, kind, progress));
  return { connections, standings, slow };
}

/**
 * @param {Awaited<ReturnType<typeof runCrowd>>} outcome
 * @param {string} about
 * @param {boolean} docs
 */
export function writeCrowd({ connections, standings, slow: buffers }, about, docs) {
  const own = standings.find(({ kind }) => kind === 'plain')?.cost.median ?? Number.NaN;
  const shown = (/** @type {import('./support/spread.js').Spread} */ { median, min, max }) =>
    `${median.toFixed(2)} (${min.toFixed(2)}–${max.toFixed(2)})`;
  const rows = standings.map(({ kind, cost, delay, slow, rss, heap }) => [
    nameOf(kind),
    shown(cost),
    `${(cost.median / own).toFixed(2)} ×`,
    `${delay.toFixed(0)}`,
    shown(slow.cost),
    `${slow.delay.toFixed(0)}`,
    `${(rss / 1_024).toFixed(1)}`,
    `${(heap / 1_024).toFixed(1)}`,
  ]);
  const head = [
    'server',
    'CPU µs per delivered message',
    'to rollcall/ws',
    'ms until all have it',
    'CPU µs while 1 % do not read',
    'ms until the others have it',
    'kB per connection (RSS)',
    'kB (heap)',
  ];
  const text = table(head, rows, ['---', '--:', '--:', '--:', '--:', '--:', '--:', '--:']);
  const slowText = table(
    [
      'server',
      'ms until the others have it, before',
      'with slow readers',
      'MB more held (RSS)',
      'closed as too slow',
    ],
    buffers.map(({ kind, before, during, held, closed }) => [
      nameOf(kind),
      before.toFixed(0),
      during.toFixed(0),
      (held / 2 ** 20).toFixed(0),
      kind === 'socket.io' ? '' : String(closed),
    ]),
    ['---', '--:', '--:', '--:', '--:'],
  );
  console.log(`${aligned(text)}\n\n${aligned(slowText)}\n`);
  if (!docs) return;
  const what = `${connections} connections in one room on two servers; ${ROUNDS} rounds of ${MESSAGES} messages of 150 bytes, each said when the one before has arrived everywhere.`;
  const { stalled, size, messages } = SLOW;
  const whatSlow = `${stalled} of ${SLOW.connections} connections stop reading for so long that what waits for them passes the limit, while ${ROUNDS * 2 * messages} messages of ${size / 1_024} kB are said to the others:`;
  writeSection('crowd', `${about} ${what}\n\n${text}\n\n${whatSlow}\n\n${slowText}`);
}

/** @param {string} kind */
function nameOf(kind) {
  return KINDS.find((each) => each.kind === kind)?.name ?? kind;
}
