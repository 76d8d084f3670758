// @ts-check
import { fork } from 'node:child_process';
import { once } from 'node:events';

const LIMIT_MS = 120_000;

/** A process that handles one request after another. */
export class ForkedProcess {
  /**
   * @param {string} file in this folder
   * @param {string[]} args
   */
  constructor(file, args) {
    this.process = fork(new URL(file, import.meta.url), args, { execArgv: ['--expose-gc'] });
    this.process.on('error', () => {});
  }

  /** @returns {Promise<any>} */
  async next() {
    const [message] = await once(this.process, 'message', { signal: AbortSignal.timeout(LIMIT_MS) });
    return message;
  }

  /** @param {object} request */
  request(request) {
    const answer = this.next();
    this.process.send(request);
    return answer;
  }

  async stop() {
    const gone = once(this.process, 'exit');
    this.process.disconnect();
    await gone;
  }
}
