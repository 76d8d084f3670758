// @ts-check
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { createChaosDriver } from 'rollcall/testing';
import { startNode } from './node.js';

/**
 * A running node. `kill` is a crash: nobody gets to say goodbye.
 * @typedef {{ port: number, kill(): void, stop(): Promise<unknown> }} RunningNode
 */
/**
 * Starts a node; `gone` is to be called when it has ended, however that came about.
 * @typedef {(name: string, gone: () => void) => Promise<RunningNode>} Launch
 */

/**
 * Nodes as processes: what one would do with a real Redis.
 *
 * @param {string} url
 * @returns {Launch}
 */
export function inProcesses(url) {
  const program = fileURLToPath(new URL('node-process.js', import.meta.url));
  return async (name, gone) => {
    const child = fork(program, [name], { env: { ...process.env, REDIS_URL: url } });
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
  };
}

/**
 * Nodes within this process: nobody else can reach the embedded Redis. Killing one means to cut its
 * link to Redis, so that the node cannot renew its lease or clean up, and to drop its connections.
 *
 * @param {import('rollcall/testing').EmbeddedRedis} embedded
 * @returns {Launch}
 */
export function inThisProcess(embedded) {
  return async (name, gone) => {
    const link = createChaosDriver(embedded.connect());
    const node = await startNode(name, link);
    return {
      port: node.port,
      kill() {
        link.cut();
        node.crash();
        gone();
      },
      stop: () => node.stop(),
    };
  };
}

/** The nodes there should be, and which of them run. */
export class Nodes {
  /** @type {Map<string, Promise<RunningNode> | undefined>} */
  #starting = new Map();
  /** @type {Map<string, RunningNode>} */
  #running = new Map();
  #names;
  #launch;
  #changed;

  /**
   * @param {readonly string[]} names
   * @param {Launch} launch
   * @param {() => void} changed called whenever a node came or went
   */
  constructor(names, launch, changed) {
    this.#names = names;
    this.#launch = launch;
    this.#changed = changed;
  }

  list() {
    return this.#names.map((name) => ({ name, up: this.#running.has(name) }));
  }

  /** @param {string} name */
  has(name) {
    return this.#names.includes(name);
  }

  /**
   * Where the node listens, while it runs.
   * @param {string} name
   */
  port(name) {
    return this.#running.get(name)?.port;
  }

  /** @param {string} name */
  async start(name) {
    if (this.#running.has(name)) return;
    let starting = this.#starting.get(name);
    if (starting === undefined) {
      starting = this.#launch(name, () => {
        if (this.#running.delete(name)) this.#changed();
      });
      this.#starting.set(name, starting);
    }
    try {
      this.#running.set(name, await starting);
    } finally {
      this.#starting.delete(name);
    }
    this.#changed();
  }

  startAll() {
    return Promise.all(this.#names.map((name) => this.start(name)));
  }

  /** @param {string} name */
  kill(name) {
    this.#running.get(name)?.kill();
  }

  stopAll() {
    return Promise.all([...this.#running.values()].map((node) => node.stop()));
  }
}
