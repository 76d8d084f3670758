// @ts-check
import { Contender } from './contender-process.js';
import { flood, PER_BLOCK, record } from './flood.js';
import { CHANGES } from './recipe.js';
import { commandsRun, redisCpu } from './redis-server.js';
import { spread } from './spread.js';

/** @typedef {import('../workloads.js').Workload} Workload */
/** @typedef {import('./clients.js').Library} Library */
/** @typedef {import('./redis-server.js').Server} Server */
/** @typedef {import('./spread.js').Spread} Spread */

/**
 * What one contender needed, in µs of CPU per operation, and rollcall's share of it.
 *
 * @typedef {object} Standing
 * @property {string} contender
 * @property {{ client: Spread, redis: Spread }} cost
 * @property {{ client: Spread, redis: Spread }} ratio rollcall's cost divided by its own
 */

const EVENTS = '{rollcall:0}:events';

/**
 * Counts what contenders publish.
 *
 * @param {Server} server
 */
async function watcher(server) {
  const connection = server.control.duplicate();
  let seen = 0;
  connection.on('message', (channel, payload) => {
    seen += channel === EVENTS ? JSON.parse(payload).length : 1;
  });
  await connection.subscribe('bench', 'socket.io#/#bench#', EVENTS, CHANGES);
  return {
    /** How many since the last call, all that was published so far counted. */
    async take() {
      await connection.ping();
      const count = seen;
      seen = 0;
      return count;
    },
    stop: () => connection.disconnect(),
  };
}

/**
 * Measures all contenders of a workload, in turns.
 *
 * @param {Server} server
 * @param {Workload} workload
 * @param {Library} library
 * @param {{ rounds: number, warmUps: number, count: number }} extent
 * @returns {Promise<Standing[]>}
 */
export async function compare(server, workload, library, { rounds, warmUps, count }) {
  await server.control.flushall();
  const contenders = ['rollcall', ...workload.rivals(library)].map((name) => new Contender(name));
  const watching = workload.watch ? await watcher(server) : undefined;
  try {
    /** @type {Map<Contender, Buffer[]>} */
    const floods = new Map();
    for (const contender of contenders) {
      const own = workload.apart ? { channel: `${workload.setting['channel']}-${contender.name}` } : {};
      const setting = { ...workload.setting, ...own, library, port: server.port };
      await contender.start(workload.subject, setting);
      if (workload.flooded) {
        const sample = () => contender.call('sample');
        floods.set(contender, await record(server.control, own.channel ?? '', sample));
      }
    }
    for (let round = -warmUps; round < rounds; round++) {
      // Whoever comes first in one round comes last in the next.
      const order = round % 2 === 0 ? contenders : [...contenders].reverse();
      for (const contender of order) {
        const blocks = floods.get(contender);
        const armed = blocks && (() => flood(server.port, blocks, PER_BLOCK, count));
        const figures = await runOnce(server, workload, contender, count, armed, watching);
        if (round >= 0) contender.rounds.push(figures);
      }
    }
    return standings(contenders);
  } finally {
    watching?.stop();
    await Promise.all(contenders.map((contender) => contender.stop()));
  }
}

/**
 * @param {Server} server
 * @param {Workload} workload
 * @param {Contender} contender
 * @param {number} count
 * @param {() => Promise<void>} [armed]
 * @param {Awaited<ReturnType<typeof watcher>>} [watching]
 */
async function runOnce(server, workload, contender, count, armed, watching) {
  await contender.call('reset');
  await watching?.take();
  const { cpu, facts, redis, commands } = await measured(server, contender, count, armed);
  const foreign = (workload.notInRound ?? []).filter((command) => commands.has(command));
  if (foreign.length > 0) {
    throw new Error(`${workload.name}: a round of ${contender.name} includes ${foreign.join(', ')}`);
  }
  Object.assign(facts, await contender.call('after'));
  if (watching !== undefined) facts['seen'] = await watching.take();
  for (const [fact, value] of Object.entries(workload.expected(count, contender.name))) {
    if (facts[fact] === value) continue;
    throw new Error(`${workload.name}: ${contender.name} has ${fact} ${facts[fact]} instead of ${value}`);
  }
  return { client: cpu / count, redis: redis / count };
}

/**
 * One round, with what Redis did between its start and its end: nothing else may run in this window, or it would be counted as
 * the contender's cost.
 *
 * @param {Server} server
 * @param {Contender} contender
 * @param {number} count
 * @param {() => Promise<void>} [armed]
 */
async function measured(server, contender, count, armed) {
  const commandsBefore = await commandsRun(server.control);
  const cpuBefore = await redisCpu(server.control);
  const { cpu, facts } = await contender.round(count, armed);
  const redis = (await redisCpu(server.control)) - cpuBefore;
  const commands = new Set();
  for (const [name, calls] of await commandsRun(server.control)) {
    if (calls > (commandsBefore.get(name) ?? 0)) commands.add(name);
  }
  return { cpu, facts, redis, commands };
}

/** @param {Contender[]} contenders */
function standings(contenders) {
  const own = contenders[0]?.rounds ?? [];
  return contenders.map(({ name, rounds }) => {
    /** @param {'client' | 'redis'} side */
    const cost = (side) => spread(rounds.map((round) => round[side]));
    /** @param {'client' | 'redis'} side */
    const ratio = (side) =>
      // Round by round: what slows the machine down slows neighbours down alike.
      spread(rounds.map((round, at) => (own[at]?.[side] ?? Number.NaN) / round[side]));
    return {
      contender: name,
      cost: { client: cost('client'), redis: cost('redis') },
      ratio: { client: ratio('client'), redis: ratio('redis') },
    };
  });
}
