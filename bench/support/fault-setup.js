// @ts-check
// Servers, a proxy and processes for `bench/faults.js`, with methods to freeze, kill and restart them.
import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Cluster, Redis } from 'ioredis';
import { PresenceService } from 'rollcall';
import { sparePort } from './redis-server.js';

const START_MS = 20_000;

/** Ends the server when this process is gone, also after SIGKILL: the standard input of the shell closes. */
const WATCHDOG = 'while read -r _; do :; done; kill -9 "$0" 2>/dev/null';

/** @param {number} ms */
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Resolves when `fn` returns something true; rejects after `timeout` ms, naming `what`.
 *
 * @param {() => unknown} fn
 * @param {string} what
 * @param {number} [timeout]
 * @param {number} [interval]
 */
export async function until(fn, what, timeout = 15_000, interval = 5) {
  const end = performance.now() + timeout;
  for (;;) {
    if (await fn()) return;
    if (performance.now() > end) throw new Error(`timed out after ${timeout} ms: ${what}`);
    await pause(interval);
  }
}

/** A redis-server of its own on a spare loopback port. */
export class FaultServer {
  /** @type {import('node:child_process').ChildProcess | undefined} */
  #child;
  /** @type {import('node:child_process').ChildProcess | undefined} */
  #watchdog;
  #dir = mkdtempSync(join(tmpdir(), 'rollcall-faults-'));
  port = 0;
  /** @type {Redis} */
  control;
  /** Other servers of the same Cluster. @type {FaultServer[]} */
  peers = [];
  /** @type {string[]} */
  #settings;

  /**
   * @param {number} port
   * @param {string[]} [settings]
   */
  constructor(port, settings = []) {
    this.port = port;
    this.#settings = settings;
    this.control = new Redis({
      host: '127.0.0.1',
      port,
      retryStrategy: () => 20,
      maxRetriesPerRequest: null,
      lazyConnect: true,
    });
    this.control.on('error', () => {});
  }

  /** @param {string[]} [settings] */
  static async start(settings = []) {
    const server = new FaultServer(await sparePort(), settings);
    await server.launch();
    return server;
  }

  /** Three masters, in one Cluster; resolves with the first. */
  static async startCluster() {
    const servers = [];
    for (let at = 0; at < 3; at++) {
      const bus = await sparePort();
      servers.push(await FaultServer.start(['--cluster-enabled', 'yes', '--cluster-port', String(bus)]));
    }
    const [first, ...peers] = /** @type {[FaultServer, ...FaultServer[]]} */ (servers);
    const share = 16_384 / servers.length;
    for (const [at, { control }] of servers.entries()) {
      const [from, to] = [Math.ceil(at * share), Math.ceil((at + 1) * share) - 1];
      await control.call('CLUSTER', 'ADDSLOTSRANGE', from, to);
    }
    for (const peer of peers) {
      const bus = await peer.control.config('GET', 'cluster-port');
      await first.control.call(
        'CLUSTER',
        'MEET',
        '127.0.0.1',
        peer.port,
        String(/** @type {any} */ (bus)[1]),
      );
    }
    for (const { control } of servers) {
      const formed = async () => {
        const info = String(await control.call('CLUSTER', 'INFO'));
        return info.includes('cluster_state:ok') && info.includes('cluster_known_nodes:3');
      };
      await until(formed, 'the cluster to form', START_MS, 50);
    }
    first.peers = peers;
    return first;
  }

  /** Sets a configuration on this server and its peers. @param {string} name @param {string} value */
  async configure(name, value) {
    for (const { control } of [this, ...this.peers]) await control.config('SET', name, value);
  }

  async launch() {
    // biome-ignore format: one option a line reads better
    const args = [
      '--bind', '127.0.0.1', '--port', String(this.port), '--dir', this.#dir, '--save', '', '--appendonly', 'no',
      '--repl-diskless-sync-delay', '0', ...this.#settings,
    ];
    const child = spawn(process.env['REDIS_SERVER'] ?? 'redis-server', args, { stdio: 'ignore' });
    this.#child = child;
    this.#watchdog = spawn('sh', ['-c', WATCHDOG, String(child.pid)], {
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    await until(() => answers(this.port), 'redis-server to answer', START_MS);
  }

  freeze() {
    this.#child?.kill('SIGSTOP');
  }

  thaw() {
    this.#child?.kill('SIGCONT');
  }

  /** Ends the server and starts another on the same port, without data. */
  async restart() {
    await this.#end();
    await this.launch();
  }

  async stop() {
    await Promise.all(this.peers.map((peer) => peer.stop()));
    this.control.disconnect();
    await this.#end();
    rmSync(this.#dir, { recursive: true, force: true });
  }

  async #end() {
    // The watchdog first: it must never act on a pid that may belong to another process by then.
    this.#watchdog?.kill('SIGKILL');
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }
}

/** @param {number} port */
async function answers(port) {
  const socket = createConnection({ host: '127.0.0.1', port });
  try {
    await once(socket, 'connect');
    socket.write('PING\r\n');
    const [reply] = await once(socket, 'data');
    return String(reply).startsWith('+PONG');
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** A TCP proxy whose target can be switched: clients keep its address over a failover. */
export class FaultProxy {
  /** @type {Set<import('node:net').Socket>} */
  #sockets = new Set();
  #server = createServer({ noDelay: true }, (near) => this.#connect(near));
  port = 0;

  /** @param {number} target */
  constructor(target) {
    this.target = target;
  }

  async start() {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.port = /** @type {import('node:net').AddressInfo} */ (this.#server.address()).port;
    return this;
  }

  /** @param {number} target */
  switchTo(target) {
    this.target = target;
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Nothing passes on the present connections any more; they stay open. */
  stall() {
    for (const socket of this.#sockets) socket.unpipe().pause();
  }

  /** Cuts the present connections. */
  cut() {
    this.switchTo(this.target);
  }

  stop() {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  /** @param {import('node:net').Socket} near */
  #connect(near) {
    const far = createConnection({ host: '127.0.0.1', port: this.target, noDelay: true });
    for (const [one, other] of /** @type {const} */ ([
      [near, far],
      [far, near],
    ])) {
      this.#sockets.add(one);
      one.on('error', () => {});
      one.on('close', () => {
        this.#sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  }
}

/** A process with a presence service. */
class FaultNode {
  /** @type {Map<number, { resolve: (value: any) => void, reject: (error: Error) => void }>} */
  #asked = new Map();
  #count = 0;

  /**
   * @param {number} port
   * @param {object} options of the service
   * @param {boolean} [cluster]
   */
  constructor(port, options, cluster = false) {
    this.child = fork(
      fileURLToPath(new URL('./fault-node.js', import.meta.url)),
      [JSON.stringify({ port, cluster, options })],
      {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      },
    );
    this.gone = once(this.child, 'exit').then(() => {
      for (const { reject } of this.#asked.values()) reject(new Error('the process has ended'));
    });
    this.child.on('error', () => {});
    this.child.on('message', (/** @type {{ id: number, value?: unknown, error?: string }} */ answer) => {
      const asked = this.#asked.get(answer.id);
      this.#asked.delete(answer.id);
      if (answer.error === undefined) asked?.resolve(answer.value);
      else asked?.reject(new Error(answer.error));
    });
    this.ready = this.#answer(0);
  }

  /**
   * @param {string} action
   * @param {unknown} [args]
   */
  ask(action, args) {
    const id = ++this.#count;
    const answer = this.#answer(id);
    this.child.send({ id, action, args });
    return answer;
  }

  /**
   * @param {string[]} users
   * @param {string} [status]
   * @param {string} [socket]
   */
  register(users, status = 'online', socket = 'socket') {
    return this.ask('register', { users, status, socket });
  }

  freeze() {
    this.child.kill('SIGSTOP');
  }

  thaw() {
    this.child.kill('SIGCONT');
  }

  async kill() {
    this.child.kill('SIGKILL');
    await this.gone;
  }

  /** @param {number} id */
  #answer(id) {
    /** @type {Promise<any>} */
    const answer = new Promise((resolve, reject) => {
      this.#asked.set(id, { resolve, reject });
    });
    answer.catch(() => {});
    return answer;
  }
}

/** Processes that share a prefix, and the changes published under it. */
export class FaultGroup {
  /** @type {{ at: number, user: string, status: string }[]} */
  changes = [];
  /** @type {FaultNode[]} */
  nodes = [];

  /**
   * @param {FaultServer} server
   * @param {string} prefix
   * @param {number} lease
   * @param {number} [port] port that the processes connect to, if not the server's
   */
  constructor(server, prefix, lease, port = server.port) {
    this.server = server;
    this.prefix = prefix;
    this.lease = lease;
    this.port = port;
    this.base = `{${prefix}:0}`;
    this.subscriber = server.peers.length > 0 ? this.#listenToCluster() : this.listen(server);
  }

  /** On a Cluster the changes are on many sharded channels: a service that owns no socket receives them. */
  #listenToCluster() {
    const redis = new Cluster([{ host: '127.0.0.1', port: this.server.port }]);
    redis.on('error', () => {});
    const { prefix, lease } = this;
    const presence = new PresenceService({ redis, prefix, lease, onError: () => {} });
    this.listening = presence.subscribe(({ userId, status }) => {
      this.changes.push({ at: performance.now(), user: userId, status });
    });
    return {
      disconnect: () => {
        presence
          .close()
          .catch(() => {})
          .finally(() => redis.disconnect());
      },
    };
  }

  /** @param {FaultServer} server */
  listen(server) {
    const subscriber = new Redis({
      host: '127.0.0.1',
      port: server.port,
      retryStrategy: () => 20,
      maxRetriesPerRequest: null,
    });
    subscriber.on('error', () => {});
    subscriber.subscribe(`${this.base}:events`).catch(() => {});
    subscriber.on('message', (_, text) => {
      const at = performance.now();
      // An event that restores a lost record is not a change.
      for (const [user, status, previous] of JSON.parse(text)) {
        if (status !== previous) this.changes.push({ at, user, status });
      }
    });
    return subscriber;
  }

  /**
   * @param {number} count
   * @param {object} [options]
   */
  async start(count, options = {}) {
    const settings = { prefix: this.prefix, lease: this.lease, ...options };
    const cluster = this.server.peers.length > 0;
    await this.listening;
    const started = Array.from({ length: count }, () => new FaultNode(this.port, settings, cluster));
    this.nodes.push(...started);
    await Promise.all(started.map((node) => node.ready));
    return started;
  }

  /** Waits until every process has run for a lease: from then on it may report others as dead at once. */
  settle() {
    return pause(this.lease + this.lease / 2);
  }

  /** @param {string} [prefix] */
  offline(prefix = '') {
    return this.changes.filter(({ user, status }) => status === 'offline' && user.startsWith(prefix));
  }

  /**
   * Time at which the last of `count` users was announced with that status.
   *
   * @param {string} prefix
   * @param {string} status
   * @param {number} count
   * @param {number} [timeout]
   */
  async last(prefix, status, count, timeout) {
    const found = () =>
      this.changes.filter((change) => change.status === status && change.user.startsWith(prefix));
    await until(
      () => found().length >= count,
      `${count} users ${prefix}* ${status} in ${this.prefix}`,
      timeout,
    );
    return Math.max(...found().map(({ at }) => at));
  }

  online(control = this.server.control) {
    return control.scard(`${this.base}:online`);
  }

  async stop() {
    await Promise.all(this.nodes.map((node) => node.kill()));
    this.subscriber.disconnect();
  }
}

/**
 * @param {string} prefix
 * @param {number} count
 * @param {number} [from]
 */
export function users(prefix, count, from = 0) {
  return Array.from({ length: count }, (_, at) => `${prefix}${from + at}`);
}
