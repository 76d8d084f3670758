// @ts-check
// What connections cost a server: connecting and joining, coming back, messages to many of them, event streams.
import { setTimeout as sleep } from 'node:timers/promises';
import { ForkedProcess } from './support/forked-process.js';
import { writeSection } from './support/page.js';
import { redisCpu } from './support/redis-server.js';
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
};

/** @typedef {keyof typeof NAMES} Kind */

/**
 * @typedef {object} Scenario
 * @property {string} title
 * @property {string} unit
 * @property {'connect' | 'reconnect' | 'message'} what
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
    targets: [{ side: 'server', against: 'socket.io', atMost: 0.6 }],
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

/** A server of one kind, and its clients. */
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
    this.server = new ForkedProcess('./connections-server.js', [kind, String(redis.port), ...compressed]);
    this.load = new ForkedProcess('./connections-load.js', []);
  }

  async start() {
    this.port = (await this.server.next()).port;
  }

  /** @param {number} [events] that arrive while they join */
  async join(events = 0) {
    const { kind, port } = this;
    const { connections: count, rooms, spread, deflate = false } = this.scenario;
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
    const { cpu } = await this.server.request({ do: 'measure' });
    return { server: cpu, redis: await redisCpu(this.redis.control) };
  }

  async round() {
    const { what, connections, times = 1 } = this.scenario;
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
  }
}

/**
 * @param {Server} server
 * @param {Scenario} scenario
 * @param {number} rounds
 */
async function run(server, scenario, rounds) {
  await server.control.flushall();
  const contenders = scenario.kinds.map((kind) => new Contender(scenario, kind, server));
  try {
    for (const contender of contenders) {
      await contender.start();
      if (scenario.what === 'message') await contender.join();
    }
    for (let round = -1; round < rounds; round++) {
      for (const contender of round % 2 === 0 ? contenders : [...contenders].reverse()) {
        await contender.round();
        // Warms up.
        if (round < 0) contender.rounds = [];
      }
    }
    return { title: scenario.title, results: summarize(contenders) };
  } finally {
    await Promise.all(contenders.map((contender) => contender.stop()));
  }
}

/** @param {Contender[]} contenders */
function summarize(contenders) {
  const own = contenders[0]?.rounds ?? [];
  const results = contenders.map(({ kind, rounds }) => {
    /** @param {'server' | 'redis'} side */
    const of = (side) => ({
      cost: statisticsOf(rounds.map((round) => round[side])),
      // Round by round: a slow phase of the machine slows neighbouring rounds by the same factor.
      ratio: statisticsOf(rounds.map((round, at) => (own[at]?.[side] ?? Number.NaN) / round[side])),
    });
    return { kind, server: of('server'), redis: of('redis') };
  });
  return results;
}

/**
 * @param {Server} server
 * @param {{ rounds: number }} how
 * @param {(text: string) => void} progress
 */
export async function runConnections(server, { rounds }, progress) {
  const outcomes = [];
  for (const scenario of scenarios) {
    progress(scenario.title);
    outcomes.push(await run(server, scenario, rounds));
  }
  return { rounds, outcomes };
}

/**
 * @param {Awaited<ReturnType<typeof runConnections>>} outcome
 * @param {string} about
 * @param {boolean} docs
 */
export function writeConnections({ rounds, outcomes }, about, docs) {
  const targets = table(
    ['what', 'target', 'measured', ''],
    outcomes.flatMap(({ results }, at) =>
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
  );
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
  console.log(`${aligned(targets)}\n\n${aligned(costs)}\n`);
  if (docs) writeSection('connections', `${about} ${rounds} rounds.\n\n${targets}\n\n${costs}`);
}

/** @param {number} at */
function titleOf(at) {
  const title = scenarios[at]?.title ?? '';
  // Each row stands for itself in the table of targets.
  return title.startsWith('… ') ? `a message to 400 connections, ${title.slice(2)}` : title;
}
