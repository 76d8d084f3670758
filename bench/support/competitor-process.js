// @ts-check
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** Milliseconds after which a step is aborted: the child process is killed. */
const STEP_MS = 60_000;

/** A child process with one competitor. */
export class Competitor {
  /**
   * @param {string} name
   * @param {string[]} [execArgv]
   */
  constructor(name, execArgv = []) {
    this.name = name;
    this.child = fork(fileURLToPath(new URL('../competitor.js', import.meta.url)), {
      stdio: 'inherit',
      execArgv,
    });
    /** @type {{ client: number, redis: number }[]} */
    this.rounds = [];
  }

  /**
   * @param {string} comparison a module in comparisons/
   * @param {object} setting
   * @param {number} [limit] ms
   */
  start(comparison, setting, limit) {
    return this.#request({ do: 'start', comparison, competitor: this.name, setting }, undefined, limit);
  }

  /**
   * @param {string} method of the competitor's runner; without such a method nothing happens
   * @param {unknown} [argument]
   * @param {number} [limit] ms
   * @returns {Promise<any>}
   */
  async call(method, argument, limit) {
    return (await this.#request({ do: 'call', method, argument }, undefined, limit)).facts;
  }

  /**
   * @param {number} count operations
   * @param {() => Promise<unknown>} [onReady] called when the competitor is ready to receive messages
   * @returns {Promise<{ cpu: number, facts: Record<string, any> }>} `cpu` in µs
   */
  round(count, onReady) {
    return this.#request({ do: 'round', count }, onReady);
  }

  /**
   * @param {object} request
   * @param {() => Promise<unknown>} [onReady]
   * @param {number} [limit]
   * @returns {Promise<any>}
   */
  async #request(request, onReady, limit = STEP_MS) {
    const timer = setTimeout(() => this.child.kill('SIGKILL'), limit);
    /** @type {((message: any) => void) | undefined} */
    let listener;
    /** @type {(() => void) | undefined} */
    let ended;
    try {
      return await new Promise((resolve, reject) => {
        ended = () => reject(new Error(`${this.name} ended, or took longer than ${limit} ms`));
        listener = (message) => {
          if (message.type === 'ready') onReady?.().catch(reject);
          else if (message.type === 'done') resolve(message);
          else reject(new Error(`${this.name}: ${message.message}`));
        };
        this.child.on('message', listener);
        this.child.once('exit', ended);
        // A child that has just ended makes the message fail, and `ended` has not been called yet.
        this.child.send(request, (error) => error && reject(error));
      });
    } finally {
      clearTimeout(timer);
      if (listener !== undefined) this.child.off('message', listener);
      if (ended !== undefined) this.child.off('exit', ended);
    }
  }

  /** Ends the process with SIGKILL, as a crash would. */
  async stop() {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await gone;
  }
}
