// @ts-check
// What the users of a GraphQL server and of a Nest gateway see when its connection to Redis is lost in mid-stream, beside
// graphql-redis-subscriptions and a gateway written by hand. Prints the tables of docs/graphql.md and docs/nestjs.md. Installs
// the packed package and the others in a folder of their own. Needs `npm run build` and redis-server:
//   node test/installs/redis-loss.js [part of a contender's name…]
import { execFileSync, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { PubSubService, RoomService } from 'rollcall';
import { GraphQLPubSub } from 'rollcall/graphql';

const root = fileURLToPath(new URL('../../', import.meta.url));
const PACKAGES = {
  '@nestjs/common': '12.5.1',
  '@nestjs/core': '12.5.1',
  '@nestjs/platform-express': '12.5.1',
  '@nestjs/platform-ws': '12.1.1',
  '@nestjs/websockets': '12.1.1',
  graphql: '16.15.0',
  'graphql-redis-subscriptions': '2.7.0',
  'graphql-ws': '6.4.2',
  ioredis: '5.11.1',
  'reflect-metadata': '0.2.2',
  rxjs: '7.8.2',
  ws: '8.23.0',
};
/** Messages of one run, one in 5 ms. */
const MESSAGES = 1_000;
const PERIOD = 5;
/** The numbers before which the fault happens. */
const FAULTS_AT = [200, 400, 600];
/** The client has received all that it will when nothing has arrived for this time, in ms. */
const QUIET = 5_000;
const history = { size: 10_000, ttl: 3_600_000 };

const pause = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));

const work = mkdtempSync(join(tmpdir(), 'rollcall-loss-'));
const probe = createServer();
await once(probe.listen(0, '127.0.0.1'), 'listening');
const { port } = /** @type {import('node:net').AddressInfo} */ (probe.address());
probe.close();
await once(probe, 'close');

/** @param {boolean} durable Whether Redis keeps its data over a restart. */
async function startRedis(durable) {
  const program = process.env['REDIS_SERVER'] ?? 'redis-server';
  const persistence = durable ? ['--appendonly', 'yes'] : [];
  const child = spawn(
    program,
    ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', work, ...persistence],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  for await (const text of child.stdout) if (String(text).includes('Ready to accept')) break;
  child.stdout.resume();
  return child;
}

const openRedis = () =>
  new Redis({ port, retryStrategy: () => 20, maxRetriesPerRequest: null }).on('error', () => {});

/**
 * The other process, which publishes.
 *
 * @param {string} contender
 * @param {Redis} redis
 * @returns {(n: number) => Promise<unknown>}
 */
function createPublisher(contender, redis) {
  if (contender.startsWith('rollcall/graphql')) {
    const service = new PubSubService({ redis, onError: null });
    const kept = contender.endsWith('history') ? { history } : {};
    const pubsub = new GraphQLPubSub({ pubsub: service, ...kept });
    return (n) => pubsub.publish('posted', { posted: { n } });
  }
  if (contender.startsWith('rollcall/nestjs')) {
    const pubsub = new PubSubService({ redis, onError: null });
    const kept = contender.endsWith('without history') ? { history: /** @type {const} */ (false) } : {};
    const rooms = new RoomService({ pubsub, onError: null, ...kept });
    return (n) => rooms.broadcast('posted', 'posted', { n });
  }
  const wrap = contender.startsWith('graphql')
    ? (/** @type {number} */ n) => ({ posted: { n } })
    : (/** @type {number} */ n) => ({ n });
  return (n) => redis.publish('posted', JSON.stringify(wrap(n)));
}

/** @typedef {{ numbers: number[], told: string[] }} Seen */

/**
 * @param {string} contender
 * @param {{ durable: boolean, restart: boolean }} fault
 */
async function measure(contender, { durable, restart }) {
  rmSync(join(work, 'appendonlydir'), { recursive: true, force: true });
  let server = await startRedis(durable);
  const redis = openRedis();
  const child = fork('nest-graphql.cjs', [contender, String(port)], { cwd: work });
  try {
    await Promise.race([
      once(child, 'message'),
      once(child, 'exit').then(([code]) => Promise.reject(new Error(`${contender}: exit ${code}`))),
    ]);
    const read = async () => {
      child.send('read');
      const [seen] = await once(child, 'message');
      return /** @type {Seen} */ (seen);
    };
    const publish = createPublisher(contender, redis);
    /** Numbers that Redis has taken. A number whose publishing has failed is not sent again. */
    let sent = 0;
    for (let n = 1; n <= MESSAGES; n++) {
      if (FAULTS_AT.includes(n)) {
        if (restart) {
          server.kill();
          await once(server, 'exit');
          server = await startRedis(durable);
        } else await redis.client('KILL', 'TYPE', 'pubsub');
      }
      await publish(n).then(
        () => sent++,
        () => {},
      );
      await pause(PERIOD);
    }
    let seen = await read();
    for (let quiet = 0; quiet < QUIET && new Set(seen.numbers).size < sent; quiet += 100) {
      await pause(100);
      const next = await read();
      if (next.numbers.length !== seen.numbers.length) quiet = 0;
      seen = next;
    }
    const distinct = new Set(seen.numbers).size;
    const inOrder = seen.numbers.every((n, at) => at === 0 || n > (seen.numbers[at - 1] ?? 0));
    return { sent, received: distinct, doubled: seen.numbers.length - distinct, inOrder, told: seen.told };
  } finally {
    child.kill();
    redis.disconnect();
    server.kill();
    await once(server, 'exit');
  }
}

const FAULTS = {
  'connection killed': { durable: false, restart: false },
  'Redis restarts': { durable: true, restart: true },
  'Redis restarts empty': { durable: false, restart: true },
};
const CONTENDERS = [
  'graphql-redis-subscriptions',
  'rollcall/graphql',
  'rollcall/graphql, history',
  'hand-written gateway',
  'rollcall/nestjs',
  'rollcall/nestjs, without history',
];

/** @param {string[]} told */
function count(told) {
  /** @type {Record<string, number>} */
  const counts = {};
  for (const each of told) counts[each] = (counts[each] ?? 0) + 1;
  return Object.entries(counts)
    .map(([each, times]) => `${times} × ${each}`)
    .join(', ');
}

try {
  const pack = ['pack', '--ignore-scripts', '--pack-destination', work];
  execFileSync('npm', pack, { cwd: root, stdio: 'ignore' });
  const tarball = String(readdirSync(work).find((file) => file.endsWith('.tgz')));
  const dependencies = { ...PACKAGES, rollcall: `file:${join(work, tarball)}` };
  writeFileSync(join(work, 'package.json'), JSON.stringify({ private: true, dependencies }));
  execFileSync('npm', ['install', '--no-audit', '--no-fund', '--silent', '--ignore-scripts'], {
    cwd: work,
    stdio: 'inherit',
  });
  copyFileSync(join(root, 'test/installs/programs/nest-graphql.cjs'), join(work, 'nest-graphql.cjs'));
  const asked = process.argv.slice(2);
  console.log(
    '| | fault, three times | sent | received | lost | told |\n| --- | --- | --- | --- | --- | --- |',
  );
  for (const contender of CONTENDERS) {
    if (asked.length > 0 && !asked.some((part) => contender.includes(part))) continue;
    for (const [name, fault] of Object.entries(FAULTS)) {
      const { sent, received, doubled, inOrder, told } = await measure(contender, fault);
      const order = (doubled > 0 ? `, ${doubled} twice` : '') + (inOrder ? '' : ', out of order');
      console.log(
        `| ${contender} | ${name} | ${sent} | ${received}${order} | ${sent - received} | ${count(told) || 'nothing'} |`,
      );
    }
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}
