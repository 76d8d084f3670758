import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type PresenceChange, PresenceService, type PresenceWatch, type RoomWatch } from '../../src/index.js';
import { PartitionKeys, partitionOf } from '../../src/presence/keys.js';
import { type ChaosDriver, createChaosDriver } from '../../src/testing/chaos-driver.js';
import { type Arbitrary, fc } from '../support/property.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

// Random days in the life of some nodes, against a model that knows only who ought to be where. At
// the end of each, readers, watchers and the model agree, whatever happened in between.

const LEASE = 500;
const USERS = ['ann', 'bob', 'cat', 'dan'];
const NODES = 3;

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

type Step =
  | { do: 'set'; node: number; user: number; socket: number; status: string }
  | { do: 'remove'; node: number; user: number; socket: number }
  | { do: 'join'; node: number; user: number; socket: number; info: number; grace: number }
  | { do: 'leave'; node: number; user: number; socket: number }
  | { do: 'together'; steps: Step[] }
  | { do: 'crash'; node: number }
  | { do: 'freeze'; node: number; long: boolean }
  | { do: 'lose reply'; node: number }
  | { do: 'wipe' }
  | { do: 'wipe part'; partition: number }
  | { do: 'evict'; seed: number }
  | { do: 'refuse'; node: number; user: number; long: boolean }
  | { do: 'clock back' }
  | { do: 'kick'; node: number; by: number; user: number; socket: number }
  | { do: 'late start'; long: boolean }
  | { do: 'other format'; user: number }
  | { do: 'reload'; node: number; other: number; user: number; socket: number; grace: number }
  | { do: 'lose key'; user: number; key: 'due' | 'record' | 'entries' | 'index' };

const node = fc.nat(NODES - 1);
const user = fc.nat(USERS.length - 1);
const socket = fc.nat(1);
/** Of a membership, in ms. */
const grace = fc.constantFrom(0, 0, 300, 1_000);
const call: Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('set' as const),
      node,
      user,
      socket,
      status: fc.constantFrom('online', 'away', 'busy'),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('remove' as const), node, user, socket }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('join' as const), node, user, socket, info: fc.nat(2), grace }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('leave' as const), node, user, socket }) },
);
const step: Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: call },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('together' as const),
      steps: fc.array(call, { minLength: 2, maxLength: 6 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const), node }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('freeze' as const), node, long: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('lose reply' as const), node }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('wipe' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('wipe part' as const), partition: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('evict' as const), seed: fc.nat(1_000) }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('refuse' as const), node, user, long: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('clock back' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('kick' as const), node, by: node, user, socket }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('late start' as const),
      long: fc.integer({ min: 0, max: 3 }).map((n) => n === 0),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('other format' as const), user }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('reload' as const), node, other: node, user, socket, grace }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('lose key' as const),
      user,
      key: fc.constantFrom('due', 'due', 'record', 'entries', 'index'),
    }),
  },
);

/** A node and its wire, which can be cut. */
interface Node {
  service: PresenceService;
  driver: ChaosDriver;
  redis: Redis;
}

const DELETE_ALL = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end";

/** What a step back by an hour makes of the leases: they end an hour too late. */
const STEP_BACK = `for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local leases = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for at = 1, #leases, 2 do
    if tonumber(leases[at + 1]) > 0 then redis.call('ZINCRBY', key, 3600000, leases[at]) end
  end
end`;

/** Keys live for this long, in ms; each is looked at twice in that time. */
const KEY_TTL = 4_500;

let runs = 0;

async function pass(ms: number): Promise<void> {
  const end = performance.now() + ms;
  await waitFor(() => performance.now() > end, { timeout: ms + 10_000 });
}

class Model {
  readonly prefix = `model-${++runs}`;
  readonly nodes: Node[] = [];
  /** node, user and socket → status: all there is to know. */
  readonly model = new Map<string, string>();
  /** node, user and socket: who is in the room. */
  readonly room = new Set<string>();
  readonly changes: PresenceChange[] = [];
  readonly received: PresenceChange[] = [];
  readonly #dead: Node[] = [];
  #fences = 0;
  observer!: Node;
  watch!: PresenceWatch;
  roomWatch!: RoomWatch;
  readonly inRoom = new Map<string, string>();
  /** Users who have left the room, in the order of the events. */
  readonly left: string[] = [];
  wiped = false;
  /** Something has happened by which a living user may rightly have been announced offline. */
  disturbed = false;

  constructor(
    readonly grace: number,
    readonly partitions: number,
  ) {}

  async begin(): Promise<void> {
    for (let at = 0; at < NODES; at++) this.nodes.push(this.#node());
    this.observer = this.#node();
    await this.observer.service.subscribe((change) => this.changes.push(change));
    this.watch = await this.observer.service.watch(USERS, (change) => this.received.push(change));
    this.roomWatch = await this.observer.service.watchRoom('lobby', ({ type, userId, sockets }) => {
      if (type === 'join') expect(this.inRoom.has(userId), `${userId} joins`).toBe(false);
      else expect(this.inRoom.has(userId), `${userId}: ${type}`).toBe(true);
      if (type === 'leave') this.left.push(userId);
      if (type === 'leave') this.inRoom.delete(userId);
      else this.inRoom.set(userId, String(sockets));
    });
  }

  #node(): Node {
    const redis = new Redis(server.port, { retryStrategy: () => 20 });
    const driver = createChaosDriver(redis);
    const { prefix, partitions, grace } = this;
    const times = { lease: LEASE, sweepInterval: 40, timeout: 2_000, grace, keyTtl: KEY_TTL };
    const service = new PresenceService({ redis: driver, prefix, partitions, nodeName: 'node', ...times });
    return { service, driver, redis };
  }

  #crash(at: number): void {
    const dying = this.nodes[at] as Node;
    dying.driver.cut();
    this.#dead.push(dying);
    for (const key of [...this.model.keys()]) if (key.startsWith(`${at} `)) this.model.delete(key);
    for (const key of this.room) if (key.startsWith(`${at} `)) this.room.delete(key);
  }

  async take(one: Step): Promise<void> {
    switch (one.do) {
      case 'set': {
        const { service } = this.nodes[one.node] as Node;
        this.model.set(`${one.node} ${one.user} ${one.socket}`, one.status);
        // A socket is one connection, of one node: ids of different nodes differ.
        await service.setPresence(USERS[one.user] as string, `${one.node}-${one.socket}`, one.status);
        return;
      }
      case 'remove': {
        const { service } = this.nodes[one.node] as Node;
        this.model.delete(`${one.node} ${one.user} ${one.socket}`);
        this.room.delete(`${one.node} ${one.user} ${one.socket}`);
        await service.removeSocket(USERS[one.user] as string, `${one.node}-${one.socket}`);
        return;
      }
      case 'join': {
        const { service } = this.nodes[one.node] as Node;
        this.room.add(`${one.node} ${one.user} ${one.socket}`);
        const { info, grace } = one;
        await service.join('lobby', USERS[one.user] as string, `${one.node}-${one.socket}`, info, { grace });
        return;
      }
      case 'leave': {
        const { service } = this.nodes[one.node] as Node;
        this.room.delete(`${one.node} ${one.user} ${one.socket}`);
        await service.leave('lobby', USERS[one.user] as string, `${one.node}-${one.socket}`);
        return;
      }
      case 'together':
        await Promise.all(one.steps.map((each) => this.take(each)));
        return;
      case 'crash':
        this.#crash(one.node);
        this.nodes[one.node] = this.#node();
        return;
      case 'freeze': {
        const { driver } = this.nodes[one.node] as Node;
        this.disturbed = true;
        driver.cut();
        await pass(one.long ? 2.2 * LEASE : 0.3 * LEASE);
        driver.restore();
        return;
      }
      case 'lose reply':
        (this.nodes[one.node] as Node).driver.failNext('reply-lost', 2);
        return;
      case 'wipe':
        this.wiped = true;
        await server.cli('FLUSHALL');
        return;
      case 'wipe part': {
        // A shard of a Cluster that comes back empty.
        this.wiped = true;
        const all = `{${this.prefix}:${one.partition % this.partitions}}:*`;
        await server.cli('EVAL', DELETE_ALL, '0', all);
        return;
      }
      case 'evict': {
        this.wiped = true;
        // Nobody restores what a dead node owned: its users go offline before.
        await this.agreed();
        // In an order that a repeated seed meets again.
        const keys = (await server.cli('KEYS', `{${this.prefix}:*`)).split('\n').filter(Boolean).sort();
        // A lost layout or lease shows a wipe.
        const evicted = keys.filter(
          (key, at) => !/:(layout|nodes)$/.test(key) && (((at + 1) * (one.seed + 7)) % 5) % 2 === 0,
        );
        if (evicted.length > 0) await server.cli('DEL', ...evicted);
        // What is lost with its owner is not announced, and an owner set that is lost leads no reaper to what it listed.
        await this.agreed();
        await pass(1.2 * LEASE);
        return;
      }
      case 'refuse': {
        const from = this.changes.length;
        const online = USERS.filter((_, index) => !this.expected(index).startsWith('offline'));
        await server.cli('CONFIG', 'SET', 'min-replicas-to-write', '1');
        try {
          const { service } = this.nodes[one.node] as Node;
          const refused = service.setPresence(USERS[one.user] as string, `${one.node}-refused`);
          await expect(refused).rejects.toThrow();
          await pass(one.long ? 2.2 * LEASE : 0.3 * LEASE);
        } finally {
          await server.cli('CONFIG', 'SET', 'min-replicas-to-write', '0');
        }
        if (!one.long || this.disturbed || this.wiped) return;
        await pass(1.5 * LEASE);
        const gone = this.changes.slice(from).filter(({ status }) => status === 'offline');
        expect(gone.filter(({ userId }) => online.includes(userId))).toEqual([]);
        return;
      }
      case 'clock back':
        await server.cli('EVAL', STEP_BACK, '0', `{${this.prefix}:*:nodes`);
        return;
      case 'kick': {
        const { service } = this.nodes[one.by] as Node;
        const key = `${one.node} ${one.user} ${one.socket}`;
        this.model.delete(key);
        if (one.by !== one.node) {
          // A socket that is only in a room is its owner's to remove.
          await this.take({ do: 'leave', node: one.node, user: one.user, socket: one.socket });
        }
        this.room.delete(`${one.node} ${one.user} ${one.socket}`);
        await service.removeSocket(USERS[one.user] as string, `${one.node}-${one.socket}`);
        return;
      }
      case 'late start':
        // Records may expire meanwhile, and with them what their users were.
        this.wiped = true;
        for (let at = 0; at < NODES; at++) this.#crash(at);
        await pass(one.long ? KEY_TTL + LEASE : 2.5 * LEASE);
        for (let at = 0; at < NODES; at++) this.nodes[at] = this.#node();
        return;
      case 'reload':
        await this.#reload(one);
        return;
      case 'lose key': {
        this.wiped = true;
        const name = USERS[one.user] as string;
        const keys = new PartitionKeys(this.prefix, partitionOf(name, this.partitions));
        const names = {
          due: keys.due,
          record: keys.user(name),
          entries: keys.sockets(name),
          index: keys.online,
        };
        await server.cli('DEL', names[one.key]);
        return;
      }
      case 'other format': {
        // Only of a user who is offline: the owners of the others' records would not look at them.
        if (!this.expected(one.user).startsWith('offline')) return;
        this.wiped = true;
        const name = USERS[one.user] as string;
        // A watch keeps what it knows of a user while their record cannot be read: also of one who died in a wipe.
        const isOffline = () => (this.watch.current().get(name)?.status ?? 'offline') === 'offline';
        await waitFor(isOffline, { timeout: 12_000 });
        const key = new PartitionKeys(this.prefix, partitionOf(name, this.partitions)).user(name);
        await server.cli('SET', key, '9|offline|17', 'PX', '60000');
      }
    }
  }

  /** A user leaves and comes back on some node. In time for their graces, nobody was told. */
  async #reload({ node, other, user, socket, grace }: Extract<Step, { do: 'reload' }>): Promise<void> {
    const name = USERS[user] as string;
    const come = async (at: number) => {
      await this.take({ do: 'set', node: at, user, socket, status: 'online' });
      await this.take({ do: 'join', node: at, user, socket, info: 1, grace });
    };
    await come(node);
    await this.#fence();
    const [changed, left] = [this.changes.length, this.left.length];
    const from = performance.now();
    await this.take({ do: 'remove', node, user, socket });
    await come(other);
    const took = performance.now() - from;
    await this.#fence();
    if (this.wiped || this.disturbed) return;
    if (took < this.grace) {
      const since = this.changes.slice(changed).filter(({ userId }) => userId === name);
      expect(since.map(({ status }) => status)).not.toContain('offline');
    }
    if (took < grace) expect(this.left.slice(left)).not.toContain(name);
  }

  /** The observer has received all that was published before. */
  async #fence(): Promise<void> {
    const name = `fence-${++this.#fences}`;
    const { service } = this.observer;
    await service.setPresence(name, 's');
    await service.removeSocket(name, 's', { immediate: true });
    await waitFor(() => this.changes.some(({ userId, status }) => userId === name && status === 'offline'));
  }

  /** What ought to be known of a user, as one line. */
  expected(index: number): string {
    const own = [...this.model].filter(([key]) => key.split(' ')[1] === String(index));
    const statuses = own.map(([, status]) => status);
    const status = ['busy', 'online', 'away'].find((one) => statuses.includes(one)) ?? 'offline';
    const sockets = own.map(([key]) => `${key.split(' ')[0]}-${key.split(' ')[2]}`);
    return `${status} ${sockets.sort().join(',')}`;
  }

  /** How many sockets of each user ought to be in the room. */
  expectedRoom(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const key of this.room) {
      const name = USERS[Number(key.split(' ')[1])] as string;
      counts[name] = (counts[name] ?? 0) + 1;
    }
    return counts;
  }

  async agreed(): Promise<void> {
    const { service } = this.observer;
    const wanted = USERS.map((_, index) => this.expected(index));
    let found: string[] = [];
    await waitFor(
      async () => {
        const data = await service.getMultiplePresence(USERS);
        found = USERS.map((name) => {
          const one = data.get(name);
          return `${one?.status ?? 'offline'} ${[...(one?.socketIds ?? [])].sort().join(',')}`;
        });
        const watched = USERS.map((name) => this.watch.current().get(name)?.status ?? 'offline');
        expect(found).toEqual(wanted);
        expect(watched).toEqual(wanted.map((line) => line.split(' ')[0]));
        const room = this.expectedRoom();
        const members = (await service.getRoomMembers('lobby')).map(
          (one) => [one.userId, one.sockets] as const,
        );
        expect(Object.fromEntries(members)).toEqual(room);
        const seen = [...this.roomWatch.current().values()].map((one) => [one.userId, one.sockets] as const);
        expect(Object.fromEntries(seen), 'the room as watched').toEqual(room);
        expect([...this.inRoom.keys()].sort(), 'the room as reported').toEqual(Object.keys(room).sort());
        return true;
      },
      {
        timeout: 12_000,
        interval: 25,
        message: () => `${JSON.stringify(found)} to become ${JSON.stringify(wanted)}`,
      },
    );
    const online = USERS.filter((_, index) => !(wanted[index] as string).startsWith('offline'));
    await waitFor(
      async () => {
        const listed: string[] = [];
        for await (const name of service.listOnlineUsers()) listed.push(name);
        expect(listed.sort()).toEqual(online);
        expect(await service.getOnlineCount()).toBe(online.length);
        return true;
      },
      { timeout: 12_000, interval: 25 },
    );
  }

  /** Each transition was published once: every change begins where the last one ended. */
  expectChain(): void {
    for (const name of USERS) {
      let status = 'offline';
      let version = 0;
      for (const change of this.changes.filter(({ userId }) => userId === name)) {
        expect(change.version).toBeGreaterThan(version);
        expect(change.status).not.toBe(change.previous);
        // A wipe takes the record of what was before with it.
        if (!this.wiped) expect(change.previous).toBe(status);
        ({ status, version } = change);
      }
      const reported = this.received.filter(({ userId }) => userId === name);
      reported.reduce((before, change) => {
        expect(change.previous).toBe(before);
        return change.status;
      }, 'offline');
    }
  }

  async end(): Promise<void> {
    for (const { driver } of this.#dead) driver.restore();
    const all = [...this.nodes, ...this.#dead, this.observer];
    await Promise.all(all.map(({ service }) => service.close()));
    for (const { redis } of all) redis.disconnect();
  }
}

test('readers, watchers and the model agree after any sequence of commands', {
  timeout: Math.max(600_000, 20_000 * Number(process.env['FC_RUNS'] ?? 0)),
}, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(0, 0, 250, 1_000),
      fc.constantFrom(1, 1, 3),
      fc.array(step, { minLength: 4, maxLength: 16 }),
      async (grace, partitions, steps) => {
        const fixture = new Model(grace, partitions);
        await fixture.begin();
        try {
          for (const one of steps) await fixture.take(one);
          await fixture.agreed();
          fixture.expectChain();
        } finally {
          await fixture.end();
        }
      },
    ),
    { numRuns: 25, endOnFailure: true },
  );
});
