// @ts-check
// What the demo runs on: an embedded Redis, yours, or one it starts itself; and how nodes are started there.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { createChaosDriver } from 'rollcall/testing';
import { startNode } from './node.js';
import { describeRedis, embeddedRedis, ownRedis, realRedis } from './redis.js';

/**
 * A running node. `kill` is a crash: nobody gets to say goodbye.
 * @typedef {{ port: number, kill(): void, stop(): Promise<unknown> }} RunningNode
 */
/**
 * Starts a node; `gone` is to be called when it has ended, however that came about.
 * @typedef {(name: string, gone: () => void) => Promise<RunningNode>} Launch
 */
/**
 * @typedef {object} World
 * @property {string} redis what it runs on, for people
 * @property {import('rollcall').RedisClient} client for the front
 * @property {Launch} launch
 * @property {{ what: string, begin(): void, end(): void }} [freeze] how nobody reaches Redis for a while, if that can be done
 * @property {() => Promise<void>} [stop]
 */

/**
 * A Redis within this process, and the nodes too, for nobody else could reach it. Each has a link to it that can
 * be cut: for good, and the node cannot renew its lease or clean up, as if it were killed; or all for a
 * while, as if Redis were frozen.
 *
 * @param {string} secret
 * @returns {Promise<World>}
 */
export async function embeddedWorld(secret) {
  const embedded = await embeddedRedis();
  /** @type {Set<import('rollcall/testing').ChaosDriver>} */
  const links = new Set();
  const open = () => {
    const client = embedded.connect();
    const link = createChaosDriver(client);
    links.add(link);
    const close = () => {
      links.delete(link);
      void link.close();
      client.disconnect();
    };
    return { link, close };
  };
  return {
    redis: describeRedis(undefined),
    client: open().link,
    async launch(name, gone) {
      const { link, close } = open();
      const node = await startNode(name, link, secret);
      return {
        port: node.port,
        kill() {
          link.cut();
          node.crash();
          close();
          gone();
        },
        async stop() {
          await node.stop();
          close();
          gone();
        },
      };
    },
    freeze: {
      what: 'Cut off Redis',
      begin: () => links.forEach((each) => void each.cut()),
      end: () => links.forEach((each) => void each.restore()),
    },
    stop: () => embedded.close(),
  };
}

/**
 * A Redis that runs somewhere. The nodes are processes, and killing one is a SIGKILL.
 *
 * @param {string} url
 * @param {string} secret
 * @returns {Promise<World>}
 */
export async function realWorld(url, secret) {
  const program = fileURLToPath(new URL('node-process.js', import.meta.url));
  return {
    redis: describeRedis(url),
    client: await realRedis(url),
    async launch(name, gone) {
      const env = { ...process.env, REDIS_URL: url, DEMO_SECRET: secret };
      const child = fork(program, [name], { env });
      child.once('exit', gone);
      const answer = await Promise.race([
        once(child, 'message').then(([message]) => message),
        once(child, 'exit').then(([code, signal]) => ({ error: `ended with ${signal ?? code}` })),
      ]);
      if (answer.error) throw new Error(`${name} cannot start: ${answer.error}`);
      return {
        port: answer.port,
        kill: () => child.kill('SIGKILL'),
        stop: () => {
          const exited = once(child, 'exit');
          child.disconnect();
          return exited;
        },
      };
    },
  };
}

/**
 * The same with a redis-server of the demo's own, which can be frozen.
 *
 * @param {string} secret
 * @returns {Promise<World>}
 */
export async function ownWorld(secret) {
  const server = await ownRedis();
  return {
    ...(await realWorld(server.url, secret)),
    freeze: {
      what: 'Freeze Redis',
      begin: () => server.signal('SIGSTOP'),
      end: () => server.signal('SIGCONT'),
    },
    stop: server.stop,
  };
}
