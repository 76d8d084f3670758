// @ts-check
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** No step takes longer than this, whatever hangs. */
const STEP_MS = 60_000;

/** A child process with one contender. */
export class Contender {
  /**
   * @param {string} name
   * @param {string[]} [execArgv]
   */
  constructor(name, execArgv = []) {
    this.name = name;
    this.child = fork(fileURLToPath(new URL('../contender.js', import.meta.url)), {
      stdio: 'inherit',
      execArgv,
    });
    /** @type {{ client: number, redis: number }[]} */
    this.rounds = [];
  }

  /**
   * @param {string} subject a module in subjects/
   * @param {object} setting
   * @param {number} [limit] ms
   */
  start(subject, setting, limit) {
    return this.#ask({ do: 'start', subject, contender: this.name, setting }, undefined, limit);
  }

  /**
   * @param {string} method of the subject; nothing happens if it has none
   * @param {unknown} [argument]
   * @param {number} [limit] ms
   * @returns {Promise<any>}
   */
  async call(method, argument, limit) {
    return (await this.#ask({ do: 'call', method, argument }, undefined, limit)).facts;
  }

  /**
   * @param {number} count operations
   * @param {() => Promise<void>} [armed] called when the contender waits for messages
   * @returns {Promise<{ cpu: number, facts: Record<string, any> }>} `cpu` in µs
   */
  round(count, armed) {
    return this.#ask({ do: 'round', count }, armed);
  }

  /**
   * @param {object} order
   * @param {() => Promise<void>} [armed]
   * @param {number} [limit]
   * @returns {Promise<any>}
   */
  async #ask(order, armed, limit = STEP_MS) {
    const timer = setTimeout(() => this.child.kill('SIGKILL'), limit);
    /** @type {((message: any) => void) | undefined} */
    let listener;
    /** @type {(() => void) | undefined} */
    let ended;
    try {
      return await new Promise((resolve, reject) => {
        ended = () => reject(new Error(`${this.name} ended, or took longer than ${limit} ms`));
        listener = (message) => {
          if (message.type === 'armed') armed?.().catch(reject);
          else if (message.type === 'done') resolve(message);
          else reject(new Error(`${this.name}: ${message.message}`));
        };
        this.child.on('message', listener);
        this.child.once('exit', ended);
        // A child that has just ended makes the message fail, and `ended` has not been called yet.
        this.child.send(order, (error) => error && reject(error));
      });
    } finally {
      clearTimeout(timer);
      if (listener !== undefined) this.child.off('message', listener);
      if (ended !== undefined) this.child.off('exit', ended);
    }
  }

  /** Ends the process as a crash would. */
  async stop() {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await gone;
  }
}
