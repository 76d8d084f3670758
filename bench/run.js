// @ts-check
// npm run bench -- [--quick] [--docs] [--rounds N] [--client node-redis|ioredis] [name ...]
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { flood } from './support/flood.js';
import { CHANGES } from './support/recipe.js';
import { info, redisCpu, startRedis } from './support/redis-server.js';
import { markdownTable, spread, terminalTable } from './support/report.js';
import { memory, rivalNames, workloads } from './workloads.js';

/** @typedef {import('./workloads.js').Workload} Workload */
/** @typedef {import('./support/clients.js').Library} Library */
/** @typedef {Awaited<ReturnType<typeof startRedis>>} Server */

/** No step takes longer than this, whatever hangs. */
const STEP_MS = 60_000;
const EVENTS = '{rollcall:0}:events';

/** A child process with one contender. */
class Contender {
  /** @param {string} name */
  constructor(name) {
    this.name = name;
    this.child = fork(fileURLToPath(new URL('./contender.js', import.meta.url)), { stdio: 'inherit' });
    /** @type {{ client: number, redis: number }[]} */
    this.rounds = [];
  }

  /**
   * @param {object} order
   * @param {() => Promise<void>} [armed] called when the contender waits for messages
   * @returns {Promise<any>}
   */
  async ask(order, armed) {
    const timer = setTimeout(() => this.child.kill('SIGKILL'), STEP_MS);
    try {
      return await new Promise((resolve, reject) => {
        const ended = () => reject(new Error(`${this.name} ended, or took longer than ${STEP_MS} ms`));
        /** @param {any} message */
        const listener = (message) => {
          if (message.type === 'armed') {
            armed?.().catch(reject);
            return;
          }
          this.child.off('message', listener);
          this.child.off('exit', ended);
          if (message.type === 'done') resolve(message);
          else reject(new Error(`${this.name}: ${message.message}`));
        };
        this.child.on('message', listener);
        this.child.once('exit', ended);
        this.child.send(order);
      });
    } finally {
      clearTimeout(timer);
    }
  }

  async stop() {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await gone;
  }
}

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
  await connection.subscribe('bench', EVENTS, CHANGES);
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
 * @param {Server} server
 * @param {Workload} workload
 * @param {Library} library
 * @param {number} rounds
 * @param {number} count
 * @param {number} warmUps
 */
async function compare(server, workload, library, rounds, count, warmUps) {
  await server.control.flushall();
  const contenders = ['rollcall', ...workload.rivals].map((name) => new Contender(name));
  const watching = workload.watch === undefined ? undefined : await watcher(server);
  try {
    for (const { name } of contenders) {
      const channel = `${workload.setting['channel']}-${name}`;
      const own = workload.flood === undefined ? {} : { channel };
      const setting = { ...workload.setting, ...own, library, port: server.port };
      const contender = /** @type {Contender} */ (contenders.find((each) => each.name === name));
      await contender.ask({ do: 'start', subject: workload.subject, contender: name, setting });
    }
    for (let round = -warmUps; round < rounds; round++) {
      // Whoever comes first in one round comes last in the next.
      const order = round % 2 === 0 ? contenders : [...contenders].reverse();
      for (const contender of order) {
        const figures = await runOnce(server, workload, contender, count, watching);
        if (round >= 0) contender.rounds.push(figures);
      }
    }
    return contenders.map(({ name, rounds }) => ({ name, rounds }));
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
 * @param {Awaited<ReturnType<typeof watcher>>} [watching]
 */
async function runOnce(server, workload, contender, count, watching) {
  await contender.ask({ do: 'reset' });
  await watching?.take();
  const before = await redisCpu(server.control);
  const sending = workload.flood;
  const { cpu, facts } = await contender.ask(
    { do: 'round', count },
    sending === undefined
      ? undefined
      : () => flood(server.port, `${workload.setting['channel']}-${contender.name}`, count, sending.bytes),
  );
  const redis = (await redisCpu(server.control)) - before;
  if (watching !== undefined) facts.seen = await watching.take();
  const expected = workload.expected(count);
  for (const [fact, value] of Object.entries(expected)) {
    if (facts[fact] !== value) {
      throw new Error(`${workload.name}: ${contender.name} has ${fact} ${facts[fact]} instead of ${value}`);
    }
  }
  return { client: cpu / count, redis: redis / count };
}

/**
 * @param {Workload} workload
 * @param {Library} library
 * @param {Awaited<ReturnType<typeof compare>>} contenders
 */
function rowsOf(workload, library, contenders) {
  const [own, ...rivals] = contenders;
  const targeted = workload.targetOf === undefined || workload.targetOf === library;
  return rivals.map((rival) => {
    /** @param {'client' | 'redis'} side */
    const figure = (side) => ({
      rollcall: spread((own?.rounds ?? []).map((round) => round[side])),
      rival: spread(rival.rounds.map((round) => round[side])),
      // Round by round: what slows the machine down slows neighbours down alike.
      ratio: spread((own?.rounds ?? []).map((round, at) => round[side] / (rival.rounds[at]?.[side] ?? 0))),
      target: targeted ? workload.targets[rival.name]?.[side] : undefined,
    });
    return {
      workload: workload.name,
      title: workload.title,
      library,
      rival: rivalNames[/** @type {keyof typeof rivalNames} */ (rival.name)],
      figures: { client: figure('client'), redis: figure('redis') },
    };
  });
}

/**
 * Bytes per user, without what Redis keeps for connections.
 *
 * @param {Server} server
 * @param {Library} library
 */
async function measureMemory(server, library) {
  /** @type {Record<string, number>} */
  const bytes = {};
  for (const name of ['rollcall', 'client']) {
    await server.control.flushall();
    const contender = new Contender(name);
    const setting = { ...memory.setting, library, port: server.port };
    await contender.ask({ do: 'start', subject: 'presence', contender: name, setting });
    const before = await settledMemory(server);
    const { facts } = await contender.ask({ do: 'round', count: memory.users });
    const after = await settledMemory(server);
    await contender.stop();
    if (facts.online !== memory.users) throw new Error(`memory: ${name} has ${facts.online} users`);
    bytes[name] = (after - before) / memory.users;
  }
  return { rollcall: bytes['rollcall'] ?? 0, client: bytes['client'] ?? 0 };
}

/**
 * Memory in use once tables have stopped being rehashed.
 *
 * @param {Server} server
 */
async function settledMemory(server) {
  /** @type {number[]} */
  const readings = [];
  for (let at = 0; at < 20; at++) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    const fields = await info(server.control, 'memory');
    readings.push(Number(fields.get('used_memory')) - Number(fields.get('mem_clients_normal')));
    if (at >= 4 && Math.abs((readings.at(-1) ?? 0) - (readings.at(-2) ?? 0)) < 4_096) break;
  }
  return readings.at(-1) ?? 0;
}

/** @param {string} name */
const versionOf = (name) => createRequire(import.meta.url)(`${name}/package.json`).version;

/** @param {Server} server */
async function describeMachine(server) {
  return {
    date: new Date().toISOString().slice(0, 10),
    cpu: `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}`,
    node: process.versions.node,
    redis: (await info(server.control, 'server')).get('redis_version'),
    'node-redis': versionOf('redis'),
    ioredis: versionOf('ioredis'),
    rollcall: versionOf('rollcall'),
  };
}

/**
 * Puts the results between the two markers of docs/benchmarks.md.
 *
 * @param {string} text
 */
function writeDocs(text) {
  const file = new URL('../docs/benchmarks.md', import.meta.url);
  const [begin, end] = ['<!-- results -->', '<!-- /results -->'];
  const page = readFileSync(file, 'utf8');
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  if (from < 0 || to < from) throw new Error('docs/benchmarks.md has lost its markers');
  writeFileSync(file, `${page.slice(0, from + begin.length)}\n\n${text}\n\n${page.slice(to)}`);
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
    },
  });
  const names = [...workloads.map((workload) => workload.name), memory.name];
  const wanted = positionals.length === 0 ? names : positionals;
  const unknown = wanted.filter((name) => !names.includes(name));
  if (unknown.length > 0) throw new Error(`no workload ${unknown.join(', ')}; there are ${names.join(', ')}`);
  /** @type {Library[]} */
  const all = ['node-redis', 'ioredis'];
  const libraries = values.client === undefined ? all : all.filter((library) => library === values.client);
  if (libraries.length === 0) throw new Error(`no client ${values.client}; there are ${all.join(', ')}`);
  const rounds = Number(values.rounds ?? (values.quick ? 3 : 9));
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > 100) throw new Error('--rounds must be 1 to 100');
  return { quick: values.quick, docs: values.docs, rounds, wanted, libraries };
}

async function main() {
  const { quick, docs, rounds, wanted, libraries } = readArguments(process.argv.slice(2));
  const server = await startRedis();
  try {
    const machine = await describeMachine(server);
    console.log(
      `${Object.entries(machine)
        .map((pair) => pair.join(' '))
        .join(', ')}\n`,
    );
    /** @type {ReturnType<typeof rowsOf>} */
    const rows = [];
    for (const workload of workloads) {
      if (!wanted.includes(workload.name)) continue;
      for (const library of libraries) {
        process.stderr.write(
          `${process.uptime().toFixed(0).padStart(4)} s: ${workload.name}, ${library} …\n`,
        );
        const count = quick ? workload.quickCount : workload.count;
        const warmUps = quick ? 1 : workload.warmUps;
        const contenders = await compare(server, workload, library, rounds, count, warmUps);
        rows.push(...rowsOf(workload, library, contenders));
      }
    }
    const bytes =
      wanted.includes(memory.name) && libraries[0] ? await measureMemory(server, libraries[0]) : undefined;
    const sentence =
      bytes === undefined
        ? ''
        : `${memory.title}: ${bytes.rollcall.toFixed(0)} B with rollcall (target ≤ ${memory.target}), ${bytes.client.toFixed(0)} B by hand (× ${(bytes.rollcall / bytes.client).toFixed(2)}).`;
    console.log(`\nCPU µs per operation, median of ${rounds} rounds (min–max)\n\n${terminalTable(rows)}\n`);
    if (sentence !== '') console.log(`${sentence}\n`);

    mkdirSync(new URL('./results/', import.meta.url), { recursive: true });
    const name = `${new Date().toISOString().replaceAll(':', '-').slice(0, 19)}.json`;
    writeFileSync(
      new URL(`./results/${name}`, import.meta.url),
      `${JSON.stringify({ machine, quick, rounds, rows, memory: bytes }, null, 2)}\n`,
    );
    console.log(`bench/results/${name}`);
    if (docs) {
      const about = Object.entries(machine)
        .filter(([key]) => key !== 'date')
        .map((pair) => pair.join(' '))
        .join(', ');
      writeDocs(
        `Measured ${machine.date}: ${about}; ${rounds} rounds${quick ? ', quick' : ''}.\n\n${markdownTable(rows)}\n\n${sentence}`.trim(),
      );
    }
  } finally {
    await server.stop();
  }
}

await main();
