// @ts-check
// The scale run: many nodes, many sockets, one Redis, a killed node and a storm of reconnects.
import { readFileSync } from 'node:fs';
import { cpus, freemem } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { Competitor } from './support/competitor-process.js';
import { monitor } from './support/monitor.js';
import { readSection, SIZING, writePlot, writeSection } from './support/page.js';
import { lines } from './support/plot.js';
import { info, redisCpu } from './support/redis-server.js';
import { table } from './support/report.js';
import { readSlowlog, startSlowlog } from './support/slowlog.js';
import { quantile } from './support/statistics.js';

/** @typedef {import('./support/redis-server.js').Server} Server */
/** @typedef {{ at: number, memory: number, commands: number, online: number, redisCpu: number, lookups: number[] }} Sample */

const NODES = 20;
/** Nodes of each process; the last one is alone in its own, so that it can be killed. */
const LAYOUT = [5, 5, 5, 4, 1];
const GRACE_MS = 10_000;
const STORM_MS = 10_000;
/** Of all sockets. */
const STORM_SHARE = 0.1;

/** Bytes per socket, in Redis and in its process together, with a reserve; and bytes for everything else. */
const BYTES_PER_SOCKET = 4_000;
const BASE_BYTES = 1.5 * 2 ** 30;

/** Milliseconds between two phases. */
const CALM_MS = 5_000;

/** The whole run; a phase that waits for Redis may take as long. */
const LIMIT_MS = 12 * 60_000;
/**
 * Deadline of a call, in ms. On a busy machine 2,000 calls at a time wait longer for the processor than the default of 5 s
 * allows. What the run shows is how long they take.
 */
const DEADLINE_MS = 60_000;
/** What the table shows for figures that the last run did not have. */
const UNKNOWN = '–';

/** Bytes that can be allocated without swapping. */
function availableMemory() {
  try {
    return Number(/MemAvailable:\s+(\d+) kB/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]) * 1_024;
  } catch {
    return freemem();
  }
}

/** Samples Redis and the reader every second. */
class Timeline {
  /** @type {Sample[]} */
  samples = [];
  /** @type {{ at: number, name: string }[]} */
  marks = [];
  #began = performance.now();
  #stopped = false;
  /** @type {Promise<void> | undefined} */
  #running;

  /**
   * @param {Server} server
   * @param {Competitor} reader
   */
  constructor(server, reader) {
    this.server = server;
    this.reader = reader;
  }

  get seconds() {
    return (performance.now() - this.#began) / 1_000;
  }

  /** @param {string} name */
  mark(name) {
    this.marks.push({ at: this.seconds, name });
    return this.seconds;
  }

  start() {
    this.#running = this.#run();
  }

  async stop() {
    this.#stopped = true;
    await this.#running;
  }

  async #run() {
    let before = Number.NaN;
    let last = 0;
    while (!this.#stopped) {
      const at = this.seconds;
      const fields = await info(this.server.control, 'all');
      const commands = Number(fields.get('total_commands_processed'));
      const used = (Number(fields.get('used_cpu_user')) + Number(fields.get('used_cpu_sys'))) * 1e6;
      this.samples.push({
        at,
        memory: Number(fields.get('used_memory')),
        commands: Number.isNaN(before) ? 0 : (commands - before) / (at - last),
        online: await this.server.control.scard('{rollcall:0}:online'),
        redisCpu: used,
        lookups: await this.reader.call('takeDurations'),
      });
      before = commands;
      last = at;
      await sleep(Math.max(50, 1_000 - (this.seconds - at) * 1_000));
    }
  }

  /**
   * The lookups between two moments, in seconds from the start.
   *
   * @param {number} from
   * @param {number} to
   */
  lookups(from, to) {
    const all = this.samples.filter(({ at }) => at > from && at <= to + 1).flatMap(({ lookups }) => lookups);
    return { count: all.length, p50: quantile(all, 0.5), p99: quantile(all, 0.99) };
  }
}

/**
 * Polls until `holds`.
 *
 * @param {string} what
 * @param {() => Promise<boolean>} holds
 */
async function until(what, holds) {
  for (const since = performance.now(); performance.now() - since < LIMIT_MS; await sleep(20)) {
    if (await holds()) return;
  }
  throw new Error(`scale: ${what} did not happen within ${LIMIT_MS / 60_000} minutes`);
}

/**
 * @param {Server} server
 * @param {{ sockets: number, quick: boolean, libraries: string[] }} how
 * @param {(text: string) => void} progress
 */
export async function runScale(server, { sockets: asked, quick, libraries }, progress) {
  const fit = Math.floor((availableMemory() - BASE_BYTES) / BYTES_PER_SOCKET);
  const perNode = Math.floor(Math.min(asked, fit) / NODES);
  const sockets = perNode * NODES;
  if (sockets < asked) progress(`scale: memory for ${sockets} of ${asked} sockets`);
  if (perNode < 100) throw new Error('scale: not enough memory');
  const library = libraries[0];
  const { control, port } = server;
  await control.flushall();
  const setting = { library, port, grace: GRACE_MS, timeout: DEADLINE_MS, sockets, perNode };
  const processes = LAYOUT.map(() => new Competitor('rollcall'));
  const reader = new Competitor('reader');
  const victim = /** @type {Competitor} */ (processes.at(-1));
  const living = processes.filter((each) => each !== victim);
  const timeline = new Timeline(server, reader);
  /** CPU time of Redis since the last call, in seconds. */
  let usedBefore = 0;
  const takeRedisCpu = async () => {
    const used = (await redisCpu(control)) / 1e6;
    const since = used - usedBefore;
    usedBefore = used;
    return since;
  };
  // The run ends after LIMIT_MS even if a process hangs.
  const limit = setTimeout(() => {
    for (const each of [...processes, reader]) void each.stop();
  }, LIMIT_MS);
  try {
    let first = 0;
    for (const [at, nodes] of LAYOUT.entries()) {
      await processes[at]?.start('scale', { ...setting, first, nodes });
      first += nodes;
    }
    await reader.start('scale', setting);
    const empty = Number((await info(control, 'memory')).get('used_memory'));
    timeline.start();

    progress(`scale: ${sockets} sockets arrive on ${NODES} nodes`);
    await takeRedisCpu();
    const filling = timeline.mark('arrival');
    await Promise.all(processes.map((each) => each.call('fill', undefined, LIMIT_MS)));
    const filled = timeline.seconds;
    const arrivalCpu = await takeRedisCpu();
    const online = await control.scard('{rollcall:0}:online');
    if (online !== sockets) throw new Error(`scale: ${online} of ${sockets} users are online`);

    const restSeconds = quick ? 10 : 30;
    progress(`scale: at rest for ${restSeconds} s`);
    const resting = timeline.mark('at rest');
    const watching = await monitor(port, ['MGET', 'INFO', 'SCARD']);
    await takeRedisCpu();
    await sleep(restSeconds * 1_000);
    const restCpu = await takeRedisCpu();
    watching.stop();
    const rested = timeline.seconds;
    const memory = Number((await info(control, 'memory')).get('used_memory')) - empty;
    const facts = await Promise.all(processes.map((each) => each.call('facts')));

    progress('scale: a node is killed');
    const [nodeId] = facts.at(-1).nodeIds;
    await startSlowlog(control);
    const killed = timeline.mark('node killed');
    await victim.stop();
    const score = () => control.zscore('{rollcall:0}:nodes', nodeId);
    await until('detection', async () => Number((await score()) ?? -1) < 0);
    const detected = timeline.mark('detected');
    await until('reaping', async () => (await score()) === null);
    const reaped = timeline.seconds;
    await until(
      'going offline',
      async () => (await control.scard('{rollcall:0}:online')) <= sockets - perNode,
    );
    const offline = timeline.mark('offline');
    const killStalls = await readSlowlog(control);

    await sleep(CALM_MS);

    const reconnects = Math.floor((sockets * STORM_SHARE) / living.length) * living.length;
    progress(`scale: ${reconnects} reconnects in ${STORM_MS / 1_000} s`);
    await startSlowlog(control);
    await takeRedisCpu();
    const storming = timeline.mark('storm');
    const storms = await Promise.all(
      living.map((each) => each.call('storm', { count: reconnects / living.length, ms: STORM_MS }, LIMIT_MS)),
    );
    const calmed = timeline.mark('end of the storm');
    const stormCpu = await takeRedisCpu();
    const stormStalls = await readSlowlog(control);
    await sleep(CALM_MS);
    const left = await control.scard('{rollcall:0}:online');
    await timeline.stop();

    return {
      asked,
      sockets,
      nodes: NODES,
      processes: LAYOUT.length,
      library,
      grace: GRACE_MS,
      arrival: { seconds: filled - filling, perSecond: sockets / (filled - filling), redisCpu: arrivalCpu },
      memory: { redis: memory, perUser: memory / sockets, processes: facts.map(({ rss }) => rss) },
      rest: {
        seconds: restSeconds,
        sent: watching.counts.sent / restSeconds,
        inScripts: watching.counts.inScripts / restSeconds,
        redisCpu: restCpu,
      },
      kill: {
        sockets: perNode,
        detection: detected - killed,
        reaping: reaped - detected,
        offline: offline - killed,
        stalls: killStalls,
      },
      storm: {
        reconnects,
        seconds: calmed - storming,
        redisCpu: stormCpu,
        failed: storms.reduce((sum, { failed }) => sum + failed, 0),
        p50: Math.max(...storms.map(({ latencies }) => latencies.p50)),
        p99: Math.max(...storms.map(({ latencies }) => latencies.p99)),
        stalls: stormStalls,
        lost: sockets - perNode - left,
      },
      lookups: {
        arrival: timeline.lookups(filling, filled),
        rest: timeline.lookups(resting, rested),
        reaping: timeline.lookups(detected, offline),
        storm: timeline.lookups(storming, calmed),
      },
      marks: timeline.marks,
      timeline: timeline.samples.map(({ lookups, ...sample }) => ({
        ...sample,
        p50: quantile(lookups, 0.5),
        p99: quantile(lookups, 0.99),
      })),
    };
  } finally {
    clearTimeout(limit);
    await Promise.all([...processes, reader].map((each) => each.stop()));
    await timeline.stop().catch(() => {});
  }
}

/** @typedef {Awaited<ReturnType<typeof runScale>>} Outcome */

const whole = (/** @type {number} */ value) => Math.round(value).toLocaleString('en');
const megabytes = (/** @type {number} */ value) => `${whole(value / 2 ** 20)} MB`;
const ms = (/** @type {number} */ value) => `${value.toFixed(value < 10 ? 1 : 0)} ms`;
const seconds = (/** @type {number} */ value) => `${value.toFixed(1)} s`;
/** @param {number} cpu in seconds @param {number} lasted in seconds */
const share = (cpu, lasted) => `${((100 * cpu) / lasted).toFixed(0)} %`;

/** @param {Outcome} outcome */
function rowsOf(outcome) {
  const { sockets, nodes, processes, arrival, memory, rest, kill, storm, lookups } = outcome;
  const stalls = (/** @type {typeof kill.stalls} */ { command, p99, name, event }) =>
    `slowest command: ${name}, ${ms(command)}; p99 of those over 0.5 ms: ${ms(p99)}; longest event: ${ms(event)}`;
  return [
    ['nodes, in processes; sockets', `${nodes}, ${processes}; ${whole(sockets)}, one for each user`],
    ['all of them arrive', `${seconds(arrival.seconds)}, ${whole(arrival.perSecond)} a second`],
    [
      'CPU of Redis while they arrive',
      `${seconds(arrival.redisCpu)}, ${((arrival.redisCpu * 1e6) / sockets).toFixed(1)} µs per user`,
    ],
    ['Redis memory', `${megabytes(memory.redis)}, ${whole(memory.perUser)} B per user`],
    ['memory of the processes (RSS)', memory.processes.map(megabytes).join(', ')],
    [
      `commands per second at rest, over ${rest.seconds} s`,
      `${rest.sent.toFixed(1)} sent by all nodes together, ${rest.inScripts.toFixed(0)} inside scripts`,
    ],
    ['CPU of Redis at rest', `${share(rest.redisCpu, rest.seconds)} of a core`],
    [
      `a node with ${whole(kill.sockets)} sockets killed`,
      `detected after ${seconds(kill.detection)}, reaped ${seconds(kill.reaping)} later, all users offline ${seconds(kill.offline)} after the kill`,
    ],
    ['… and Redis after the kill', stalls(kill.stalls)],
    [
      `a storm of ${whole(storm.reconnects)} reconnects`,
      `done after ${seconds(storm.seconds)}; setPresence p50 ${ms(storm.p50)}, p99 ${ms(storm.p99)}; ${storm.failed} failed, ${storm.lost} users lost`,
    ],
    ['… and Redis during the storm', stalls(storm.stalls)],
    ['CPU of Redis during the storm', `${share(storm.redisCpu, storm.seconds)} of a core`],
    ...Object.entries(lookups).map(([phase, { count, p50, p99 }]) => [
      `lookups of 1,000 users, ${phase}`,
      `p50 ${ms(p50)}, p99 ${ms(p99)} (${count} lookups)`,
    ]),
  ];
}

/**
 * @param {Outcome} outcome
 * @param {string} about
 * @param {boolean} docs
 */
export function writeScale(outcome, about, docs) {
  const rows = rowsOf(outcome);
  for (const [what, figure] of rows) console.log(`${what}: ${figure}`);
  if (!docs) return;
  const { timeline, marks } = outcome;
  /** @param {'memory' | 'commands' | 'online' | 'p50' | 'p99'} key @param {number} [per] */
  const points = (key, per = 1) =>
    timeline
      .filter((sample) => Number.isFinite(sample[key]))
      .map((sample) => ({ at: sample.at, value: sample[key] / per }));
  const plots = [
    {
      file: 'scale-online',
      title: 'Users online',
      unit: 'at a time',
      lines: [{ name: 'online', points: points('online') }],
    },
    {
      file: 'scale-memory',
      title: 'Redis memory',
      unit: 'MB',
      lines: [{ name: 'memory', points: points('memory', 2 ** 20) }],
    },
    {
      file: 'scale-commands',
      title: 'Commands Redis executed, those of scripts included',
      unit: 'per second',
      lines: [{ name: 'commands', points: points('commands') }],
    },
    {
      file: 'scale-lookups',
      title: 'Lookups of 1,000 users',
      unit: 'ms',
      lines: [
        { name: 'p50', points: points('p50') },
        { name: 'p99', points: points('p99') },
      ],
    },
  ];
  const images = plots.map(({ file, ...chart }) => {
    const { title, unit } = chart;
    return `![${title}, ${unit}, over the time of the run](${writePlot(file, lines({ ...chart, marks }))})`;
  });
  const asked =
    outcome.asked > outcome.sockets ? ` The memory was not sufficient for ${whole(outcome.asked)}.` : '';
  const last = readLast();
  const compared = rows.map(([what = '', figure = '']) => [
    what,
    figure,
    last.figures.get(keyOf(what)) ?? UNKNOWN,
  ]);
  const figures = table(['', 'this run', `the run of ${last.date}`], compared);
  writeSection('scale', `${about}${asked}\n\n${figures}\n\n${images.join('\n\n')}`);
  writeSection('scale', summaryOf(outcome), SIZING);
}

/** Rows are compared by their text without numbers. @param {string} what */
const keyOf = (what) => what.replaceAll(/[\d,.]+/g, '#');

/** The figures on the page: those of the last run that was written into it. */
function readLast() {
  const section = readSection('scale');
  /** @type {Map<string, string>} */
  const figures = new Map();
  for (const line of section.split('\n')) {
    const [, what, figure] = line.split('|').map((cell) => cell.trim());
    if (what && figure && !figure.startsWith('---')) figures.set(keyOf(what), figure);
  }
  return { date: /Measured ([\d-]+)/.exec(section)?.[1] ?? UNKNOWN, figures };
}

/** @param {Outcome} outcome */
function summaryOf({ sockets, nodes, arrival, memory, rest, storm, lookups }) {
  return [
    `*${whole(sockets)} users are measured*, on one Redis with ${nodes} nodes on ${cpus().length} cores: ${megabytes(memory.redis)},`,
    `${rest.sent.toFixed(1)} commands a second when idle, all users online after ${seconds(arrival.seconds)}, a reconnect storm of`,
    `${whole(storm.reconnects)} done after ${seconds(storm.seconds)} with ${storm.failed} failed, lookups at p99 ${ms(lookups.rest.p99)} when idle`,
    '([at scale](benchmarks.md#at-scale)). Its traffic in the table is extrapolated. The other columns are extrapolated.',
  ].join('\n');
}
