// @ts-check
// The Redis of the demo (embedded, yours, or its own redis-server), and how nodes are started with it.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { createChaosDriver, createEmbeddedRedis } from 'rollcall/testing';
import { startNode } from './node.js';
import { describeRedis, ownRedis, realRedis } from './redis.js';

/**
 * A running node. `kill` simulates a crash.
 * @typedef {{ port: number, kill(): void, stop(): Promise<unknown> }} RunningNode
 *
 * Starts a node; calls `onExit` when it has ended for any reason.
 * @typedef {(name: string, onExit: () => void) => Promise<RunningNode>} Launch
 *
 * @typedef {object} Backend
 * @property {string} redis description for the page and the console
 * @property {import('rollcall').RedisClient} client for the front
 * @property {Launch} launch
 * @property {{ what: string, begin(): void, end(): void }} [freeze] makes Redis unreachable, if possible
 * @property {() => Promise<void>} [stop]
 */

/**
 * An embedded Redis, with the nodes in the same process because no other process can reach it. Each node has a
 * chaos driver. A node whose driver stays cut cannot renew its lease or clean up, like a killed process. Cutting all
 * drivers for a while is like a frozen Redis.
 *
 * @param {string} secret
 * @returns {Promise<Backend>}
 */
export async function embeddedBackend(secret) {
  const embedded = await createEmbeddedRedis();
  /** @type {Set<import('rollcall/testing').ChaosDriver>} */
  const drivers = new Set();
  const openDriver = () => {
    const client = embedded.connect();
    const driver = createChaosDriver(client);
    drivers.add(driver);
    const close = () => {
      drivers.delete(driver);
      void driver.close();
      client.disconnect();
    };
    return { driver, close };
  };
  return {
    redis: describeRedis(undefined),
    client: openDriver().driver,
    async launch(name, onExit) {
      const { driver, close } = openDriver();
      const node = await startNode(name, driver, secret);
      const end = () => {
        close();
        onExit();
      };
      return {
        port: node.port,
        kill() {
          driver.cut();
          node.crash();
          end();
        },
        stop: () => node.stop().then(end),
      };
    },
    freeze: {
      what: 'Cut off Redis',
      begin: () => drivers.forEach((each) => void each.cut()),
      end: () => drivers.forEach((each) => void each.restore()),
    },
    stop: () => embedded.close(),
  };
}

/**
 * A real Redis. The nodes are processes, and killing one is a SIGKILL.
 *
 * @param {string} url
 * @param {string} secret
 * @returns {Promise<Backend>}
 */
export async function realBackend(url, secret) {
  const program = fileURLToPath(new URL('node-process.js', import.meta.url));
  return {
    redis: describeRedis(url),
    client: await realRedis(url),
    async launch(name, onExit) {
      const child = fork(program, [name], { env: { ...process.env, REDIS_URL: url, DEMO_SECRET: secret } });
      const exited = once(child, 'exit').finally(onExit);
      const { port, error } = await Promise.race([
        once(child, 'message').then(([message]) => message),
        exited.then(([code, signal]) => ({ error: `ended with ${signal ?? code}` })),
      ]);
      if (error) throw new Error(`${name} cannot start: ${error}`);
      const stop = () => {
        child.disconnect();
        return exited;
      };
      return { port, kill: () => child.kill('SIGKILL'), stop };
    },
  };
}

/**
 * A redis-server that the demo starts, and can freeze.
 *
 * @param {string} secret
 * @returns {Promise<Backend>}
 */
export async function ownBackend(secret) {
  const { url, signal, stop } = await ownRedis();
  const begin = () => signal('SIGSTOP');
  const end = () => signal('SIGCONT');
  return { ...(await realBackend(url, secret)), freeze: { what: 'Freeze Redis', begin, end }, stop };
}
