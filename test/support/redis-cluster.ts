import { randomInt } from 'node:crypto';
import { type RedisServer, startRedis } from './redis-server.js';
import { waitFor } from './wait.js';

const SETTLE_MS = 20_000;
const SLOTS = 16_384;

export interface RedisClusterOptions {
  /** How many masters (3). */
  masters?: number;
  /** How many replicas each of them has (1). */
  replicas?: number;
  /** `cluster-node-timeout` in ms (1500): after about twice that, a dead master is replaced. */
  nodeTimeout?: number;
  /** More arguments for each redis-server; a function is called for each one. */
  args?: string[] | (() => string[]);
}

/** Slots on their way from one master to another: reads and writes of them answer ASK and TRYAGAIN. */
export interface SlotMove {
  /** Moves these keys, or all that the slots hold now. */
  keys(...names: string[]): Promise<void>;
  /** Moves the remaining keys, and assigns the slots to their new owner. */
  finish(): Promise<void>;
}

export interface RedisCluster {
  /** Every node, the initial masters first, regardless of their current roles. */
  readonly ports: readonly number[];
  /** The masters that hold slots, as the nodes that answer see it. */
  masters(): Promise<number[]>;
  /** The replicas, all of them or those of one master. */
  replicas(master?: number): Promise<number[]>;
  /** The slot of a key or a sharded channel. */
  slotOf(key: string): number;
  /** The master that holds a key, or a slot. */
  nodeOf(keyOrSlot: string | number): Promise<number>;
  cli(port: number, ...args: string[]): Promise<string>;
  pid(port: number): number;
  kill(port: number): Promise<void>;
  /** Freezes the process. Connections stay open and receive no replies. */
  freeze(port: number): void;
  resume(port: number): void;
  /** A new process with the old one's node id, and without its data unless `args` ask for a file. */
  restart(port: number): Promise<void>;
  /** Makes a replica the master; `FORCE` and `TAKEOVER` work without the old one. */
  failover(replica: number, how?: 'FORCE' | 'TAKEOVER'): Promise<void>;
  /** Moves slots with the keys in them, as `redis-cli --cluster reshard` does. */
  moveSlots(slots: Iterable<number>, from: number, to: number): Promise<void>;
  /** Whether the servers can move slots by themselves: Valkey 9.0 and later. */
  canMigrateSlots(): Promise<boolean>;
  /** Has the servers move slots by CLUSTER MIGRATESLOTS, in one atomic step at its end. */
  migrateSlots(slots: Iterable<number>, from: number, to: number): Promise<void>;
  /** The same as `moveSlots` in steps, for what happens in between. */
  startMove(slots: Iterable<number>, from: number, to: number): Promise<SlotMove>;
  /**
   * Resolves once all nodes that are neither killed nor frozen agree that the cluster is well, that
   * every slot belongs to one of them, and the replicas have what was written before the call.
   */
  waitUntilOk(timeout?: number): Promise<void>;
  /** Ends all nodes. Safe to call twice, and with nodes that are dead or frozen. */
  stop(): Promise<void>;
}

/** Starts a Redis Cluster of its own on the loopback interface, and resolves once it is well. */
export async function startRedisCluster(options: RedisClusterOptions = {}): Promise<RedisCluster> {
  const { masters = 3, replicas = 1, nodeTimeout = 1_500, args = [] } = options;
  // biome-ignore format: one option a line reads better
  const nodeArgs = () => [
    '--cluster-enabled', 'yes',
    '--cluster-config-file', 'nodes.conf',
    '--cluster-node-timeout', String(nodeTimeout),
    '--cluster-announce-ip', '127.0.0.1',
    // A master without slots stays a master, and a replica keeps its master: tests define the roles.
    '--cluster-allow-replica-migration', 'no',
    // A replica may be promoted regardless of its last contact with the master.
    '--cluster-replica-validity-factor', '0',
    // A replica that was sent its copy directly hears of later writes only after up to a second.
    '--repl-diskless-sync', 'no',
    '--shutdown-timeout', '1',
    ...(typeof args === 'function' ? args() : args),
  ];
  const starts = Array.from({ length: masters * (1 + replicas) }, () => startNode(nodeArgs));
  const started = await Promise.allSettled(starts);
  const servers = started.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  const cluster = new Cluster(servers);
  try {
    for (const one of started) if (one.status === 'rejected') throw one.reason;
    await cluster.form(masters);
    return cluster;
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}

/** A node with a spare port for the cluster bus, for the usual one (+ 10000) may be anybody's. */
async function startNode(args: () => string[]): Promise<RedisServer> {
  for (let triesLeft = 5; ; triesLeft--) {
    const bus = randomInt(10_000, 20_000);
    try {
      return await startRedis({ args: [...args(), '--cluster-port', String(bus)] });
    } catch (error) {
      if (triesLeft <= 1 || !/in use/i.test(String(error))) throw error;
    }
  }
}

/** One line of CLUSTER NODES. */
interface NodeLine {
  id: string;
  port: number;
  bus: number;
  flags: string[];
  master: string;
  slots: [first: number, last: number][];
}

function parseNodes(text: string): NodeLine[] {
  return text
    .trim()
    .split('\n')
    .map((line) => {
      const [id = '', address = '', flags = '', master = '', , , , , ...ranges] = line.split(' ');
      const [, port, bus] = /:(\d+)@(\d+)/.exec(address) ?? [];
      const slots = ranges
        .filter((range) => !range.startsWith('['))
        .map((range) => range.split('-').map(Number))
        .map(([first = 0, last = first]): [number, number] => [first, last]);
      return { id, port: Number(port), bus: Number(bus), flags: flags.split(','), master, slots };
    });
}

/** The owners of the slots and the masters of the replicas as text, to compare the views of two nodes. */
const mapOf = (nodes: NodeLine[]): string =>
  nodes
    .map((node) => `${node.port} ${node.master} ${node.slots.join(' ')}`)
    .sort()
    .join('\n');

class Cluster implements RedisCluster {
  readonly ports: readonly number[];
  readonly #servers: ReadonlyMap<number, RedisServer>;
  /** Those that were killed or frozen. */
  readonly #down = new Set<number>();

  constructor(servers: readonly RedisServer[]) {
    this.#servers = new Map(servers.map((server) => [server.port, server]));
    this.ports = servers.map((server) => server.port);
  }

  /** Makes one cluster of nodes that do not know each other. */
  async form(count: number): Promise<void> {
    const masters = this.ports.slice(0, count);
    const first = masters[0] as number;
    for (const [index, port] of masters.entries()) {
      const from = Math.floor((index * SLOTS) / count);
      const to = Math.floor(((index + 1) * SLOTS) / count) - 1;
      await this.cli(port, 'CLUSTER', 'ADDSLOTSRANGE', String(from), String(to));
      await this.cli(port, 'CLUSTER', 'SET-CONFIG-EPOCH', String(index + 1));
    }
    for (const port of this.ports.slice(1)) {
      const { bus } = await this.#self(port);
      await this.cli(first, 'CLUSTER', 'MEET', '127.0.0.1', String(port), String(bus));
    }
    await this.#everywhere('all nodes to know each other', async (port) => {
      const nodes = await this.#nodes(port);
      return nodes.filter((node) => !node.flags.includes('handshake')).length === this.ports.length;
    });
    for (const [index, port] of this.ports.slice(count).entries()) {
      const { id } = await this.#self(masters[index % count] as number);
      await this.cli(port, 'CLUSTER', 'REPLICATE', id);
    }
    await this.waitUntilOk();
  }

  async masters(): Promise<number[]> {
    const nodes = await this.#nodes();
    return nodes
      .filter((node) => node.slots.length > 0)
      .sort((a, b) => (a.slots[0]?.[0] ?? 0) - (b.slots[0]?.[0] ?? 0))
      .map((node) => node.port);
  }

  async replicas(master?: number): Promise<number[]> {
    const nodes = await this.#nodes();
    const id = nodes.find((node) => node.port === master)?.id;
    return nodes
      .filter((node) => node.flags.includes('slave') && (master === undefined || node.master === id))
      .map((node) => node.port);
  }

  slotOf(key: string): number {
    return slotOf(key);
  }

  async nodeOf(keyOrSlot: string | number): Promise<number> {
    const slot = typeof keyOrSlot === 'string' ? slotOf(keyOrSlot) : keyOrSlot;
    const nodes = await this.#nodes();
    const owner = nodes.find((node) => node.slots.some(([first, last]) => first <= slot && slot <= last));
    if (owner === undefined) throw new Error(`no node has slot ${slot}`);
    return owner.port;
  }

  cli(port: number, ...args: string[]): Promise<string> {
    return this.#server(port).cli(...args);
  }

  pid(port: number): number {
    return this.#server(port).pid;
  }

  async kill(port: number): Promise<void> {
    this.#down.add(port);
    await this.#server(port).kill();
  }

  freeze(port: number): void {
    this.#down.add(port);
    this.#server(port).freeze();
  }

  resume(port: number): void {
    this.#server(port).thaw();
    this.#down.delete(port);
  }

  async restart(port: number): Promise<void> {
    await this.#server(port).restart();
    this.#down.delete(port);
  }

  async failover(replica: number, how?: 'FORCE' | 'TAKEOVER'): Promise<void> {
    const ask = () => this.cli(replica, 'CLUSTER', 'FAILOVER', ...(how === undefined ? [] : [how]));
    await ask();
    // A replica that has not caught up gives up after 5 s; one that is master by now refuses.
    const again = setInterval(() => ask().catch(() => {}), 6_000);
    try {
      await this.#everywhere(`the failover to ${replica}`, async (port) => {
        const nodes = await this.#nodes(port);
        return nodes.some((node) => node.port === replica && node.slots.length > 0);
      });
    } finally {
      clearInterval(again);
    }
  }

  async moveSlots(slots: Iterable<number>, from: number, to: number): Promise<void> {
    const move = await this.startMove(slots, from, to);
    await move.finish();
  }

  async canMigrateSlots(): Promise<boolean> {
    return (await this.cli(this.ports[0] as number, 'CLUSTER', 'HELP')).includes('MIGRATESLOTS');
  }

  async migrateSlots(slots: Iterable<number>, from: number, to: number): Promise<void> {
    const moving = [...slots];
    const { id } = await this.#self(to);
    const ranges = moving.flatMap((slot) => ['SLOTSRANGE', String(slot), String(slot), 'NODE', id]);
    await this.cli(from, 'CLUSTER', 'MIGRATESLOTS', ...ranges);
    await this.#untilOwned(moving, from, to);
  }

  async startMove(slots: Iterable<number>, from: number, to: number): Promise<SlotMove> {
    const moving = [...slots];
    const source = await this.#self(from);
    const target = await this.#self(to);
    const migrate = async (keys: string[]): Promise<void> => {
      if (keys.length === 0) return;
      await this.cli(from, 'MIGRATE', '127.0.0.1', String(to), '', '0', '5000', 'KEYS', ...keys);
    };
    const migrateAll = async (): Promise<void> => {
      for (const slot of moving) {
        for (;;) {
          // One key a line: good for keys without line breaks, which is for the test to see to.
          const keys = await this.cli(from, 'CLUSTER', 'GETKEYSINSLOT', String(slot), '100');
          if (keys === '') break;
          await migrate(keys.split('\n'));
        }
      }
    };
    for (const slot of moving) {
      await this.cli(to, 'CLUSTER', 'SETSLOT', String(slot), 'IMPORTING', source.id);
      await this.cli(from, 'CLUSTER', 'SETSLOT', String(slot), 'MIGRATING', target.id);
    }
    return {
      keys: (...names) => (names.length > 0 ? migrate(names) : migrateAll()),
      finish: async () => {
        await migrateAll();
        for (const slot of moving) {
          // The new owner first, so that no moment passes in which each sends clients to the other.
          for (const port of [to, from]) {
            await this.cli(port, 'CLUSTER', 'SETSLOT', String(slot), 'NODE', target.id);
          }
        }
        await this.#untilOwned(moving, from, to);
      },
    };
  }

  async waitUntilOk(timeout = SETTLE_MS): Promise<void> {
    await this.#agreed(
      'the cluster to be well',
      (nodes) => {
        const owners = nodes.filter((node) => node.slots.length > 0);
        const covered = owners.flatMap((node) => node.slots).reduce((sum, [a, b]) => sum + b - a + 1, 0);
        return covered === SLOTS && owners.every((node) => !this.#down.has(node.port));
      },
      timeout,
    );
    const what = 'the nodes to be well and the replicas to have every write';
    await waitFor(async () => (await this.#well()) && (await this.#replicated()), {
      timeout,
      interval: 50,
      message: what,
    });
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#servers.values()].map((server) => server.stop()));
  }

  #server(port: number): RedisServer {
    const server = this.#servers.get(port);
    if (server === undefined) throw new Error(`no node of this cluster listens on ${port}`);
    return server;
  }

  #living(): number[] {
    return this.ports.filter((port) => !this.#down.has(port));
  }

  async #nodes(port = this.#living()[0] as number): Promise<NodeLine[]> {
    return parseNodes(await this.cli(port, 'CLUSTER', 'NODES'));
  }

  async #self(port: number): Promise<NodeLine> {
    const nodes = await this.#nodes(port);
    return nodes.find((node) => node.flags.includes('myself')) as NodeLine;
  }

  async #well(): Promise<boolean> {
    const infos = await Promise.all(this.#living().map((port) => this.cli(port, 'CLUSTER', 'INFO')));
    return infos.every((info) => info.includes('cluster_state:ok'));
  }

  /** Whether the living replicas have what their masters had written when this was called. */
  async #replicated(): Promise<boolean> {
    const field = (info: string, name: string) => new RegExp(`^${name}:(.*)\\r$`, 'm').exec(info)?.[1] ?? '';
    const ask = () => Promise.all(this.#living().map((port) => this.cli(port, 'INFO', 'replication')));
    const written = new Map<string, number>();
    for (const [at, info] of (await ask()).entries()) {
      written.set(String(this.#living()[at]), Number(field(info, 'master_repl_offset')));
    }
    return (await ask())
      .filter((info) => field(info, 'role') === 'slave')
      .every(
        (info) =>
          field(info, 'master_link_status') === 'up' &&
          Number(field(info, 'slave_repl_offset')) >= (written.get(field(info, 'master_port')) ?? 0),
      );
  }

  async #untilOwned(slots: readonly number[], from: number, to: number): Promise<void> {
    await this.#agreed(`${to} to have what ${from} had`, (nodes) => {
      const owned = nodes.find((node) => node.port === to)?.slots ?? [];
      return slots.every((slot) => owned.some(([first, last]) => first <= slot && slot <= last));
    });
  }

  #everywhere(
    what: string,
    holds: (port: number) => Promise<boolean>,
    timeout = SETTLE_MS,
  ): Promise<boolean> {
    const all = async () => (await Promise.all(this.#living().map(holds))).every(Boolean);
    return waitFor(all, { timeout, interval: 50, message: what });
  }

  /** Waits until all nodes agree on slots and roles, and `holds` returns true. */
  #agreed(what: string, holds: (nodes: NodeLine[]) => boolean, timeout = SETTLE_MS): Promise<boolean> {
    const agree = async () => {
      const views = await Promise.all(this.#living().map((port) => this.#nodes(port)));
      // The former role of a node that is down is unknown.
      const living = views.map((nodes) => mapOf(nodes.filter((node) => !this.#down.has(node.port))));
      return new Set(living).size === 1 && views.every(holds);
    };
    return waitFor(agree, { timeout, interval: 50, message: what });
  }
}

/** The slot of a key: CRC16 (XMODEM) of its hash tag, or of all of it. */
function slotOf(key: string): number {
  const open = key.indexOf('{');
  const close = key.indexOf('}', open + 1);
  const tagged = open !== -1 && close > open + 1 ? key.slice(open + 1, close) : key;
  let crc = 0;
  for (const byte of Buffer.from(tagged)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
    crc &= 0xffff;
  }
  return crc % SLOTS;
}
