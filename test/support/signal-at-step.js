// Lets a process stop or kill itself at a step of a call. Plain JavaScript on the built package, for child processes.
import process from 'node:process';
import { createChaosDriver } from 'rollcall/testing';

/** A client of ioredis; of a Cluster, if there are several ports. */
export async function connectClient(ports) {
  const { Cluster, Redis } = await import('ioredis');
  const nodes = ports.map((port) => ({ host: '127.0.0.1', port }));
  const client = ports.length > 1 ? new Cluster(nodes) : new Redis({ ...nodes[0], retryStrategy: () => 50 });
  client.on('error', () => {});
  return client;
}

/**
 * Sends `signal` to this process at the command with the number `step` after `start()`: `before` it is sent, once it is `sent`,
 * or `after` its reply. Commands of rollcall's own timers are not counted.
 */
export function signalAtStep(client, { step, when, signal }) {
  let calls = Number.NaN;
  const stop = () => process.kill(process.pid, signal);
  // Only for its place between the services and the client.
  const driver = createChaosDriver(client);
  const redis = new Proxy(driver, {
    get(target, name) {
      const value = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...args) => {
        const counted = name === 'subscribe' || (name === 'execute' && args[1]?.background !== true);
        const isStep = counted && ++calls === step;
        if (isStep && when === 'before') stop();
        const result = value.apply(target, args);
        if (isStep && when === 'sent') setImmediate(stop);
        if (!isStep || when !== 'after') return result;
        return result.then((reply) => {
          stop();
          return reply;
        });
      };
    },
  });
  return {
    redis,
    start() {
      calls = 0;
    },
    /** Returns the number of commands since `start`. Later ones are not counted. */
    end() {
      const total = calls;
      calls = Number.NaN;
      return total;
    },
  };
}
