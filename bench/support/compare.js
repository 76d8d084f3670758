// @ts-check
import { Competitor } from './competitor-process.js';
import { CHANGES } from './handwritten-presence.js';
import { PER_BLOCK, publishAtFullSpeed, recordBlocks } from './publish-load.js';
import { commandsRun, redisCpu } from './redis-server.js';
import { statisticsOf } from './statistics.js';

/** @typedef {import('../workloads.js').Workload} Workload */
/** @typedef {import('./clients.js').Library} Library */
/** @typedef {import('./redis-server.js').Server} Server */
/** @typedef {import('./statistics.js').Statistics} Statistics */

/**
 * The cost of one competitor, in µs of CPU per operation, and rollcall's cost relative to it.
 *
 * @typedef {object} CompetitorResult
 * @property {string} competitor
 * @property {{ client: Statistics, redis: Statistics }} cost
 * @property {{ client: Statistics, redis: Statistics }} ratio rollcall's cost divided by the competitor's cost
 */

const EVENTS = '{rollcall:0}:events';

/**
 * Counts the messages that competitors publish.
 *
 * @param {Server} server
 */
async function countPublished(server) {
  const connection = server.control.duplicate();
  let seen = 0;
  connection.on('message', (channel, payload) => {
    seen += channel === EVENTS ? JSON.parse(payload).length : 1;
  });
  await connection.subscribe('bench', 'socket.io#/#bench#', EVENTS, CHANGES);
  return {
    /** The number of messages since the last call, including everything published so far. */
    async takeCount() {
      await connection.ping();
      const count = seen;
      seen = 0;
      return count;
    },
    stop: () => connection.disconnect(),
  };
}

/**
 * Measures all competitors of a workload, round by round in alternation.
 *
 * @param {Server} server
 * @param {Workload} workload
 * @param {Library} library
 * @param {{ rounds: number, warmUps: number, count: number }} extent
 * @returns {Promise<CompetitorResult[]>}
 */
export async function compare(server, workload, library, { rounds, warmUps, count }) {
  await server.control.flushall();
  const competitors = ['rollcall', ...workload.competitors(library)].map((name) => new Competitor(name));
  const watching = workload.watch ? await countPublished(server) : undefined;
  try {
    /** @type {Map<Competitor, Buffer[]>} */
    const loads = new Map();
    for (const competitor of competitors) {
      const own = workload.ownChannels
        ? { channel: `${workload.setting['channel']}-${competitor.name}` }
        : {};
      const setting = { ...workload.setting, ...own, library, port: server.port };
      await competitor.start(workload.comparison, setting);
      if (workload.publishLoad) {
        const sample = () => competitor.call('sample');
        loads.set(competitor, await recordBlocks(server.control, own.channel ?? '', sample));
      }
    }
    for (let round = -warmUps; round < rounds; round++) {
      // The order alternates: the first of one round is the last of the next.
      const order = round % 2 === 0 ? competitors : [...competitors].reverse();
      for (const competitor of order) {
        const blocks = loads.get(competitor);
        const onReady = blocks && (() => publishAtFullSpeed(server.port, blocks, PER_BLOCK, count));
        const figures = await runOnce(server, workload, competitor, count, onReady, watching);
        if (round >= 0) competitor.rounds.push(figures);
      }
    }
    return resultsOf(competitors);
  } finally {
    watching?.stop();
    await Promise.all(competitors.map((competitor) => competitor.stop()));
  }
}

/**
 * @param {Server} server
 * @param {Workload} workload
 * @param {Competitor} competitor
 * @param {number} count
 * @param {() => Promise<void>} [onReady]
 * @param {Awaited<ReturnType<typeof countPublished>>} [watching]
 */
async function runOnce(server, workload, competitor, count, onReady, watching) {
  await competitor.call('reset');
  await watching?.takeCount();
  const { cpu, facts, redis, commands } = await measured(server, competitor, count, onReady);
  const foreign = (workload.notInRound ?? []).filter((command) => commands.has(command));
  if (foreign.length > 0) {
    throw new Error(`${workload.name}: a round of ${competitor.name} includes ${foreign.join(', ')}`);
  }
  Object.assign(facts, await competitor.call('after'));
  if (watching !== undefined) facts['seen'] = await watching.takeCount();
  for (const [fact, value] of Object.entries(workload.expected(count, competitor.name))) {
    if (facts[fact] === value) continue;
    throw new Error(`${workload.name}: ${competitor.name} has ${fact} ${facts[fact]} instead of ${value}`);
  }
  return { client: cpu / count, redis: redis / count };
}

/**
 * One round, and what Redis did between its start and its end. Nothing else may run in this window: it would be counted as
 * the cost of the competitor.
 *
 * @param {Server} server
 * @param {Competitor} competitor
 * @param {number} count
 * @param {() => Promise<void>} [onReady]
 */
async function measured(server, competitor, count, onReady) {
  const commandsBefore = await commandsRun(server.control);
  const cpuBefore = await redisCpu(server.control);
  const { cpu, facts } = await competitor.round(count, onReady);
  const redis = (await redisCpu(server.control)) - cpuBefore;
  const commands = new Set();
  for (const [name, calls] of await commandsRun(server.control)) {
    if (calls > (commandsBefore.get(name) ?? 0)) commands.add(name);
  }
  return { cpu, facts, redis, commands };
}

/** @param {Competitor[]} competitors */
function resultsOf(competitors) {
  const own = competitors[0]?.rounds ?? [];
  return competitors.map(({ name, rounds }) => {
    /** @param {'client' | 'redis'} side */
    const cost = (side) => statisticsOf(rounds.map((round) => round[side]));
    /** @param {'client' | 'redis'} side */
    const ratio = (side) =>
      // Round by round: a slow phase of the machine slows neighbouring rounds by the same factor.
      statisticsOf(rounds.map((round, at) => (own[at]?.[side] ?? Number.NaN) / round[side]));
    return {
      competitor: name,
      cost: { client: cost('client'), redis: cost('redis') },
      ratio: { client: ratio('client'), redis: ratio('redis') },
    };
  });
}
