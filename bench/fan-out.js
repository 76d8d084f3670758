// @ts-check
// One room, many connections, two servers: what a delivered message costs, and a connection.
import { ForkedProcess } from './support/forked-process.js';
import { writeSection } from './support/page.js';
import { startRedis } from './support/redis-server.js';
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

/** Two servers of one kind, their clients, and a Redis of their own: equal names of rooms are equal channels. */
class Contender {
  /** @type {{ cost: number, delay: number }[]} */
  rounds = [];
  memory = { rss: 0, heap: 0 };

  /**
   * @param {Server} server
   * @param {string} kind
   */
  constructor(server, kind) {
    this.server = server;
    this.kind = kind;
    this.nodes = [0, 1].map(() => new ForkedProcess('./fan-out-node.js', [kind, String(server.port)]));
    this.load = new ForkedProcess('./fan-out-load.js', []);
    this.broadcast = createBroadcast(this.load, this.nodes);
  }

  /** @param {number} connections */
  async join(connections) {
    const { kind, nodes, load } = this;
    const ports = (await Promise.all(nodes.map((node) => node.next()))).map(({ port }) => port);
    const before = await this.readUsage();
    await load.request({ do: 'join', kind, ports, count: connections });
    const after = await this.readUsage();
    /** @param {'rss' | 'heap'} what */
    const grown = (what) =>
      nodes.reduce((sum, _, at) => sum + after[at][what] - before[at][what], 0) / connections;
    this.memory = { rss: grown('rss'), heap: grown('heap') };
    await this.broadcast(1, connections);
  }

  readUsage() {
    return Promise.all(this.nodes.map((node) => node.request({ do: 'measure' })));
  }

  /** @param {number} each connections that read */
  async round(each) {
    const [begin, began] = [await this.readUsage(), performance.now()];
    await this.broadcast(MESSAGES, each);
    const delay = (performance.now() - began) / MESSAGES;
    const end = await this.readUsage();
    const cpu = this.nodes.reduce((sum, _, at) => sum + end[at].cpu - begin[at].cpu, 0);
    this.rounds.push({ cost: cpu / (MESSAGES * each), delay });
  }

  takeRounds() {
    const { rounds } = this;
    this.rounds = [];
    return {
      cost: statisticsOf(rounds.map(({ cost }) => cost)),
      delay: median(rounds.map(({ delay }) => delay)),
    };
  }

  async stop() {
    await Promise.all([this.load, ...this.nodes].map((each) => each.stop()));
    await this.server.stop();
  }
}

/**
 * All kinds, round by round in alternation.
 *
 * @param {number} connections
 * @param {(text: string) => void} progress
 */
async function measureAll(connections, progress) {
  /** @type {Contender[]} */
  const contenders = [];
  try {
    for (const { kind } of KINDS) {
      const contender = new Contender(await startRedis(), kind);
      contenders.push(contender);
      progress(`${contender.kind}: ${connections} connections`);
      await contender.join(connections);
    }
    const rounds = async (/** @type {number} */ each) => {
      for (let round = 0; round < ROUNDS; round++) {
        for (const contender of round % 2 === 0 ? contenders : [...contenders].reverse()) {
          await contender.round(each);
        }
      }
      return contenders.map((contender) => contender.takeRounds());
    };
    progress(`${ROUNDS} × ${MESSAGES} messages to each`);
    const fast = await rounds(connections);
    const stalled = Math.ceil(connections * STALLED);
    progress(`the same, while ${stalled} do not read`);
    for (const { load } of contenders) await load.request({ do: 'stall', count: stalled });
    const slow = await rounds(connections - stalled);
    return contenders.map(({ kind, memory }, at) => ({
      kind,
      .../** @type {(typeof fast)[0]} */ (fast[at]),
      slow: /** @type {(typeof slow)[0]} */ (slow[at]),
      ...memory,
    }));
  } finally {
    await Promise.all(contenders.map((contender) => contender.stop()));
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
 * @param {string} kind
 * @param {(text: string) => void} progress
 */
async function measureSlow(kind, progress) {
  const contender = new Contender(await startRedis(), kind);
  const { load, broadcast } = contender;
  try {
    const { connections, stalled, size, messages } = SLOW;
    progress(`${kind}: ${stalled} of ${connections} stop reading`);
    await contender.join(connections);
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
    const begin = await contender.readUsage();
    await load.request({ do: 'stall', count: stalled });
    // Messages in flight to the stalled connections may still be counted.
    const during = await delay(connections - stalled);
    const end = await contender.readUsage();
    const sum = (/** @type {(report: any) => number} */ of) =>
      end.reduce((all, report) => all + of(report), 0);
    const extraMemory = sum(({ rss }) => rss) - begin.reduce((all, { rss }) => all + rss, 0);
    return { kind, before, during, extraMemory, closed: sum(({ stats }) => stats.closedSlow ?? 0) };
  } finally {
    await contender.stop();
  }
}

/**
 * @param {{ connections: number }} how
 * @param {(text: string) => void} progress
 */
export async function runFanOut({ connections }, progress) {
  const results = await measureAll(connections, progress);
  const slow = [];
  for (const kind of ['plain', 'history', 'socket.io']) slow.push(await measureSlow(kind, progress));
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
