import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { PresenceOptions, PresenceStats } from '../../src/index.js';
import { type Deferred, deferred, withDeadline } from './wait.js';

const fixture = fileURLToPath(new URL('node-process.child.js', import.meta.url));
const build = fileURLToPath(new URL('../../dist/index.js', import.meta.url));

const START_MS = 20_000;
const STOP_MS = 5_000;

export interface NodeProcessOptions {
  port: number;
  client?: 'node-redis' | 'ioredis';
  options?: Omit<PresenceOptions, 'redis' | 'onError' | 'clock'>;
}

/** How many calls ended in which way: `done`, or an error's name. */
export type Outcomes = Record<string, number>;

interface Answer {
  ready?: true;
  id?: number;
  value?: unknown;
  error?: { name: string; message: string };
}

/** A server process of its own, with a presence service of the built package in it. */
export class NodeProcess {
  readonly #child: ChildProcess;
  readonly #asked = new Map<number, Deferred<unknown>>();
  readonly #gone: Promise<unknown>;
  #count = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#gone = once(child, 'exit').then(() => {
      for (const answer of this.#asked.values()) answer.reject(new Error('the process is gone'));
      this.#asked.clear();
    });
    child.on('message', (answer: Answer) => {
      const asked = this.#asked.get(answer.id ?? 0);
      this.#asked.delete(answer.id ?? 0);
      if (answer.error === undefined) asked?.resolve(answer.value);
      else asked?.reject(Object.assign(new Error(answer.error.message), { name: answer.error.name }));
    });
    // A message to a process that was killed a moment ago is of no interest.
    child.on('error', () => {});
  }

  /** Starts a process, and resolves once its service is connected. */
  static async start({
    port,
    client = 'node-redis',
    options = {},
  }: NodeProcessOptions): Promise<NodeProcess> {
    if (!existsSync(build)) throw new Error('the package is not built: npm run build');
    const child = fork(fixture, [JSON.stringify({ client, port, options })], {
      execArgv: [],
      env: { ...process.env, NODE_OPTIONS: '' },
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const process_ = new NodeProcess(child);
    const ready = deferred<unknown>();
    process_.#asked.set(0, ready);
    try {
      await withDeadline(ready.promise, START_MS, 'the start of a node process');
    } catch (error) {
      await process_.kill();
      throw error;
    }
    return process_;
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  /** Runs a command in the process, and resolves with its result. */
  ask<T>(action: string, args?: unknown): Promise<T> {
    if (!this.#child.connected) return Promise.reject(new Error('the process is gone'));
    const id = ++this.#count;
    const answer = deferred<unknown>();
    // The caller may no longer wait for a process that was killed in the meantime.
    answer.promise.catch(() => {});
    this.#asked.set(id, answer);
    this.#child.send({ id, action, args });
    return answer.promise as Promise<T>;
  }

  register(prefix: string, count: number, status = 'online'): Promise<Outcomes> {
    return this.ask('register', { prefix, count, status });
  }

  stats(): Promise<PresenceStats> {
    return this.ask('stats');
  }

  /** The errors reported to `onError` since the previous call, as "stage: name: message". */
  errors(): Promise<string[]> {
    return this.ask('errors');
  }

  /** Stops the process where it is, as a long pause of its machine would. */
  freeze(): void {
    this.#child.kill('SIGSTOP');
  }

  thaw(): void {
    this.#child.kill('SIGCONT');
  }

  /** Ends it without a word. Safe to call twice, and on a frozen process. */
  async kill(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGKILL');
    await withDeadline(this.#gone, STOP_MS, `the end of process ${this.pid}`);
  }
}
