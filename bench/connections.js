// @ts-check
// What connections cost a server: connecting and joining, coming back, messages to many of them, event streams.
import { setTimeout as sleep } from 'node:timers/promises';
import { ForkedProcess } from './support/forked-process.js';
import { writeSection } from './support/page.js';
import { redisCpu, startRedis } from './support/redis-server.js';
import { aligned, digits, ranged, table } from './support/report.js';
import { statisticsOf } from './support/statistics.js';

/** @typedef {import('./support/redis-server.js').Server} Server */

const NAMES = {
  rollcall: '**rollcall/ws** with presence and history',
  plain: '**rollcall/ws**, neither of them',
  'socket.io': 'Socket.IO with its Redis adapter',
  bare: '`ws` and a Redis client, by hand',
  sse: '**rollcall/sse**',
  'bare-sse': '`node:http` and a Redis client, by hand',
  client: '**rollcall/client**',
  'bare-client': 'a WebSocket and `JSON.parse`',
};

/** Kinds of clients, which all connect to the same kind of server. @type {string[]} */
const CLIENTS = ['client', 'bare-client'];

/** @typedef {keyof typeof NAMES} Kind */

/**
 * @typedef {object} Scenario
 * @property {string} title
 * @property {string} unit
 * @property {'connect' | 'reconnect' | 'come-back' | 'message'} what
 * @property {Kind[]} kinds the first one is compared with the others
 * @property {number} connections
 * @property {number} rooms that each connection joins
 * @property {number} spread rooms there are
 * @property {number} [times] messages in one tick
 * @property {number} [size] of a message, in bytes
 * @property {boolean} [deflate]
 * @property {{ side: 'server' | 'redis', against: Kind, atMost: number }[]} targets
 */

/** @type {Kind[]} */
const SOCKET_SERVERS = ['rollcall', 'plain', 'socket.io', 'bare'];

/**
 * Rounds before the measured ones. V8 compiles what a connection runs over its first thousands, and until then a
 * connection costs three times as much; see the table of first rounds.
 */
const WARM_UP = { connect: 10, reconnect: 5, 'come-back': 5, message: 1 };

/** Repetitions of a message in a round, so that a round takes long enough to be measured. */
const REPEATS = 20;

/** @type {Scenario[]} */
const scenarios = [
  ...[1, 20].map(
    (rooms) =>
      /** @type {Scenario} */ ({
        title: `connect and join ${rooms === 1 ? '1 room' : `${rooms} rooms`}`,
        unit: 'connection',
        what: 'connect',
        kinds: SOCKET_SERVERS,
        connections: 500,
        rooms,
        spread: 100,
        targets: [
          { side: 'server', against: 'socket.io', atMost: rooms === 1 ? 0.75 : 0.8 },
          { side: 'redis', against: 'socket.io', atMost: 5 },
        ],
      }),
  ),
  {
    title: '1,000 connections come back, each to a room with a missed message',
    unit: 'connection',
    what: 'reconnect',
    kinds: ['rollcall', 'socket.io'],
    connections: 1_000,
    rooms: 1,
    spread: 100,
    targets: [
      { side: 'server', against: 'socket.io', atMost: 1 },
      { side: 'redis', against: 'socket.io', atMost: 4 },
    ],
  },
  ...[1, 5, 20].map(
    (times) =>
      /** @type {Scenario} */ ({
        title: times === 1 ? 'a message of 150 B to 400 connections' : `… ${times} messages in one tick`,
        unit: 'delivered message',
        what: 'message',
        kinds: SOCKET_SERVERS,
        connections: 400,
        rooms: 1,
        spread: 1,
        times,
        size: 150,
        targets:
          times === 1
            ? [{ side: 'server', against: 'bare', atMost: 0.9 }]
            : [{ side: 'server', against: 'socket.io', atMost: times === 5 ? 0.3 : 0.2 }],
      }),
  ),
  {
    title: '… of 2 KB with permessage-deflate',
    unit: 'delivered message',
    what: 'message',
    kinds: SOCKET_SERVERS,
    connections: 400,
    rooms: 1,
    spread: 1,
    size: 2_048,
    deflate: true,
    targets: [{ side: 'server', against: 'socket.io', atMost: 0.22 }],
  },
  {
    title: 'a message of 150 B to each of 100 rooms of 4 connections',
    unit: 'delivered message',
    what: 'message',
    kinds: SOCKET_SERVERS,
    connections: 400,
    rooms: 1,
    spread: 100,
    size: 150,
    targets: [{ side: 'server', against: 'socket.io', atMost: 1 }],
  },
  {
    title: 'a client receives a message of 150 B',
    unit: 'received message',
    what: 'message',
    kinds: ['client', 'bare-client'],
    // As in a browser, few clients that receive much.
    connections: 4,
    rooms: 1,
    spread: 1,
    times: 100,
    size: 150,
    targets: [{ side: 'server', against: 'bare-client', atMost: 1.5 }],
  },
  {
    title: 'a client reconnects and joins its room again',
    unit: 'reconnect',
    what: 'come-back',
    kinds: ['client', 'bare-client'],
    connections: 500,
    rooms: 1,
    spread: 100,
    targets: [{ side: 'server', against: 'bare-client', atMost: 1.5 }],
  },
  {
    title: 'open an event stream',
    unit: 'stream',
    what: 'connect',
    kinds: ['sse', 'bare-sse'],
    connections: 500,
    rooms: 1,
    spread: 1,
    targets: [{ side: 'server', against: 'bare-sse', atMost: 2 }],
  },
  {
    title: 'an event of 150 B to 300 event streams',
    unit: 'delivered event',
    what: 'message',
    kinds: ['sse', 'bare-sse'],
    connections: 300,
    rooms: 1,
    spread: 1,
    size: 150,
    targets: [{ side: 'server', against: 'bare-sse', atMost: 0.9 }],
  },
];

/** A server of one kind, its clients, and a Redis of its own: equal names of rooms are equal channels. */
class Contender {
  /** @type {{ server: number, redis: number }[]} */
  rounds = [];

  /**
   * @param {Scenario} scenario
   * @param {Kind} kind
   * @param {Server} redis
   */
  constructor(scenario, kind, redis) {
    this.scenario = scenario;
    this.kind = kind;
    this.redis = redis;
    const compressed = scenario.deflate ? ['deflate'] : [];
    const isClient = CLIENTS.includes(kind);
    const serverKind = isClient ? 'rollcall' : kind;
    this.server = new ForkedProcess('./connections-server.js', [
      serverKind,
      String(redis.port),
      ...compressed,
    ]);
    this.load = new ForkedProcess(isClient ? './client-load.js' : './connections-load.js', []);
    this.measured = isClient ? this.load : this.server;
    this.port = 0;
  }

  /**
   * @param {Scenario} scenario
   * @param {Kind} kind
   */
  static async start(scenario, kind) {
    const contender = new Contender(scenario, kind, await startRedis());
    contender.port = (await contender.server.next()).port;
    return contender;
  }

  /** @param {number} [events] that arrive while they join @param {number} [count] */
  async join(events = 0, count = this.scenario.connections) {
    const { kind, port } = this;
    const { rooms, spread, deflate = false } = this.scenario;
    await this.load.request({ do: 'join', kind, port, count, rooms, spread, deflate, events });
  }

  async leave() {
    await this.load.request({ do: 'leave' });
    while ((await this.server.request({ do: 'measure' })).open > 0) await sleep(20);
  }

  /**
   * One or more messages in one tick to all connections; resolves when they have arrived.
   *
   * @param {number} count expected
   */
  async broadcast(count) {
    await this.load.request({ do: 'expect', count });
    const arrived = this.load.next();
    const { spread, times = 1, size = 150 } = this.scenario;
    await this.server.request({ do: 'broadcast', rooms: spread, size, times: Math.max(times, spread) });
    await arrived;
  }

  /**
   * @param {() => Promise<void>} work
   * @param {number} operations
   */
  async measure(work, operations) {
    const before = await this.cpu();
    await work();
    const after = await this.cpu();
    this.rounds.push({
      server: (after.server - before.server) / operations,
      redis: (after.redis - before.redis) / operations,
    });
  }

  /** So far. */
  async cpu() {
    const { cpu } = await this.measured.request({ do: 'measure' });
    return { server: cpu, redis: await redisCpu(this.redis.control) };
  }

  async round() {
    const { what, connections, times = 1 } = this.scenario;
    if (what === 'come-back') {
      return this.measure(() => this.load.request({ do: 'come-back' }), connections);
    }
    if (what === 'message') {
      const each = connections * times;
      const work = async () => {
        for (let n = 0; n < REPEATS; n++) await this.broadcast(each);
      };
      return this.measure(work, each * REPEATS);
    }
    if (what === 'reconnect') {
      await this.join();
      await this.leave();
      // Nobody is there: only those who ask for what they missed receive it.
      const { spread, size = 150 } = this.scenario;
      await this.server.request({ do: 'broadcast', rooms: spread, size, times: spread });
    }
    const missed = what === 'reconnect' && this.kind === 'rollcall' ? connections : 0;
    await this.measure(() => this.join(missed), connections);
    await this.leave();
  }

  async stop() {
    await Promise.all([this.server.stop(), this.load.stop()]);
    await this.redis.stop();
  }
}

/**
 * @param {Scenario} scenario
 * @param {number} rounds
 */
async function run(scenario, rounds) {
  /** @type {Contender[]} */
  const contenders = [];
  try {
    for (const kind of scenario.kinds) {
      const contender = await Contender.start(scenario, kind);
      contenders.push(contender);
      if (scenario.what === 'message' || scenario.what === 'come-back') await contender.join();
    }
    const warmUp = WARM_UP[scenario.what];
    for (let round = 0; round < warmUp + rounds; round++) {
      for (const contender of round % 2 === 0 ? contenders : [...contenders].reverse())
        await contender.round();
    }
    return { title: scenario.title, results: summarize(contenders, warmUp) };
  } finally {
    await Promise.all(contenders.map((contender) => contender.stop()));
  }
}

/**
 * @param {Contender[]} contenders
 * @param {number} warmUp rounds that are not counted
 */
function summarize(contenders, warmUp) {
  const own = contenders[0]?.rounds.slice(warmUp) ?? [];
  const results = contenders.map(({ kind, rounds: all }) => {
    // Before V8 has compiled the code.
    const first = all[0]?.server ?? Number.NaN;
    const rounds = all.slice(warmUp);
    /** @param {'server' | 'redis'} side */
    const of = (side) => ({
      cost: statisticsOf(rounds.map((round) => round[side])),
      // Round by round: a slow phase of the machine slows neighbouring rounds by the same factor.
      ratio: statisticsOf(rounds.map((round, at) => (own[at]?.[side] ?? Number.NaN) / round[side])),
    });
    return { kind, first, server: of('server'), redis: of('redis') };
  });
  return results;
}

/**
 * Connections whose memory is measured, and the rooms that each of them joins in a second run. RSS grows from a process
 * that has had a few connections: memory that V8 has reserved once is used again. Heap grows from one that has had as
 * many as are measured: compiled code and the first buffers belong to no connection.
 */
const MEMORY = { few: 200, connections: 2_000, rooms: 11 };

/**
 * The memory of a server per connection in a room, and per further membership, in bytes.
 *
 * @param {Kind} kind
 */
async function measureMemory(kind) {
  const grownBy = async (/** @type {number} */ rooms) => {
    const connections = MEMORY.connections;
    const scenario = { title: '', unit: '', what: 'connect', kinds: [kind], spread: rooms, targets: [] };
    const measured = /** @type {Scenario} */ ({ ...scenario, connections, rooms });
    const contender = await Contender.start(measured, kind);
    const memoryAfter = async (/** @type {number} */ count) => {
      await contender.join(0, count);
      await contender.leave();
      return contender.server.request({ do: 'memory' });
    };
    try {
      const { rss } = await memoryAfter(MEMORY.few);
      const { heap } = await memoryAfter(connections);
      await contender.join();
      const after = await contender.server.request({ do: 'memory' });
      return { rss: (after.rss - rss) / connections, heap: (after.heap - heap) / connections };
    } finally {
      await contender.stop();
    }
  };
  const one = await grownBy(1);
  const many = await grownBy(MEMORY.rooms);
  return { kind, ...one, membership: (many.heap - one.heap) / (MEMORY.rooms - 1) };
}

/** @type {{ what: string, of: 'heap' | 'rss' | 'membership', atMost: number }[]} */
const memoryTargets = [
  { what: 'heap per connection in a room', of: 'heap', atMost: 7_168 },
  { what: 'RSS per connection in a room', of: 'rss', atMost: 22_528 },
  { what: 'heap per further membership', of: 'membership', atMost: 358 },
];

const OF_FIRST_ROUNDS =
  'The first round, of a process that has just started, one measurement each. V8 has not compiled the code yet:';

const kilobytes = (/** @type {number} */ bytes) => `${(bytes / 1_024).toFixed(bytes < 1_024 ? 2 : 1)} KB`;

/**
 * @param {{ rounds: number }} how
 * @param {(text: string) => void} progress
 */
export async function runConnections({ rounds }, progress) {
  const outcomes = [];
  for (const scenario of scenarios) {
    progress(scenario.title);
    outcomes.push(await run(scenario, rounds));
  }
  const memory = [];
  for (const kind of SOCKET_SERVERS) {
    progress(`memory, ${kind}`);
    memory.push(await measureMemory(kind));
  }
  return { rounds, outcomes, memory };
}

/**
 * @param {Awaited<ReturnType<typeof runConnections>>} outcome
 * @param {string} about
 * @param {boolean} docs
 */
export function writeConnections({ rounds, outcomes, memory }, about, docs) {
  const targets = table(
    ['what', 'target', 'measured', ''],
    [
      ...outcomes.flatMap(({ results }, at) =>
        (scenarios[at]?.targets ?? []).map(({ side, against, atMost }) => {
          const ratio = results.find(({ kind }) => kind === against)?.[side].ratio;
          if (ratio === undefined) throw new Error(`no contender ${against}`);
          return [
            `${titleOf(at)}: ${side === 'redis' ? 'Redis' : 'process'}`,
            `≤ ${atMost} × ${NAMES[against]}`,
            `${ranged(ratio)} ×`,
            Math.round(ratio.median * 100) <= atMost * 100 ? 'met' : '**missed**',
          ];
        }),
      ),
      ...memoryTargets.map(({ what, of, atMost }) => {
        const bytes = memory[0]?.[of] ?? Number.NaN;
        return [
          `${what}, ${NAMES.rollcall}`,
          `≤ ${kilobytes(atMost)}`,
          kilobytes(bytes),
          bytes <= atMost ? 'met' : '**missed**',
        ];
      }),
    ],
  );
  const memoryTable = table(
    ['server', ...memoryTargets.map(({ what }) => what)],
    memory.map(({ kind, ...bytes }) => [NAMES[kind], ...memoryTargets.map(({ of }) => kilobytes(bytes[of]))]),
    ['---', '--:', '--:', '--:'],
  );
  const ofMemory = `Memory of the server, after garbage collection, with ${MEMORY.connections.toLocaleString('en')} connections. Heap includes memory of Node outside of it:`;
  const costs = table(
    ['what', 'server', 'process, µs', 'the first row needs', 'Redis, µs', 'the first row needs'],
    outcomes.flatMap(({ results }, at) =>
      results.map(({ kind, server, redis }, place) => [
        place === 0 ? `${titleOf(at)}, per ${scenarios[at]?.unit}` : '',
        NAMES[kind],
        ranged(server.cost),
        place === 0 ? '' : `${ranged(server.ratio)} ×`,
        digits(redis.cost.median),
        place === 0 ? '' : `${digits(redis.ratio.median)} ×`,
      ]),
    ),
    ['---', '---', '--:', '--:', '--:', '--:'],
  );
  const opened = outcomes.filter((_, at) => scenarios[at]?.what !== 'message');
  const firstRounds = table(
    ['what', 'server', 'process, µs', 'the first row needs'],
    opened.flatMap(({ title, results }) =>
      results.map(({ kind, first }, place) => [
        place === 0 ? title : '',
        NAMES[kind],
        digits(first),
        place === 0 ? '' : `${digits((results[0]?.first ?? Number.NaN) / first)} ×`,
      ]),
    ),
    ['---', '---', '--:', '--:'],
  );
  console.log([targets, costs, firstRounds, memoryTable].map((rows) => `${aligned(rows)}\n`).join('\n'));
  if (docs) {
    const tables = [targets, costs, OF_FIRST_ROUNDS, firstRounds, ofMemory, memoryTable];
    const text = [`${about} ${rounds} rounds.`, ...tables].join('\n\n');
    writeSection('connections', text);
  }
}

/** @param {number} at */
function titleOf(at) {
  const title = scenarios[at]?.title ?? '';
  // Each row stands for itself in the table of targets.
  return title.startsWith('… ') ? `a message to 400 connections, ${title.slice(2)}` : title;
}
