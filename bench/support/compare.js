// @ts-check
import { startBusyNeighbours } from './busy-neighbours.js';
import { Competitor } from './competitor-process.js';
import { CHANGES } from './handwritten-presence.js';
import { continueChains, PER_BLOCK, publishAtFullSpeed, recordMessages, toBlocks } from './publish-load.js';
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
 * What happens during the rounds of a competitor, besides what its own process does.
 *
 * @typedef {object} Load
 * @property {(count: number) => () => Promise<unknown>} prepare what is to start when the competitor is ready
 * @property {() => Promise<unknown>} [stop]
 */

/**
 * Messages published by this process, which must not be slower than the competitor that receives them.
 *
 * @param {Server} server
 * @param {Competitor} competitor
 * @param {string} channel
 * @returns {Promise<Load>}
 */
async function publishedMessages({ control, port }, competitor, channel) {
  const recorded = await recordMessages(control, channel, () => competitor.call('sample'));
  const chained = recorded[0]?.payload.toString('latin1', 0, 4) === 'rc1:';
  const next = chained ? continueChains(recorded) : () => recorded;
  const fixed = chained ? undefined : toBlocks(recorded);
  const prepare = (/** @type {number} */ count) => {
    const blocks = fixed ?? toBlocks(next(count));
    return () => publishAtFullSpeed(port, blocks, PER_BLOCK, count);
  };
  return { prepare };
}

/**
 * Changes of presence made by a process of the same competitor.
 *
 * @param {Competitor} competitor
 * @param {object} setting
 * @returns {Promise<Load>}
 */
async function presenceChanges({ name }, setting) {
  const writer = new Competitor(name);
  await writer.start('presence', { ...setting, what: 'change' });
  return { prepare: (count) => () => writer.round(count), stop: () => writer.stop() };
}

/**
 * Measures all competitors of a workload, round by round in alternation.
 *
 * @param {Server} server
 * @param {Workload} workload
 * @param {Library} library
 * @param {{ rounds: number, warmUps: number, count: number }} extent
 * @param {(text: string) => void} onUnneeded called when Redis has run commands in a measured round that the round does not need
 * @returns {Promise<CompetitorResult[]>}
 */
export async function compare(server, workload, library, { rounds, warmUps, count }, onUnneeded) {
  await server.control.flushall();
  const names = ['rollcall', ...workload.competitors(library)];
  if (workload.subtract !== undefined) names.push(workload.subtract);
  const competitors = names.map((name) => new Competitor(name));
  const watching = workload.watch ? await countPublished(server) : undefined;
  /** @type {Map<Competitor, Load>} */
  const loads = new Map();
  const neighbours = workload.contended ? startBusyNeighbours() : undefined;
  try {
    for (const competitor of competitors) {
      const own = workload.ownChannels
        ? { channel: `${workload.setting['channel']}-${competitor.name}` }
        : {};
      const setting = { ...workload.setting, ...own, library, port: server.port };
      // Before the competitor, which watches users who exist.
      if (workload.load === 'presence') loads.set(competitor, await presenceChanges(competitor, setting));
      await competitor.start(workload.comparison, setting);
      if (workload.load === 'publish')
        loads.set(competitor, await publishedMessages(server, competitor, own.channel ?? ''));
    }
    for (let round = -warmUps; round < rounds; round++) {
      // The order alternates: the first of one round is the last of the next.
      const order = round % 2 === 0 ? competitors : [...competitors].reverse();
      for (const competitor of order) {
        const onReady = loads.get(competitor)?.prepare(count);
        const { commands, ...figures } = await runOnce(
          server,
          workload,
          competitor,
          count,
          onReady,
          watching,
        );
        // Scripts are loaded and connections made while they warm up.
        if (round < 0) continue;
        for (const text of unneeded(workload, competitor, commands)) onUnneeded(text);
        competitor.rounds.push(figures);
      }
    }
    return resultsOf(subtracted(competitors, workload.subtract));
  } finally {
    watching?.stop();
    neighbours?.stop();
    await Promise.all([...loads.values()].map((load) => load.stop?.()));
    await Promise.all(competitors.map((competitor) => competitor.stop()));
  }
}

/**
 * Subtracts the cost of work that a round of every competitor includes, and that one competitor does alone.
 *
 * @param {Competitor[]} competitors
 * @param {string} [alone]
 */
function subtracted(competitors, alone) {
  const base = competitors.find(({ name }) => name === alone)?.rounds;
  if (base === undefined) return competitors;
  return competitors
    .filter(({ name }) => name !== alone)
    .map(({ name, rounds }) => ({
      name,
      rounds: rounds.map(({ client, redis }, at) => ({
        client: client - (base[at]?.client ?? 0),
        redis: redis - (base[at]?.redis ?? 0),
      })),
    }));
}

/**
 * @param {Server} server
 * @param {Workload} workload
 * @param {Competitor} competitor
 * @param {number} count
 * @param {() => Promise<unknown>} [onReady]
 * @param {Awaited<ReturnType<typeof countPublished>>} [watching]
 */
async function runOnce(server, workload, competitor, count, onReady, watching) {
  await competitor.call('reset');
  await watching?.takeCount();
  const { cpu, facts, redis, commands } = await measured(server, competitor, count, onReady);
  Object.assign(facts, await competitor.call('after'));
  if (watching !== undefined) facts['seen'] = await watching.takeCount();
  for (const [fact, value] of Object.entries(workload.expected(count, competitor.name))) {
    if (facts[fact] === value) continue;
    throw new Error(`${workload.name}: ${competitor.name} has ${fact} ${facts[fact]} instead of ${value}`);
  }
  return { client: cpu / count, redis: redis / count, commands };
}

/**
 * @param {Workload} workload
 * @param {Competitor} competitor
 * @param {Set<string>} commands that Redis ran
 */
function unneeded(workload, { name }, commands) {
  const needed = new Set(workload.commands(name));
  const others = [...commands].filter((command) => !needed.has(command));
  if (others.length > 0) {
    return [`${workload.name}: a round of ${name} includes ${others.join(', ')}, which it does not need`];
  }
  return [];
}

/**
 * One round, and what Redis did between its start and its end. Nothing else may run in this window: it would be counted as
 * the cost of the competitor.
 *
 * @param {Server} server
 * @param {Competitor} competitor
 * @param {number} count
 * @param {() => Promise<unknown>} [onReady]
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

/** @param {Pick<Competitor, 'name' | 'rounds'>[]} competitors */
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
