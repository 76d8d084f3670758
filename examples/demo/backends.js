// The Redis of the demo, and how a node is launched on it. A backend is
//   redis             its description for the page and the console
//   client            for the front
//   launch(name, onEnd)  resolves with `{ port, kill(), stop() }`; calls `onEnd` when the node has ended for any reason
//   freeze            `{ what, begin(), end() }`: makes Redis unreachable for a while, if possible
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { createChaosDriver, createEmbeddedRedis } from 'rollcall/testing';
import { startNode } from './node.js';
import { createRedisClient, describeRedis, startRedisServer } from './redis.js';

/**
 * An embedded Redis, with the nodes in the same process because no other process can reach it. Each node has a
 * driver that can be cut: a node that stays cut cannot renew its lease or clean up, like a killed process.
 */
export async function embeddedBackend(secret) {
  const embedded = await createEmbeddedRedis();
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
    redis: 'embedded Redis',
    client: openDriver().driver,
    async launch(name, onEnd) {
      const { driver, close } = openDriver();
      const node = await startNode(name, driver, secret);
      const end = () => {
        close();
        onEnd();
      };
      const kill = () => {
        driver.cut();
        node.crash();
        end();
      };
      return { port: node.port, kill, stop: () => node.stop().then(end) };
    },
    freeze: {
      what: 'Cut off Redis',
      begin: () => drivers.forEach((driver) => void driver.cut()),
      end: () => drivers.forEach((driver) => void driver.restore()),
    },
  };
}

/** A real Redis. The nodes are processes, and killing one is a SIGKILL. */
export function realBackend(secret, url) {
  const program = fileURLToPath(new URL('node-process.js', import.meta.url));
  return {
    redis: describeRedis(url),
    client: createRedisClient(url),
    async launch(name, onEnd) {
      const child = fork(program, [name], { env: { ...process.env, REDIS_URL: url, DEMO_SECRET: secret } });
      const ended = once(child, 'exit').finally(onEnd);
      const [{ port, error = 'it has ended' }] = await Promise.race([
        once(child, 'message'),
        ended.then(() => [{}]),
      ]);
      if (!port) throw new Error(`${name} cannot start: ${error}`);
      const stop = () => {
        child.disconnect();
        return ended;
      };
      return { port, kill: () => child.kill('SIGKILL'), stop };
    },
  };
}

/** A redis-server that the demo starts, and can freeze. */
export async function ownBackend(secret) {
  const { url, signal } = await startRedisServer();
  const freeze = { what: 'Freeze Redis', begin: () => signal('SIGSTOP'), end: () => signal('SIGCONT') };
  return { ...realBackend(secret, url), freeze };
}
