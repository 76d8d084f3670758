import type { EventEmitter } from 'node:events';
import { Redis as Ioredis, Cluster as IoredisCluster } from 'ioredis';
import { createCluster, createSentinel } from 'redis';
import { expect, test } from 'vitest';
import {
  type PresenceChange,
  PresenceService,
  type PresenceWatch,
  type RedisClient,
} from '../../src/index.js';
import { PartitionKeys, partitionOf } from '../../src/presence/keys.js';
import { period, timeLimit } from '../support/machine.js';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.js';
import { startRedisSentinel } from '../support/redis-sentinel.js';
import { waitFor } from '../support/wait.js';

// Presence under way while masters are killed, frozen, replaced and relieved of slots: when it is calm
// again, readers, watchers and the model agree, whatever was lost on the way.

const LEASE = period(5_000);
const USERS = Array.from({ length: 40 }, (_, at) => `user-${at}`);
const STATUSES = ['online', 'away', 'busy'];
const host = '127.0.0.1';

interface TopologyFixture {
  readonly clients: Readonly<Record<string, () => { client: RedisClient; end: () => unknown }>>;
  /** One after the other, each until all is well again. */
  readonly faults: Readonly<Record<string, () => Promise<unknown>>>;
  stop(): Promise<void>;
}

/** Lets some time pass for the churn to go on in. */
async function awhile(ms: number): Promise<void> {
  const end = performance.now() + ms;
  await waitFor(() => performance.now() > end, { timeout: ms + 5_000 });
}

async function onCluster(): Promise<TopologyFixture & { readonly cluster: RedisCluster }> {
  const cluster = await startRedisCluster({ masters: 3, replicas: 1 });
  const some = async () => (await cluster.masters())[0] as number;
  const rootNodes = cluster.ports.map((port) => ({ socket: { host, port } }));
  return {
    cluster,
    clients: {
      'node-redis': () => {
        const client = createCluster({ rootNodes, defaults: { socket: { reconnectStrategy: 50 } } });
        return { client, end: () => client.destroy() };
      },
      ioredis: () => {
        const client = new IoredisCluster(cluster.ports.map((port) => ({ host, port })));
        return { client, end: () => client.disconnect() };
      },
    },
    faults: {
      'a master is killed': async () => {
        const port = await some();
        await cluster.kill(port);
        await waitFor(async () => !(await cluster.masters()).includes(port), { timeout: 20_000 });
        await awhile(1_000);
        await cluster.restart(port);
        await cluster.waitUntilOk();
      },
      'a replica is promoted': async () => {
        const [replica] = await cluster.replicas();
        await cluster.failover(replica as number);
        await cluster.waitUntilOk();
      },
      'slots move': async () => {
        const [from, to] = (await cluster.masters()) as [number, number];
        const slots = Array.from({ length: 64 }, (_, partition) => cluster.slotOf(`{churn:${partition}}`));
        const own: number[] = [];
        for (const slot of slots) if ((await cluster.nodeOf(slot)) === from) own.push(slot);
        await cluster.moveSlots(own.slice(0, 5), from, to);
        await cluster.waitUntilOk();
      },
      'a master is frozen': async () => {
        const port = await some();
        cluster.freeze(port);
        await waitFor(async () => !(await cluster.masters()).includes(port), { timeout: 20_000 });
        await awhile(1_000);
        cluster.resume(port);
        await cluster.waitUntilOk();
      },
    },
    stop: () => cluster.stop(),
  };
}

async function underSentinel(): Promise<TopologyFixture> {
  const fixture = await startRedisSentinel({ replicas: 2, sentinels: 3 });
  const sentinels = fixture.sentinels.map((port) => ({ host, port }));
  return {
    clients: {
      'node-redis': () => {
        const client = createSentinel({ name: fixture.name, sentinelRootNodes: sentinels });
        return { client, end: () => client.destroy() };
      },
      ioredis: () => {
        const client = new Ioredis({ sentinels, name: fixture.name, failoverDetector: true });
        return { client, end: () => client.disconnect() };
      },
    },
    faults: {
      'the master is killed': async () => {
        const port = await fixture.master();
        await fixture.kill(port);
        await fixture.waitForMaster(port, 20_000);
        await awhile(1_000);
        await fixture.restart(port);
        await fixture.waitUntilOk();
      },
      'the master is frozen': async () => {
        const port = await fixture.master();
        fixture.freeze(port);
        await fixture.waitForMaster(port, 20_000);
        await awhile(1_000);
        fixture.resume(port);
        await fixture.waitUntilOk();
      },
    },
    stop: () => fixture.stop(),
  };
}

/** Makes a call until it succeeds, as a fault may take longer than its deadline. */
async function insist(call: () => Promise<unknown>): Promise<void> {
  const attempt = () => call().then(() => true);
  await waitFor(attempt, { timeout: 20_000, interval: 100 });
}

/** A process that registers and removes sockets of its own all the time. */
class Churn {
  /** Its own sockets, by user and socket: what ought to be. */
  readonly model = new Map<string, string>();
  calls = 0;
  failed = 0;
  #going = true;
  #done: Promise<void> | undefined;

  constructor(
    readonly service: PresenceService,
    readonly name: string,
  ) {}

  start(): void {
    this.#done = this.#go();
  }

  async stop(): Promise<void> {
    this.#going = false;
    await this.#done;
  }

  async #go(): Promise<void> {
    for (let turn = 0; this.#going; turn++) {
      const any = (count: number) => Math.floor(Math.random() * count);
      const user = USERS[any(USERS.length)] as string;
      // Half of the time he goes, so that most users come and go all the time.
      const status = any(2) === 0 ? undefined : (STATUSES[any(3)] as string);
      await this.#until(user, `${this.name}-${any(2)}`, status);
      if (turn % 20 === 0) await awhile(5);
    }
  }

  /** A call whose outcome a fault leaves unknown is repeated: calls are idempotent. */
  async #until(user: string, socket: string, status: string | undefined): Promise<void> {
    const key = `${user} ${socket}`;
    for (;;) {
      try {
        this.calls++;
        if (status === undefined) await this.service.removeSocket(user, socket);
        else await this.service.setPresence(user, socket, status);
        if (status === undefined) this.model.delete(key);
        else this.model.set(key, status);
        return;
      } catch (error) {
        expect((error as Error).name).toMatch(/^(TimeoutError|ConnectionError|CommandError)$/);
        this.failed++;
        await awhile(50);
      }
    }
  }
}

function expected(churns: readonly Churn[]): string[] {
  return USERS.map((user) => {
    const own = churns.flatMap(({ model }) => [...model].filter(([key]) => key.startsWith(`${user} `)));
    const statuses = own.map(([, status]) => status);
    const status = ['busy', 'online', 'away'].find((each) => statuses.includes(each)) ?? 'offline';
    return `${user} ${status} ${own.map(([key]) => key.split(' ')[1]).sort()}`;
  });
}

async function agree(
  churns: readonly Churn[],
  observer: PresenceService,
  watch: PresenceWatch,
): Promise<void> {
  const wanted = expected(churns);
  let found: string[] = [];
  await waitFor(
    async () => {
      const data = await observer.getMultiplePresence(USERS);
      found = USERS.map((user) => {
        const one = data.get(user);
        return `${user} ${one?.status ?? 'offline'} ${[...(one?.socketIds ?? [])].sort()}`;
      });
      expect(found).toEqual(wanted);
      const watched = USERS.map((user) => watch.current().get(user)?.status ?? 'offline');
      expect(watched).toEqual(wanted.map((line) => line.split(' ')[1]));
      expect(await observer.getOnlineCount()).toBe(
        wanted.filter((line) => !line.includes(' offline ')).length,
      );
      return true;
    },
    {
      timeout: 6 * LEASE,
      interval: 200,
      message: () => found.filter((line) => !wanted.includes(line)).join('; '),
    },
  );
}

test.each([
  ['a Cluster', onCluster],
  ['Sentinel', underSentinel],
] as const)(
  'on %s, through every fault: readers, watchers and the model agree',
  { timeout: timeLimit(180_000) },
  async (_, start) => {
    const fixture = await start();
    const ends: (() => unknown)[] = [];
    const serve = (library: string): PresenceService => {
      const { client, end } = (
        fixture.clients[library] as () => { client: RedisClient; end: () => unknown }
      )();
      // After rollcall has let go of a client, its errors are its owner's business again.
      (client as unknown as EventEmitter).on('error', () => {});
      ends.push(end);
      return new PresenceService({ redis: client, prefix: 'churn', lease: LEASE, sweepInterval: 250 });
    };
    const churns = ['node-redis', 'ioredis', 'node-redis'].map(
      (library, at) => new Churn(serve(library), `n${at}`),
    );
    const observers = [serve('ioredis'), serve('node-redis')];
    try {
      const received: PresenceChange[] = [];
      const watches = await Promise.all(
        observers.map((observer) => observer.watch(USERS, (change) => void received.push(change))),
      );
      for (const churn of churns) churn.start();
      await awhile(1_000);
      for (const [what, fault] of Object.entries(fixture.faults)) {
        const before = churns.reduce((sum, { calls }) => sum + calls, 0);
        await fault();
        await awhile(500);
        const after = churns.reduce((sum, { calls }) => sum + calls, 0);
        expect(after, what).toBeGreaterThan(before);
      }
      await Promise.all(churns.map((churn) => churn.stop()));
      for (const [at, observer] of observers.entries())
        await agree(churns, observer, watches[at] as PresenceWatch);
      const [calls, failed] = [
        churns.reduce((s, c) => s + c.calls, 0),
        churns.reduce((s, c) => s + c.failed, 0),
      ];
      console.log(`  ${calls} calls, ${failed} of them repeated, ${received.length} changes received`);
    } finally {
      await Promise.all(churns.map((churn) => churn.stop().catch(() => {})));
      await Promise.all(
        [...churns.map(({ service }) => service), ...observers].map((service) => service.close()),
      );
      for (const end of ends) await end();
      await fixture.stop();
    }
  },
);

test('watches of users and rooms are corrected after a frozen master publishes outdated changes', {
  timeout: timeLimit(120_000),
}, async () => {
  const fixture = await onCluster();
  const { cluster } = fixture;
  const ends: (() => unknown)[] = [];
  const serve = (library: string): PresenceService => {
    const { client, end } = (fixture.clients[library] as () => { client: RedisClient; end: () => unknown })();
    (client as unknown as EventEmitter).on('error', () => {});
    ends.push(end);
    return new PresenceService({ redis: client, prefix: 'zombie', lease: LEASE });
  };
  const [owner, ...observers] = ['ioredis', 'ioredis', 'node-redis'].map(serve) as [
    PresenceService,
    ...PresenceService[],
  ];
  try {
    const user = 'ann';
    const partition = partitionOf(user, 64);
    const rooms = Array.from({ length: 1_000 }, (_, at) => `room-${at}`);
    const room = rooms.find((each) => partitionOf(each, 64) === partition) as string;
    await owner.setPresence(user, 's', 'online');
    await owner.join(room, user, 's', 'first');
    const received: string[] = [];
    const watches = await Promise.all(
      observers.map(async (observer) => ({
        users: await observer.watch([user], ({ status }) => void received.push(status)),
        room: await observer.watchRoom(room, ({ type }) => void received.push(type)),
      })),
    );
    const announced: string[] = [];
    for (const observer of observers) await observer.subscribe(({ status }) => void announced.push(status));
    const shown = () =>
      watches.map((watch) => [
        watch.users.current().get(user)?.status,
        watch.room.current().get(user)?.info ?? 'nobody',
      ]);

    const master = await cluster.nodeOf(new PartitionKeys('zombie', partition).nodes);
    cluster.freeze(master);
    // It lies before the frozen master until that wakes; it is sent to its successor again.
    await insist(() => Promise.all([owner.setPresence(user, 's', 'away'), owner.leave(room, user, 's')]));
    await owner.setPresence(user, 's', 'busy');
    await owner.join(room, user, 's', 'second');
    const truth = observers.map(() => ['busy', 'second']);
    await waitFor(() => expect(shown()).toEqual(truth) ?? true, { timeout: 20_000 });
    // No subscriber is connected to the old master.
    await awhile(4_000);
    const before = received.length;
    announced.length = 0;

    cluster.resume(master);
    await waitFor(() => received.slice(before).includes('away') && received.slice(before).includes('leave'), {
      message: () => `no message from the old master: ${received.join()}`,
    });
    await cluster.waitUntilOk();
    await waitFor(() => expect(shown()).toEqual(truth) ?? true, { timeout: 2 * LEASE + 5_000 });
    // A subscription to all changes does not announce what the old master published.
    await owner.setPresence(user, 's', 'online');
    await waitFor(() => announced.filter((status) => status === 'online').length === observers.length);
    expect(announced).toEqual(['online', 'online']);
  } finally {
    await Promise.all([owner, ...observers].map((service) => service.close()));
    for (const end of ends) await end();
    await fixture.stop();
  }
});
