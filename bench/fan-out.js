// @ts-check
// One room, many connections, two servers: what a delivered message costs, and a connection.
import { ForkedProcess } from './support/forked-process.js';
import { writeSection } from './support/page.js';
import { aligned, table } from './support/report.js';
import { median, statisticsOf } from './support/statistics.js';

/** @typedef {import('./support/redis-server.js').Server} Server */

const KINDS = [
  { kind: 'bare', name: '`ws` and a Redis client, by hand' },
  { kind: 'plain', name: '**rollcall/ws**, no history' },
  { kind: 'history', name: '**rollcall/ws** with history' },
  { kind: 'socket.io', name: 'Socket.IO with its Redis adapter' },
];
const ROUNDS = 5;
const MESSAGES = 20;
/** The share of connections that stop reading half-way through. */
const STALLED = 0.01;

/** The run with slow readers: large messages, so that their buffers fill in a reasonable time. */
const SLOW = { connections: 500, stalled: 25, size: 16_384, messages: 40 };

/**
 * @param {Server} server
 * @param {string} kind
 * @param {number} connections
 * @param {(text: string) => void} progress
 */
async function measure(server, kind, connections, progress) {
  await server.control.flushall();
  const nodes = [0, 1].map(() => new ForkedProcess('./fan-out-node.js', [kind, String(server.port)]));
  const load = new ForkedProcess('./fan-out-load.js', []);
  try {
    const ports = (await Promise.all(nodes.map((node) => node.next()))).map(({ port }) => port);
    const readUsage = () => Promise.all(nodes.map((node) => node.request({ do: 'measure' })));
    const before = await readUsage();
    progress(`${kind}: ${connections} connections`);
    await load.request({ do: 'join', kind, ports, count: connections });
    const after = await readUsage();
    /** @param {'rss' | 'heap'} what */
    const grown = (what) =>
      nodes.reduce((sum, _, at) => sum + after[at][what] - before[at][what], 0) / connections;
    progress(`${kind}: ${ROUNDS} × ${MESSAGES} messages to each`);
    const broadcast = createBroadcast(load, nodes);
    await broadcast(1, connections);
    const rounds = async (/** @type {number} */ each) => {
      const costs = [];
      const delays = [];
      for (let round = 0; round < ROUNDS; round++) {
        const [begin, began] = [await readUsage(), performance.now()];
        await broadcast(MESSAGES, each);
        delays.push((performance.now() - began) / MESSAGES);
        const end = await readUsage();
        const cpu = nodes.reduce((sum, _, at) => sum + end[at].cpu - begin[at].cpu, 0);
        costs.push(cpu / (MESSAGES * each));
      }
      return { cost: statisticsOf(costs), delay: median(delays) };
    };
    const { cost, delay } = await rounds(connections);
    const stalled = Math.ceil(connections * STALLED);
    progress(`${kind}: the same, while ${stalled} do not read`);
    await load.request({ do: 'stall', count: stalled });
    const slow = await rounds(connections - stalled);
    return { kind, cost, delay, slow, rss: grown('rss'), heap: grown('heap') };
  } finally {
    await Promise.all([load, ...nodes].map((each) => each.stop()));
  }
}

/**
 * Broadcasts one message after another, each when all connections have received the one before.
 *
 * @param {ForkedProcess} load
 * @param {ForkedProcess[]} nodes
 */
function createBroadcast(load, nodes) {
  return async (/** @type {number} */ messages, /** @type {number} */ each, size = 150) => {
    for (let message = 0; message < messages; message++) {
      await load.request({ do: 'expect', count: each });
      const arrived = load.next();
      await nodes[message % nodes.length]?.request({ do: 'broadcast', size });
      await arrived;
    }
  };
}

/**
 * Measures how connections that stop reading delay the others.
 *
 * @param {Server} server
 * @param {string} kind
 * @param {(text: string) => void} progress
 */
async function measureSlow(server, kind, progress) {
  await server.control.flushall();
  const nodes = [0, 1].map(() => new ForkedProcess('./fan-out-node.js', [kind, String(server.port)]));
  const load = new ForkedProcess('./fan-out-load.js', []);
  try {
    const ports = (await Promise.all(nodes.map((node) => node.next()))).map(({ port }) => port);
    const { connections, stalled, size, messages } = SLOW;
    progress(`${kind}: ${stalled} of ${connections} stop reading`);
    await load.request({ do: 'join', kind, ports, count: connections });
    const broadcast = createBroadcast(load, nodes);
    const readUsage = () => Promise.all(nodes.map((node) => node.request({ do: 'measure' })));
    const delay = async (/** @type {number} */ each) => {
      const delays = [];
      for (let round = 0; round < ROUNDS * 2; round++) {
        const began = performance.now();
        await broadcast(messages, each, size);
        delays.push((performance.now() - began) / messages);
      }
      return median(delays);
    };
    await broadcast(messages, connections, size);
    const before = await delay(connections);
    const begin = await readUsage();
    await load.request({ do: 'stall', count: stalled });
    // Messages in flight to the stalled connections may still be counted.
    const during = await delay(connections - stalled);
    const end = await readUsage();
    const sum = (/** @type {(report: any) => number} */ of) =>
      end.reduce((all, report) => all + of(report), 0);
    const extraMemory = sum(({ rss }) => rss) - begin.reduce((all, { rss }) => all + rss, 0);
    return { kind, before, during, extraMemory, closed: sum(({ stats }) => stats.closedSlow ?? 0) };
  } finally {
    await Promise.all([load, ...nodes].map((each) => each.stop()));
  }
}

/**
 * @param {Server} server
 * @param {{ connections: number }} how
 * @param {(text: string) => void} progress
 */
export async function runFanOut(server, { connections }, progress) {
  const results = [];
  for (const { kind } of KINDS) results.push(await measure(server, kind, connections, progress));
  const slow = [];
  for (const kind of ['plain', 'history', 'socket.io']) slow.push(await measureSlow(server, kind, progress));
  return { connections, results, slow };
}

/**
 * @param {Awaited<ReturnType<typeof runFanOut>>} outcome
 * @param {string} about
 * @param {boolean} docs
 */
export function writeFanOut({ connections, results, slow: buffers }, about, docs) {
  const own = results.find(({ kind }) => kind === 'plain')?.cost.median ?? Number.NaN;
  const format = (/** @type {import('./support/statistics.js').Statistics} */ { median, min, max }) =>
    `${median.toFixed(2)} (${min.toFixed(2)}–${max.toFixed(2)})`;
  const rows = results.map(({ kind, cost, delay, slow, rss, heap }) => [
    nameOf(kind),
    format(cost),
    `${(cost.median / own).toFixed(2)} ×`,
    `${delay.toFixed(0)}`,
    format(slow.cost),
    `${slow.delay.toFixed(0)}`,
    `${(rss / 1_024).toFixed(1)}`,
    `${(heap / 1_024).toFixed(1)}`,
  ]);
  const head = [
    'server',
    'CPU µs per delivered message',
    'to rollcall/ws',
    'ms until all have received it',
    'CPU µs while 1 % do not read',
    'ms until the others have received it',
    'kB per connection (RSS)',
    'kB (heap)',
  ];
  const text = table(head, rows, ['---', '--:', '--:', '--:', '--:', '--:', '--:', '--:']);
  const slowText = table(
    [
      'server',
      'ms until the others have received it, before',
      'with slow readers',
      'additional MB (RSS)',
      'closed as slow consumers',
    ],
    buffers.map(({ kind, before, during, extraMemory, closed }) => [
      nameOf(kind),
      before.toFixed(0),
      during.toFixed(0),
      (extraMemory / 2 ** 20).toFixed(0),
      kind === 'socket.io' ? '' : String(closed),
    ]),
    ['---', '--:', '--:', '--:', '--:'],
  );
  console.log(`${aligned(text)}\n\n${aligned(slowText)}\n`);
  if (!docs) return;
  const what = `${connections} connections in one room on two servers; ${ROUNDS} rounds of ${MESSAGES} messages of 150 bytes, each broadcast when all connections have received the one before.`;
  const { stalled, size, messages } = SLOW;
  const whatSlow = `${stalled} of ${SLOW.connections} connections stop reading until their buffers exceed the limit, while ${ROUNDS * 2 * messages} messages of ${size / 1_024} kB are broadcast to the others:`;
  writeSection('fan-out', `${about} ${what}\n\n${text}\n\n${whatSlow}\n\n${slowText}`);
}

/** @param {string} kind */
function nameOf(kind) {
  return KINDS.find((each) => each.kind === kind)?.name ?? kind;
}
