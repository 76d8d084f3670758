import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type {
  KickOptions,
  PresenceOptions,
  RevokeOptions,
  RoomServiceOptions,
  RoomServiceStats,
} from '../../src/index.js';
import type { ServeCloseOptions, ServeOptions, ServeStats } from '../../src/ws/index.js';
import { type Deferred, deferred, withDeadline } from './wait.js';

const fixture = fileURLToPath(new URL('ws-server.child.js', import.meta.url));
const build = fileURLToPath(new URL('../../dist/ws.js', import.meta.url));

export interface WsServerOptions {
  /** Of Redis, or of the servers of a Cluster. */
  port: number | readonly number[];
  prefix: string;
  /** Deadline of calls to Redis, in ms (5000). */
  timeout?: number;
  serve?: Partial<Pick<ServeOptions, 'heartbeatInterval' | 'pongTimeout' | 'maxRooms' | 'maxFrameBytes'>>;
  rooms?: Pick<RoomServiceOptions, 'maxBufferedBytes' | 'history' | 'bans'>;
  presence?: Pick<PresenceOptions, 'lease' | 'sweepInterval'>;
  /** A key of Redis: a set of users, rooms, and lists of members as `room:members`, that `authorize` refuses. */
  forbidden?: string;
  ws?: object;
  rate?: { points: number; duration: number };
}

/** A process that serves WebSockets with the built package. */
export class WsServer {
  readonly #child: ChildProcess;
  readonly #asked = new Map<number, Deferred<unknown>>();
  readonly #gone: Promise<unknown>;
  readonly url: string;
  #count = 0;

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.url = `ws://127.0.0.1:${port}`;
    this.#gone = once(child, 'exit').then(() => {
      for (const answer of this.#asked.values()) answer.reject(new Error('the server is gone'));
    });
    child.on('message', ({ id, value, error }: { id: number; value?: unknown; error?: string }) => {
      if (error === undefined) this.#asked.get(id)?.resolve(value);
      else this.#asked.get(id)?.reject(new Error(error));
      this.#asked.delete(id);
    });
    // A message to a process that was killed a moment ago is of no interest.
    child.on('error', () => {});
  }

  static async start(options: WsServerOptions): Promise<WsServer> {
    if (!existsSync(build)) throw new Error('the package is not built: npm run build');
    const child = fork(fixture, [JSON.stringify(options)], {
      execArgv: ['--expose-gc'],
      env: { ...process.env, NODE_OPTIONS: '' },
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    try {
      const [{ ready }] = await withDeadline(once(child, 'message'), 20_000, 'the start of a server');
      return new WsServer(child, ready);
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  /** The retained memory in bytes, after a garbage collection. */
  memory(): Promise<number> {
    return this.#ask('memory');
  }

  stats(): Promise<ServeStats & RoomServiceStats> {
    return this.#ask('stats');
  }

  /** The errors reported since the previous call, and the violations found. */
  errors(): Promise<string[]> {
    return this.#ask('errors');
  }

  pollution(): Promise<string[]> {
    return this.#ask('pollution');
  }

  kick(room: string, userId: string, options: KickOptions): Promise<void> {
    return this.#ask('kick', { room, userId, options });
  }

  revoke(userId: string, options: RevokeOptions): Promise<void> {
    return this.#ask('revoke', { userId, options });
  }

  close(options: ServeCloseOptions): Promise<void> {
    return this.#ask('close', options);
  }

  freeze(): void {
    this.#child.kill('SIGSTOP');
  }

  thaw(): void {
    this.#child.kill('SIGCONT');
  }

  /** Ends it without a word. Safe to call twice. */
  async kill(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGKILL');
    await withDeadline(this.#gone, 5_000, 'the end of a server');
  }

  #ask<T>(action: string, args?: unknown): Promise<T> {
    if (!this.#child.connected) return Promise.reject(new Error('the server is gone'));
    const id = ++this.#count;
    const answer = deferred<unknown>();
    // The caller may no longer wait for a server that was killed in the meantime.
    answer.promise.catch(() => {});
    this.#asked.set(id, answer);
    this.#child.send({ id, action, args });
    return withDeadline(answer.promise as Promise<T>, 30_000, action);
  }
}
