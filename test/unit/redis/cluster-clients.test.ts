import { EventEmitter } from 'node:events';
import { describe, expect, test } from 'vitest';
import type { ClusterClientAdapter } from '../../../src/redis/cluster-node.js';
import { IoredisCluster } from '../../../src/redis/ioredis-cluster.js';
import { NodeRedisCluster } from '../../../src/redis/node-redis-cluster.js';

// Covers what real servers on one machine do not show: mapped addresses and inherited options.

type Options = Record<string, unknown> & { socket?: Record<string, unknown> };

/** A client of one node, of either library, that records how it is duplicated. */
class FakeNode extends EventEmitter {
  readonly made: Options[] = [];
  isOpen = true;
  isReady = true;
  status = 'ready';
  last: FakeNode | undefined;

  constructor(readonly options: Options) {
    super();
  }
  duplicate(overrides: Options): FakeNode {
    this.made.push(overrides);
    this.last = new FakeNode({ ...this.options, ...overrides });
    return this.last;
  }
  withCommandOptions = () => this;
  destroy = () => {};
  disconnect = () => {};
}

const events: string[] = [];
const listener = {
  failed: (error: unknown) => void events.push(`failed ${(error as Error).message}`),
  ended: () => void events.push('ended'),
  message: () => {},
  withdrawn: () => {},
};

describe('a node-redis cluster', () => {
  class FakeCluster extends EventEmitter {
    isOpen = false;
    masters: object[] = [];
    nodeByAddress = new Map<string, { client?: FakeNode }>();
    slots = [];
    _options: Record<string, unknown> = {};
    fails: Error | undefined;
    readonly node = new FakeNode({
      username: 'me',
      readonly: true,
      pingInterval: 1_000,
      socket: { host: '10.0.0.1', port: 1, tls: true },
    });
    async connect() {
      this.isOpen = true;
      if (this.fails !== undefined) {
        this.isOpen = false;
        throw this.fails;
      }
      this.nodeByAddress.set('10.0.0.1:1', { client: this.node });
    }
    nodeClient = async () => this.node;
  }
  const make = (given: FakeCluster): ClusterClientAdapter =>
    new NodeRedisCluster(given as unknown as ConstructorParameters<typeof NodeRedisCluster>[0]);

  test('connections of the driver have the options of the cluster client', async () => {
    const given = new FakeCluster();
    const client = make(given);
    await client.connect();
    expect(client.addresses()).toEqual(['10.0.0.1:1']);
    client.open('fe80::2:7', listener);
    expect(given.node.made.pop()).toEqual({
      readonly: false,
      disableOfflineQueue: true,
      commandOptions: { typeMapping: {} },
      socket: { host: 'fe80::2', port: 7, tls: true, reconnectStrategy: false },
    });
    client.openPubSub('10.0.0.2:1', listener, true);
    expect(given.node.made.pop()).toMatchObject({ readonly: false, pingInterval: 0 });
    client.openPubSub('10.0.0.2:1', listener, false);
    expect(given.node.made.pop()).not.toHaveProperty('pingInterval');
  });

  test.each([
    ['an object', { '10.0.0.2:1': { host: 'outside', port: 9 } }],
    [
      'a function',
      (address: string) => (address === '10.0.0.2:1' ? { host: 'outside', port: 9 } : undefined),
    ],
  ])('the address map of the cluster client is applied when it is %s', async (_, nodeAddressMap) => {
    const given = new FakeCluster();
    given._options = { nodeAddressMap };
    const client = make(given);
    await client.connect();
    client.open('10.0.0.2:1', listener);
    expect(given.node.made.pop()?.socket).toMatchObject({ host: 'outside', port: 9 });
    client.open('10.0.0.3:1', listener);
    expect(given.node.made.pop()?.socket).toMatchObject({ host: '10.0.0.3', port: 1 });
  });

  test('a cluster client that cannot connect reports the reason', async () => {
    const given = new FakeCluster();
    given.fails = new Error('RootNodesUnavailable');
    await expect(make(given).connect()).rejects.toThrow('RootNodesUnavailable');
  });

  test('a connection for sharded channels ends on any unexpected event', async () => {
    const given = new FakeCluster();
    const client = make(given);
    await client.connect();
    events.length = 0;
    client.openPubSub('10.0.0.2:1', listener, true);
    given.node.last?.emit('sharded-channel-moved', 'x', {});
    expect(events.splice(0)).toEqual(['failed the slot of a sharded channel has moved', 'ended']);
    client.openPubSub('10.0.0.2:1', listener, true);
    given.node.last?.emit('error', new Error('undefined'));
    expect(events.splice(0)).toEqual(['failed undefined', 'ended']);
    client.openPubSub('10.0.0.2:1', listener, false);
    given.node.last?.emit('error', new Error('undefined'));
    expect(events.splice(0)).toEqual(['failed undefined']);
  });

  test('a cluster client keeps its own listeners when those of the driver are removed', () => {
    const given = new FakeCluster();
    const client = make(given);
    expect(given.listenerCount('error')).toBe(1);
    client.close();
    expect(given.listenerCount('error')).toBe(0);
  });
});

describe('an ioredis cluster', () => {
  class FakeCluster extends EventEmitter {
    isCluster = true;
    status = 'wait';
    fails: Error | undefined;
    nat: Record<string, { host: string; port: number }> = {};
    readonly node = new FakeNode({ host: '10.0.0.1', port: 1, username: 'me', readOnly: true });
    async connect() {
      this.status = this.fails === undefined ? 'ready' : 'end';
      if (this.fails !== undefined) throw this.fails;
    }
    nodes = () => (this.status === 'ready' ? [this.node] : []);
    natMapper = ({ host, port }: { host: string; port: number }) =>
      this.nat[`${host}:${port}`] ?? { host, port };
  }
  const make = (given: FakeCluster): ClusterClientAdapter =>
    new IoredisCluster(given as unknown as ConstructorParameters<typeof IoredisCluster>[0]);

  test('connections of the driver have the options and mapped addresses of the cluster client', async () => {
    const given = new FakeCluster();
    given.nat = { '10.0.0.2:1': { host: 'outside', port: 9 } };
    const client = make(given);
    await client.connect();
    expect(client.addresses()).toEqual(['10.0.0.1:1']);
    client.open('10.0.0.2:1', listener);
    const options = given.node.made.pop() as Options;
    expect(options).toMatchObject({
      host: 'outside',
      port: 9,
      readOnly: false,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
    });
    expect((options['retryStrategy'] as () => unknown)()).toBeNull();
    client.openPubSub('10.0.0.3:1', listener, true);
    expect(given.node.made.pop()).toMatchObject({ host: '10.0.0.3', port: 1, autoResubscribe: false });
  });

  test('a cluster client that stops reconnecting reports the reason', async () => {
    const given = new FakeCluster();
    given.fails = new Error('None of startup nodes is available');
    await expect(make(given).connect()).rejects.toThrow('None of startup nodes is available');
  });

  test('a connection for sharded channels ends on any unexpected event', async () => {
    const given = new FakeCluster();
    const client = make(given);
    await client.connect();
    events.length = 0;
    client.openPubSub('10.0.0.2:1', listener, true);
    given.node.last?.emit('moved');
    expect(events.splice(0)).toEqual(['failed the slot of a sharded channel has moved', 'ended']);
    client.openPubSub('10.0.0.2:1', listener, true);
    given.node.last?.emit('error', new Error('Command queue state error'));
    expect(events.splice(0)).toEqual(['failed Command queue state error', 'ended']);
  });
});
