import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RedisServer, startRedis } from './redis-server.js';
import { type Reply, RespConnection } from './resp.js';
import { findRedisServer } from './tools.js';
import { waitFor, withDeadline } from './wait.js';

const START_MS = 10_000;
const SETTLE_MS = 30_000;
/** Sentinel aborts a failover that has not completed within this time. */
const ABORTED_MS = 8_000;
/** Times that `failover` asks for one. */
const MAX_FAILOVERS = 4;
const COMMAND_MS = 5_000;

export interface RedisSentinelOptions {
  /** How many replicas the master has (2). */
  replicas?: number;
  /** How many sentinels watch it (3); more than half of them must agree that it is down. */
  sentinels?: number;
  /** After how many ms without an answer a sentinel takes a server for down (1000). */
  downAfter?: number;
  /** `failover-timeout` in ms (3000); a failed failover is tried again after twice that. */
  failoverTimeout?: number;
  /** More arguments for the master and its replicas. */
  args?: string[];
}

export interface RedisSentinel {
  /** The name of the master in the sentinels. */
  readonly name: string;
  /** The ports of the sentinels. */
  readonly sentinels: readonly number[];
  /** The ports of the master and the replicas, the initial master first, regardless of their current roles. */
  readonly ports: readonly number[];
  /** The master according to all sentinels that reply. Rejects while they disagree. */
  master(): Promise<number>;
  /** The replicas of that master which can be promoted. */
  replicas(): Promise<number[]>;
  cli(port: number, ...args: string[]): Promise<string>;
  pid(port: number): number;
  /** Ends a server, or a sentinel. */
  kill(port: number): Promise<void>;
  /** Freezes the process. Connections stay open and receive no replies. */
  freeze(port: number): void;
  resume(port: number): void;
  /**
   * A new process on the same port, without data. It has the role the old one had: a master comes back
   * as a master, and takes writes until the sentinels make a replica of it, after about a second.
   */
  restart(port: number): Promise<void>;
  /**
   * Has the sentinels promote a replica; resolves with its port once all agree on it. `COORDINATED`: the master waits
   * until the replica has every write.
   */
  failover(how?: 'COORDINATED'): Promise<number>;
  /** Whether the sentinels know `COORDINATED`: Valkey 9.1 and later. */
  canCoordinate(): Promise<boolean>;
  /** Resolves with the new master's port once all sentinels name one that is not `port`, and it is one. */
  waitForMaster(otherThan: number, timeout?: number): Promise<number>;
  /**
   * Resolves once all that run agree on the master, and all other servers that run are its replicas
   * and have what was written before the call.
   */
  waitUntilOk(timeout?: number): Promise<void>;
  /** Ends all processes. Safe to call twice, and with processes that are dead or frozen. */
  stop(): Promise<void>;
}

/** Starts a master, its replicas and their sentinels on the loopback interface, once they all agree. */
export async function startRedisSentinel(options: RedisSentinelOptions = {}): Promise<RedisSentinel> {
  const { replicas = 2, sentinels = 3, downAfter = 1_000, failoverTimeout = 3_000 } = options;
  // A replica that was sent its copy directly hears of later writes only after up to a second.
  const args = ['--repl-diskless-sync', 'no', '--shutdown-timeout', '1', ...(options.args ?? [])];
  const servers: RedisServer[] = [];
  const watchers: Sentinel[] = [];
  const topology = new SentinelTopology('main', servers, watchers);
  try {
    const started = Array.from({ length: 1 + replicas }, () => startRedis({ args }));
    for (const one of await Promise.allSettled(started)) {
      if (one.status === 'fulfilled') servers.push(one.value);
    }
    await Promise.all(started);
    const [master, ...rest] = servers as [RedisServer, ...RedisServer[]];
    await Promise.all(rest.map((one) => one.cli('REPLICAOF', '127.0.0.1', String(master.port))));
    const rules = [
      `sentinel monitor main 127.0.0.1 ${master.port} ${Math.floor(sentinels / 2) + 1}`,
      `sentinel down-after-milliseconds main ${downAfter}`,
      `sentinel failover-timeout main ${failoverTimeout}`,
      'sentinel parallel-syncs main 2',
    ];
    const watching = Array.from({ length: sentinels }, () => Sentinel.start(rules));
    for (const one of await Promise.allSettled(watching)) {
      if (one.status === 'fulfilled') watchers.push(one.value);
    }
    await Promise.all(watching);
    await topology.form();
    return topology;
  } catch (error) {
    await topology.stop();
    throw error;
  }
}

/** A sentinel alone, with lines of its configuration file. */
export function startSentinel(rules: readonly string[]): Promise<SentinelProcess> {
  return Sentinel.start(rules);
}

/** One sentinel, for tests that start the servers themselves. */
export interface SentinelProcess {
  readonly port: number;
  cli(...args: string[]): Promise<Reply>;
  /** Safe to call twice. */
  stop(): Promise<void>;
}

/**
 * One sentinel. It keeps its state in its configuration file, which redis-server takes only as its
 * first argument; that is why it is not started as the servers are.
 */
class Sentinel {
  readonly port: number;
  readonly #dir: string;
  #child: ChildProcess;
  #gone: Promise<void>;
  #watchdog: ChildProcess;

  private constructor(port: number, dir: string) {
    this.port = port;
    this.#dir = dir;
    const program = findRedisServer();
    if (!program) throw new Error('redis-server not found: install it, or set REDIS_SERVER to its path');
    this.#child = spawn(program, [join(dir, 'sentinel.conf'), '--sentinel'], { stdio: 'ignore', cwd: dir });
    const child = this.#child;
    this.#gone = new Promise((resolve) => {
      child.once('exit', () => resolve());
      child.once('error', () => resolve());
    });
    // Ends the sentinel when this process is gone, however it went: as for the servers.
    const script = 'while read -r _; do :; done; kill -9 "$0"; rm -rf "$1"';
    this.#watchdog = spawn('sh', ['-c', script, String(child.pid), dir], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    this.#watchdog.on('error', () => {});
    this.#watchdog.unref();
    (this.#watchdog.stdin as unknown as { unref?: () => void } | null)?.unref?.();
  }

  static async start(rules: readonly string[]): Promise<Sentinel> {
    for (let triesLeft = 5; ; triesLeft--) {
      const dir = mkdtempSync(join(tmpdir(), 'rollcall-sentinel-'));
      const port = randomInt(10_000, 20_000);
      const lines = [`port ${port}`, 'bind 127.0.0.1', `dir ${dir}`, `logfile ${join(dir, 'log')}`];
      writeFileSync(join(dir, 'sentinel.conf'), [...lines, ...rules, ''].join('\n'));
      const sentinel = new Sentinel(port, dir);
      try {
        await sentinel.#up();
        return sentinel;
      } catch (error) {
        const log = sentinel.#log();
        await sentinel.stop();
        if (triesLeft <= 1 || !/in use/i.test(log)) throw new Error(`no sentinel:\n${log}`, { cause: error });
      }
    }
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  async cli(...args: string[]): Promise<Reply> {
    const connection = await RespConnection.open(this.port, COMMAND_MS);
    try {
      return await connection.send(args, COMMAND_MS);
    } finally {
      connection.close();
    }
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  async kill(): Promise<void> {
    this.#child.ref();
    // First the watchdog: it must never act on a pid that the system may have given to another process.
    this.#watchdog.kill('SIGKILL');
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGKILL');
    await withDeadline(this.#gone, START_MS, `ending the sentinel on ${this.port}`);
  }

  async restart(): Promise<void> {
    await this.kill();
    const next = new Sentinel(this.port, this.#dir);
    this.#child = next.#child;
    this.#gone = next.#gone;
    this.#watchdog = next.#watchdog;
    await this.#up();
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.#dir, { recursive: true, force: true });
  }

  #log(): string {
    try {
      return readFileSync(join(this.#dir, 'log'), 'utf8');
    } catch {
      return '';
    }
  }

  async #up(): Promise<void> {
    const ended = this.#gone.then(() => {
      throw new Error('the sentinel ended while starting');
    });
    const answers = waitFor(
      async () => String(await this.cli('INFO')).includes(`process_id:${this.pid}\r\n`),
      {
        timeout: START_MS,
        message: `the sentinel on ${this.port}`,
      },
    );
    await Promise.race([answers, ended]);
    // Every ten seconds would do for a network; a test wants to see a demoted master soon.
    await this.cli('SENTINEL', 'DEBUG', 'info-period', '500', 'publish-period', '200', 'ping-period', '200');
    this.#child.unref();
  }
}

class SentinelTopology implements RedisSentinel {
  readonly #servers: readonly RedisServer[];
  readonly #watchers: readonly Sentinel[];
  /** Those that were killed or frozen. */
  readonly #down = new Set<number>();
  /** Whose replicas servers were when they were killed. */
  readonly #masters = new Map<number, string>();
  readonly name: string;

  constructor(name: string, servers: readonly RedisServer[], watchers: readonly Sentinel[]) {
    this.name = name;
    this.#servers = servers;
    this.#watchers = watchers;
  }

  get ports(): readonly number[] {
    return this.#servers.map((server) => server.port);
  }

  get sentinels(): readonly number[] {
    return this.#watchers.map((watcher) => watcher.port);
  }

  /** Waits until all sentinels know each other and the replicas, without which no failover happens. */
  async form(): Promise<void> {
    await waitFor(
      async () => {
        const views = await Promise.all(this.#watching().map((one) => this.#view(one)));
        const others = String(this.#watchers.length - 1);
        return views.every((view) => view.get('num-other-sentinels') === others);
      },
      { timeout: SETTLE_MS, interval: 50, message: 'the sentinels to know each other' },
    );
    await this.waitUntilOk();
  }

  async master(): Promise<number> {
    const views = await Promise.all(this.#watching().map((one) => this.#address(one)));
    if (new Set(views).size !== 1) throw new Error(`the sentinels do not agree: ${views.join(', ')}`);
    return views[0] as number;
  }

  async replicas(): Promise<number[]> {
    const reply = await this.#watching()[0]?.cli('SENTINEL', 'REPLICAS', this.name);
    return (reply as string[][])
      .map(fields)
      .filter((one) => one.get('flags') === 'slave' && one.get('master-link-status') === 'ok')
      .map((one) => Number(one.get('port')));
  }

  async cli(port: number, ...args: string[]): Promise<string> {
    const server = this.#server(port);
    return server instanceof Sentinel ? asText(await server.cli(...args)) : server.cli(...args);
  }

  pid(port: number): number {
    return this.#server(port).pid;
  }

  async kill(port: number): Promise<void> {
    await this.#remember(port);
    this.#down.add(port);
    await this.#server(port).kill();
  }

  freeze(port: number): void {
    this.#down.add(port);
    const server = this.#server(port);
    if (server instanceof Sentinel) server.signal('SIGSTOP');
    else server.freeze();
  }

  resume(port: number): void {
    const server = this.#server(port);
    if (server instanceof Sentinel) server.signal('SIGCONT');
    else server.thaw();
    this.#down.delete(port);
  }

  async restart(port: number): Promise<void> {
    await this.#remember(port);
    const server = this.#server(port);
    await server.restart();
    const master = this.#masters.get(port);
    if (master !== undefined) await this.cli(port, 'REPLICAOF', '127.0.0.1', master);
    this.#masters.delete(port);
    this.#down.delete(port);
  }

  async canCoordinate(): Promise<boolean> {
    return asText((await this.#watching()[0]?.cli('SENTINEL', 'HELP')) as Reply).includes('COORDINATED');
  }

  async failover(how?: 'COORDINATED'): Promise<number> {
    const options = how === undefined ? [] : [how];
    const old = await this.master();
    for (let triesLeft = MAX_FAILOVERS; ; triesLeft--) {
      // Refused until the replicas have been seen to be well, or while another failover is under way.
      await waitFor(
        async () =>
          (await this.master()) !== old ||
          (await this.#watching()[0]?.cli('SENTINEL', 'FAILOVER', this.name, ...options)) === 'OK',
        { timeout: SETTLE_MS, interval: 100, message: 'a sentinel to begin a failover' },
      );
      try {
        return await this.waitForMaster(old, ABORTED_MS);
      } catch (error) {
        // Sentinels abort a failover whose replica does not answer in time, and do not try again by themselves. The
        // wait above is longer on a busy machine: tries are counted, so that at least one other follows.
        if (triesLeft <= 1) throw error;
      }
    }
  }

  async waitForMaster(otherThan: number, timeout = SETTLE_MS): Promise<number> {
    return waitFor(
      async () => {
        const master = await this.master();
        if (master === otherThan || this.#down.has(master)) return undefined;
        return (await this.cli(master, 'ROLE')).startsWith('master') ? master : undefined;
      },
      { timeout, interval: 50, message: `a master other than ${otherThan}` },
    ) as Promise<number>;
  }

  async waitUntilOk(timeout = SETTLE_MS): Promise<void> {
    await waitFor(
      async () => {
        const master = await this.master();
        const living = this.ports.filter((port) => !this.#down.has(port));
        if (!living.includes(master)) return false;
        const [, written] = (await this.cli(master, 'ROLE')).split('\n');
        const roles = await Promise.all(living.map((port) => this.cli(port, 'ROLE')));
        const replicas = await this.replicas();
        return living.every((port, at) => {
          const [role, host, of, link, offset] = roles[at]?.split('\n') ?? [];
          if (port === master) return role === 'master';
          return (
            `${role} ${host} ${of} ${link}` === `slave 127.0.0.1 ${master} connected` &&
            Number(offset) >= Number(written) &&
            replicas.includes(port)
          );
        });
      },
      { timeout, interval: 50, message: 'all servers to follow one master' },
    );
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#watchers, ...this.#servers].map((one) => one.stop()));
  }

  #server(port: number): RedisServer | Sentinel {
    const server = [...this.#servers, ...this.#watchers].find((one) => one.port === port);
    if (server === undefined) throw new Error(`none of these servers listens on ${port}`);
    return server;
  }

  #watching(): Sentinel[] {
    return this.#watchers.filter((one) => !this.#down.has(one.port));
  }

  /** A server restores its role from its configuration file; these servers have none. */
  async #remember(port: number): Promise<void> {
    if (this.#down.has(port) || !this.ports.includes(port)) return;
    const [role, , master = ''] = (await this.cli(port, 'ROLE')).split('\n');
    if (role === 'slave') this.#masters.set(port, master);
  }

  async #address(sentinel: Sentinel): Promise<number> {
    const reply = await sentinel.cli('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', this.name);
    return Number((reply as string[])[1]);
  }

  async #view(sentinel: Sentinel): Promise<Map<string, string>> {
    return fields((await sentinel.cli('SENTINEL', 'MASTER', this.name)) as string[]);
  }
}

/** A reply of names and values in turn. */
function fields(reply: readonly string[]): Map<string, string> {
  const map = new Map<string, string>();
  for (let at = 0; at < reply.length; at += 2) map.set(reply[at] ?? '', reply[at + 1] ?? '');
  return map;
}

function asText(reply: Reply): string {
  if (reply instanceof Error) throw reply;
  if (Array.isArray(reply)) return reply.map(asText).join('\n');
  return reply === null ? '' : String(reply);
}
