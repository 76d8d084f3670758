// @ts-check
// npm run bench -- [--quick] [--docs] [--rounds N] [--client node-redis|ioredis] [name ...]
// npm run bench -- scale [--sockets N] [--docs]
// npm run bench -- fan-out [--connections N] [--docs]
// npm run bench -- connections [--rounds N] [--docs]
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { runConnections, writeConnections } from './connections.js';
import { runFanOut, writeFanOut } from './fan-out.js';
import { blocks } from './measurements/blocks.js';
import { heap } from './measurements/heap.js';
import { memory } from './measurements/memory.js';
import { reap } from './measurements/reap.js';
import { recovery } from './measurements/recovery.js';
import { rest } from './measurements/rest.js';
import { runScale, writeScale } from './scale.js';
import { compare } from './support/compare.js';
import { writeResults } from './support/page.js';
import { info, startRedis } from './support/redis-server.js';
import { aligned, judge, targetTable, workloadTable } from './support/report.js';
import { workloads } from './workloads.js';

/** @typedef {import('./support/clients.js').Library} Library */
/** @typedef {import('./support/redis-server.js').Server} Server */
/** @typedef {import('./support/report.js').Result} Result */
/** @typedef {import('./measurements/measurement.js').Finding} Finding */

/** Measurements without competitors. Each entry adds rows to the table of targets. */
const measurements = [rest, heap, memory, reap, recovery, blocks];

const RESULTS = new URL('./results/', import.meta.url);
const SCALE = 'scale';
const FAN_OUT = 'fan-out';
const CONNECTIONS = 'connections';
/** Separate runs, which start only if they are named. */
const SEPARATE_RUNS = [SCALE, FAN_OUT, CONNECTIONS];

/** @param {string} text */
const progress = (text) => process.stderr.write(`${process.uptime().toFixed(0).padStart(4)} s: ${text} …\n`);

/** @param {string} name */
const versionOf = (name) => createRequire(import.meta.url)(`${name}/package.json`).version;

/** @param {Server} server */
async function describeMachine(server) {
  return {
    date: new Date().toISOString().slice(0, 10),
    cpu: `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}`,
    memory: `${Math.round(totalmem() / 2 ** 30)} GB`,
    node: process.versions.node,
    'redis-server': (await info(server.control, 'server')).get('redis_version'),
    redis: versionOf('redis'),
    ioredis: versionOf('ioredis'),
    rollcall: versionOf('rollcall'),
  };
}

/** @param {string[]} argv */
function readArguments(argv) {
  const { values, positionals } = parseArgs({
    args: argv,
    allowPositionals: true,
    options: {
      quick: { type: 'boolean', default: false },
      docs: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      client: { type: 'string' },
      sockets: { type: 'string' },
      connections: { type: 'string' },
    },
  });
  const names = [...workloads, ...measurements].map(({ name }) => name);
  const { quick } = values;
  const usual = names.filter((name) => !quick || !workloads.find((each) => each.name === name)?.fullOnly);
  const wanted = positionals.length === 0 ? usual : positionals;
  const unknown = wanted.filter((name) => !SEPARATE_RUNS.includes(name) && !names.includes(name));
  if (unknown.length > 0) {
    throw new Error(
      `no workload ${unknown.join(', ')}; there are ${[...names, ...SEPARATE_RUNS].join(', ')}`,
    );
  }
  /** @type {Library[]} */
  const all = ['node-redis', 'ioredis'];
  const libraries = values.client === undefined ? all : all.filter((library) => library === values.client);
  if (libraries.length === 0) throw new Error(`no client ${values.client}; there are ${all.join(', ')}`);
  return {
    quick,
    // A quick run is too coarse for the documentation, unless --docs is given.
    docs: values.docs || (positionals.length === 0 && values.client === undefined && !quick),
    rounds: whole('--rounds', values.rounds ?? (quick ? '3' : '5'), 1, 100),
    connections: whole('--connections', values.connections ?? (quick ? '1000' : '10000'), 2, 15_000),
    sockets: whole('--sockets', values.sockets ?? (quick ? '20000' : '1000000'), 2_000, 5_000_000),
    wanted,
    libraries,
  };
}

/**
 * @param {string} option
 * @param {string} text
 * @param {number} least
 * @param {number} most
 */
function whole(option, text, least, most) {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new Error(`${option} must be ${least} to ${most}`);
  }
  return value;
}

/**
 * @param {Server} server
 * @param {ReturnType<typeof readArguments>} how
 */
async function measureAll(server, { quick, rounds, wanted, libraries }) {
  /** @type {Result[]} */
  const results = [];
  /** @type {(Finding & { measure: string })[]} */
  const findings = [];
  /** What makes Redis's figures of a workload doubtful. @type {string[]} */
  const unneeded = [];
  for (const workload of workloads.filter((each) => wanted.includes(each.name))) {
    const chosen = libraries.filter((library) => !quick || library === workload.quickLibrary);
    for (const library of chosen.length > 0 ? chosen : libraries) {
      progress(`${workload.name}, ${library}`);
      const extent = {
        rounds,
        warmUps: quick ? 1 : 2,
        count: quick ? workload.quickCount : workload.count,
      };
      results.push({
        workload: workload.name,
        library,
        competitors: await compare(server, workload, library, extent, (text) => unneeded.push(text)),
      });
    }
    console.log(`\n${workload.title}\n\n${aligned(workloadTable(results, workload.name))}\n`);
  }
  for (const measure of measurements.filter(({ name }) => wanted.includes(name))) {
    progress(measure.title);
    const found = await measure.run({
      server,
      libraries: quick ? libraries.slice(0, 1) : libraries,
      quick,
      progress: (text) => progress(`${measure.title}: ${text}`),
    });
    findings.push(...found.map((finding) => ({ ...finding, measure: measure.name })));
  }
  for (const text of unneeded) console.log(`warning: ${text}`);
  return { results, findings, unneeded };
}

/**
 * Adds the results of the last run for workloads that this run did not measure.
 *
 * @template {{ results: Result[], findings: (Finding & { measure: string })[] }} Outcome
 * @param {Outcome} outcome
 */
function mergeWithLast(outcome) {
  /** @type {Outcome} */
  let last;
  try {
    last = JSON.parse(readFileSync(new URL('latest.json', RESULTS), 'utf8'));
  } catch {
    return outcome;
  }
  const key = (/** @type {Result} */ { workload, library }) => `${workload} ${library}`;
  const current = new Map(outcome.results.map((result) => [key(result), result]));
  const names = new Set(outcome.findings.map(({ measure }) => measure));
  const kept = last.results.filter((result) => !current.has(key(result)));
  const order = workloads.map(({ name }) => name);
  return {
    ...outcome,
    results: [...kept, ...outcome.results].sort(
      (a, b) => order.indexOf(a.workload) - order.indexOf(b.workload) || b.library.localeCompare(a.library),
    ),
    findings: measurements.flatMap(({ name }) =>
      (names.has(name) ? outcome : last).findings.filter(({ measure }) => measure === name),
    ),
  };
}

/**
 * @param {string} name
 * @param {object} content
 */
function writeJson(name, content) {
  mkdirSync(RESULTS, { recursive: true });
  writeFileSync(new URL(name, RESULTS), `${JSON.stringify(content, null, 2)}\n`);
  console.log(`bench/results/${name}`);
}

/** @param {Record<string, string | undefined>} machine */
const aboutOf = ({ date, ...machine }) =>
  `Measured ${date}: ${Object.entries(machine)
    .map((pair) => pair.join(' '))
    .join(', ')}`;

async function main() {
  const how = readArguments(process.argv.slice(2));
  const stamp = new Date().toISOString().replaceAll(':', '-').slice(0, 19);
  const server = await startRedis();
  try {
    const machine = await describeMachine(server);
    console.log(`${aboutOf(machine)}\n`);
    if (how.wanted.some((name) => !SEPARATE_RUNS.includes(name))) {
      const found = await measureAll(server, how);
      console.log(`${aligned(targetTable([...judge(found.results), ...found.findings]))}\n`);
      const { quick, rounds } = how;
      const about = `${aboutOf(machine)}; ${rounds} rounds${quick ? ', quick' : ''}.`;
      const outcome = { about, machine, quick, rounds, ...found };
      writeJson(`${stamp}.json`, outcome);
      if (how.docs) {
        const merged = mergeWithLast(outcome);
        writeResults(merged);
        writeJson('latest.json', merged);
      }
    }
    if (how.wanted.includes(SCALE)) {
      const outcome = await runScale(server, how, progress);
      writeJson(`${stamp}-scale.json`, { machine, ...outcome });
      writeScale(outcome, `${aboutOf(machine)}.`, how.docs);
    }
    if (how.wanted.includes(FAN_OUT)) {
      const outcome = await runFanOut(how, progress);
      writeJson(`${stamp}-fan-out.json`, { machine, ...outcome });
      writeFanOut(outcome, `${aboutOf(machine)}.`, how.docs);
    }
    if (how.wanted.includes(CONNECTIONS)) {
      const outcome = await runConnections(how, progress);
      writeJson(`${stamp}-connections.json`, { machine, ...outcome });
      writeConnections(outcome, `${aboutOf(machine)}.`, how.docs);
    }
  } finally {
    await server.stop();
  }
}

await main();
