import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { withDeadline } from './wait.js';

const fixture = fileURLToPath(new URL('typing-process.child.js', import.meta.url));
const build = fileURLToPath(new URL('../../dist/index.js', import.meta.url));

const START_MS = 20_000;
const STOP_MS = 5_000;

export interface TypingProcessOptions {
  port: number;
  room: string;
  userId: string;
  /** For how long a key stroke counts, in ms. */
  ttl: number;
  /** He strikes a key every so many ms. */
  every: number;
}

/** A server process of its own, of the built package, on which one user types without end. */
export class TypingProcess {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** Resolves when the first keystroke was published. */
  static async start(options: TypingProcessOptions): Promise<TypingProcess> {
    if (!existsSync(build)) throw new Error('the package is not built: npm run build');
    const child = fork(fixture, [JSON.stringify(options)], {
      execArgv: [],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const typing = new TypingProcess(child);
    const ended = once(child, 'exit').then(() => {
      throw new Error('the typing process ended while starting');
    });
    ended.catch(() => {});
    try {
      await withDeadline(Promise.race([once(child, 'message'), ended]), START_MS, 'the start of a process');
    } catch (error) {
      await typing.kill();
      throw error;
    }
    return typing;
  }

  /** Stops the process where it is. */
  freeze(): void {
    this.#child.kill('SIGSTOP');
  }

  /** Ends it without a word. Safe to call twice, and on a frozen process. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await withDeadline(gone, STOP_MS, `the end of process ${child.pid}`);
  }
}
