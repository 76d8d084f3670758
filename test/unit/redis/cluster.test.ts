import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { systemClock } from '../../../src/internal/clock.js';
import { jsonCodec } from '../../../src/internal/codec.js';
import { ErrorReporter } from '../../../src/internal/diagnostics.js';
import { ConnectionError } from '../../../src/internal/errors.js';
import { HandlerSubscription } from '../../../src/pubsub/handler-subscription.js';
import { ServiceContext } from '../../../src/pubsub/service-context.js';
import { subscriptionManagerFor } from '../../../src/pubsub/subscription-manager.js';
import { SharedClient } from '../../../src/redis/client-handle.js';
import { ClusterDriver } from '../../../src/redis/cluster.js';
import type {
  ClusterClientAdapter,
  CommandConnection,
  CommandConnectionListener,
} from '../../../src/redis/cluster-node.js';
import { SLOTS, slotOf } from '../../../src/redis/cluster-slots.js';
import type { PlainCommand, Reply } from '../../../src/redis/driver.js';
import type { PubSubConnection, PubSubConnectionListener } from '../../../src/redis/subscriber.js';

// Three fake masters reproduce states that a real cluster is in only briefly.

type Answer = (command: PlainCommand) => Reply;

class FakeNode {
  /** Every command that ran or was refused, without the driver's own commands. */
  readonly log: string[] = [];
  readonly connections = new Set<CommandConnectionListener>();
  readonly pubSubConnections: FakePubSubConnection[] = [];
  /** Number of connection attempts. */
  attempts = 0;
  asked = 0;
  up = true;
  frozen = false;
  /** Whether subscriptions stay unconfirmed. */
  stuck = false;
  /** The error with which the client rejects commands. */
  broken: Error | undefined;
  answer: Answer = ([name]) => name;
  #waiting: (() => void)[] = [];

  constructor(
    readonly cluster: FakeCluster,
    readonly address: string,
  ) {}

  async connect(): Promise<void> {
    this.attempts++;
    await this.whenUnfrozen();
    if (!this.up) throw new Error('connect ECONNREFUSED');
  }

  whenUnfrozen(): Promise<void> {
    return this.frozen ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve();
  }

  unfreeze(): void {
    this.frozen = false;
    for (const go of this.#waiting.splice(0)) go();
  }

  /** Breaks all connections. */
  cut(): void {
    for (const listener of [...this.connections]) listener.ended();
    for (const connection of this.pubSubConnections.splice(0)) connection.listener.ended();
  }

  run(command: PlainCommand): Reply {
    const [name, first] = command;
    if (name === 'CLUSTER') {
      this.asked++;
      return this.cluster.rows;
    }
    if (name === 'COMMAND') return this.cluster.commandInfo;
    this.log.push([name, first].join(' ').trim());
    return this.answer(command);
  }
}

class FakePubSubConnection implements PubSubConnection {
  readonly log: string[] = [];
  destroyed = false;
  refuse: Error | undefined;
  stuck = false;

  constructor(
    readonly node: FakeNode,
    readonly listener: PubSubConnectionListener,
    readonly sharded: boolean,
  ) {}

  connect = () => this.node.connect();
  subscribe = async (_kind: string, names: readonly string[]) => {
    this.log.push(`+${names.join(' ')}`);
    if (this.stuck || this.node.stuck) await new Promise(() => {});
    if (this.refuse !== undefined) throw this.refuse;
  };
  unsubscribe = async (_kind: string, names: readonly string[]) => {
    this.log.push(`-${names.join(' ')}`);
    if (this.refuse !== undefined) throw this.refuse;
  };
  destroy = () => {
    this.destroyed = true;
  };
}

class FakeCluster implements ClusterClientAdapter {
  readonly database = 0;
  readonly client = 'fake';
  readonly nodes = new Map<string, FakeNode>();
  rows: Reply = [];
  commandInfo: Reply = [['ssubscribe', -2]];
  connected = 0;
  closed = 0;

  constructor() {
    for (const address of ['a:1', 'b:1', 'c:1']) this.node(address);
    this.share('a:1', 'b:1', 'c:1');
  }

  node(address: string): FakeNode {
    let node = this.nodes.get(address);
    if (node === undefined) {
      node = new FakeNode(this, address);
      this.nodes.set(address, node);
    }
    return node;
  }

  /** Divides the slots into three equal parts. */
  share(...owners: readonly string[]): void {
    const each = Math.ceil(SLOTS / owners.length);
    this.rows = owners.map((owner, at) => {
      const [host = '', port] = owner.split(':');
      return [at * each, Math.min((at + 1) * each, SLOTS) - 1, [host, Number(port)]];
    });
  }

  get asked(): number {
    return [...this.nodes.values()].reduce((sum, { asked }) => sum + asked, 0);
  }

  connect = async () => void this.connected++;
  close = () => void this.closed++;
  addresses = () => ['a:1', 'b:1', 'c:1'];

  open(address: string, listener: CommandConnectionListener): CommandConnection {
    const node = this.node(address);
    node.connections.add(listener);
    return {
      ready: true,
      connect: () => node.connect(),
      pipeline: async (commands) => {
        await node.whenUnfrozen();
        if (node.broken !== undefined) throw node.broken;
        return commands.map((command) => node.run(command));
      },
      transaction: async (commands) => {
        await node.whenUnfrozen();
        const replies = commands.map((command) => node.run(command));
        for (const reply of replies) if (reply instanceof Error) throw reply;
        return replies;
      },
      destroy: () => void node.connections.delete(listener),
    };
  }

  openPubSub(address: string, listener: PubSubConnectionListener, sharded: boolean): PubSubConnection {
    const node = this.node(address);
    const connection = new FakePubSubConnection(node, listener, sharded);
    node.pubSubConnections.push(connection);
    return connection;
  }
}

let cluster: FakeCluster;
let driver: ClusterDriver;
let events: string[];
let a: FakeNode;
let b: FakeNode;
let c: FakeNode;

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, 'random').mockReturnValue(0.5);
  cluster = new FakeCluster();
  [a, b, c] = [cluster.node('a:1'), cluster.node('b:1'), cluster.node('c:1')];
  driver = new ClusterDriver(cluster);
  events = [];
  driver.attach({
    message: () => {},
    connection: (state) => events.push(state),
    dropped: (kind, names, cause) => events.push(`${kind} ${names.join(' ')}: ${cause.message}`),
    nodeReturned: () => events.push('returned'),
  });
});

afterEach(async () => {
  await driver.close();
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** A key of the master with index `part`. */
function keyAt(part: 0 | 1 | 2, number = 0): string {
  for (let n = 0; ; n++) {
    const key = `k${n}`;
    if (Math.floor(slotOf(key) / Math.ceil(SLOTS / 3)) === part && number-- === 0) return key;
  }
}
const [ka, kb, kc] = [keyAt(0), keyAt(1), keyAt(2)];

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

/** The result of `work` after `ms`. */
async function outcome<T>(ms: number, work: Promise<T>): Promise<T | 'open' | Error> {
  let result: T | 'open' | Error = 'open';
  work.then(
    (value) => {
      result = value;
    },
    (error: Error) => {
      result = error;
    },
  );
  await pass(ms);
  return result;
}

const moved = (key: string, to: string) => new Error(`MOVED ${slotOf(key)} ${to}`);

describe('connect', () => {
  test('connect connects the client and reads the slot map', async () => {
    expect(driver.ready).toBe(false);
    await expect(driver.execute([['PING']])).rejects.toMatchObject({ outcome: 'failed' });
    await driver.connect();
    expect([driver.ready, cluster.connected, events]).toEqual([true, 1, ['ready']]);
    await driver.connect();
    expect(cluster.connected).toBe(1);
  });

  test('connect asks the next node when one does not reply', async () => {
    a.up = false;
    b.frozen = true;
    expect(await outcome(1_000, driver.connect())).toBeUndefined();
    expect(driver.ready).toBe(true);
  });

  test('connect keeps asking while no node replies', async () => {
    for (const node of [a, b, c]) node.up = false;
    const connecting = driver.connect();
    expect(await outcome(5_000, connecting)).toBe('open');
    expect(a.attempts).toBeLessThan(100);
    b.up = true;
    await outcome(3_000, connecting);
    expect(driver.ready).toBe(true);
  });

  test('a server without sharded channels is detected', async () => {
    const { capabilities } = driver;
    expect(capabilities.sharded).toBe(true);
    cluster.commandInfo = [null];
    await driver.connect();
    expect(capabilities.sharded).toBe(false);
  });

  test('a subscription connects the driver', async () => {
    await driver.subscribe('channel', ['x']);
    expect([driver.ready, cluster.connected]).toEqual([true, 1]);
  });

  test('the driver reports that no node is reachable, and when one is again', async () => {
    await driver.connect();
    for (const node of [a, b, c]) {
      node.up = false;
      node.cut();
    }
    expect(await outcome(4_000, driver.execute([['GET', ka]]))).toMatchObject({ outcome: 'failed' });
    expect(driver.ready).toBe(false);
    expect(events.slice(0, 2)).toEqual(['ready', 'lost']);
    c.up = true;
    await pass(3_000);
    expect(driver.ready).toBe(true);
    expect(events.at(-1)).toBe('ready');
  });
});

describe('a batch', () => {
  beforeEach(() => driver.connect());

  test('a batch is split by node, and its replies keep the order of the commands', async () => {
    for (const node of [a, b, c]) node.answer = ([, key]) => `${String(key)} at ${node.address}`;
    const replies = await driver.execute([
      ['GET', kc],
      ['GET', ka],
      ['SPUBLISH', kb, 'x'],
      { script: { name: 's', source: 's', sha: 's' }, keys: [kc], args: [] },
      ['GET', keyAt(0, 1)],
    ]);
    expect(replies).toEqual([
      `${kc} at c:1`,
      `${ka} at a:1`,
      `${kb} at b:1`,
      's at c:1',
      `${keyAt(0, 1)} at a:1`,
    ]);
  });

  test('a batch is sent to the owner of its key option', async () => {
    await driver.execute([['GET', ka], ['PING']], { key: kb });
    await driver.execute([['PING'], ['GET', kc]], { atomic: true });
    await driver.execute([['GET', ka]], { atomic: true, key: kb });
    expect([a.log, b.log, c.log]).toEqual([[], [`GET ${ka}`, 'PING', `GET ${ka}`], ['PING', `GET ${kc}`]]);
  });

  test('commands without a key are always sent to the same node', async () => {
    for (let at = 0; at < 30; at++) await driver.execute([['PUBLISH', `channel${at}`, 'x']]);
    expect([a, b, c].map(({ log }) => log.length).sort((x, y) => x - y)).toEqual([0, 0, 30]);
  });

  test('a batch refused with MOVED runs once at the new owner', async () => {
    cluster.share('b:1', 'b:1', 'c:1');
    a.answer = () => moved(ka, 'b:1');
    const [batch, other] = [driver.execute([['INCR', ka]]), driver.execute([['INCR', ka]], { atomic: true })];
    expect(await outcome(300, batch)).toEqual(['INCR']);
    expect(await outcome(0, other)).toEqual(['INCR']);
    expect(b.log).toEqual([`INCR ${ka}`, `INCR ${ka}`]);
  });

  test('a thousand batches refused at the same time cause one refresh', async () => {
    const before = cluster.asked;
    cluster.share('b:1', 'b:1', 'c:1');
    a.answer = () => moved(ka, 'b:1');
    const calls = Promise.all(Array.from({ length: 1_000 }, () => driver.execute([['INCR', ka]])));
    expect(await outcome(300, calls)).toHaveLength(1_000);
    expect(cluster.asked - before).toBeLessThan(5);
  });

  test('a batch that is always refused rejects after two seconds, without a tight loop', async () => {
    const before = cluster.asked;
    a.answer = () => moved(ka, 'a:1');
    const call = driver.execute([['INCR', ka]]);
    expect(await outcome(1_900, call)).toBe('open');
    const error = await outcome(600, call);
    expect(error).toBeInstanceOf(ConnectionError);
    expect(error).toMatchObject({ outcome: 'failed' });
    expect(a.log.length).toBeLessThan(60);
    expect(cluster.asked - before).toBeLessThan(60);
    const tries = a.log.length;
    await pass(1_000);
    expect(a.log.length).toBe(tries);
  });

  test.each(['ASK 1 b:1', 'TRYAGAIN Multiple keys', 'CLUSTERDOWN x', 'LOADING x'])(
    'is retried after a temporary refusal (%s)',
    async (message) => {
      let refusals = 3;
      a.answer = ([name]) => (refusals-- > 0 ? new Error(message) : name);
      expect(await outcome(1_500, driver.execute([['INCR', ka]], { atomic: true, key: ka }))).toEqual([
        'INCR',
      ]);
      expect(a.log).toHaveLength(4);
    },
  );

  test('an error of another kind is a reply', async () => {
    a.answer = () => new Error('WRONGTYPE x');
    const [reply] = await driver.execute([['INCR', ka]]);
    expect(reply).toMatchObject({ message: 'WRONGTYPE x' });
    await expect(driver.execute([['INCR', ka]], { atomic: true })).rejects.toMatchObject({
      name: 'CommandError',
    });
    expect(a.log).toHaveLength(2);
  });

  test('a partly refused batch has errors for the refused commands, and no command runs twice', async () => {
    a.answer = () => new Error('CLUSTERDOWN x');
    const batch = driver.execute([
      ['INCR', kb],
      ['INCR', ka],
      ['INCR', kc],
    ]);
    const replies = (await outcome(2_500, batch)) as Reply[];
    expect([replies[0], replies[2]]).toEqual(['INCR', 'INCR']);
    expect(replies[1]).toBeInstanceOf(ConnectionError);
    expect([b.log, c.log]).toEqual([[`INCR ${kb}`], [`INCR ${kc}`]]);
  });

  test('a batch whose connection breaks rejects as unknown, and is not sent again', async () => {
    a.frozen = true;
    const batch = driver.execute([
      ['INCR', kb],
      ['INCR', ka],
    ]);
    await pass(10);
    a.cut();
    expect(await outcome(0, batch)).toMatchObject({ name: 'ConnectionError', outcome: 'unknown' });
    a.unfreeze();
    await pass(3_000);
    expect(b.log).toEqual([`INCR ${kb}`]);
    expect(await outcome(0, driver.execute([['INCR', ka]]))).toEqual(['INCR']);
  });

  test('a batch that becomes unknown while parts of it wait for a retry rejects once', async () => {
    await driver.execute([['GET', kb]]);
    a.answer = () => new Error('TRYAGAIN x');
    const first = driver.execute([['GET', ka]]);
    await pass(10);
    b.frozen = true;
    const second = driver.execute([
      ['GET', ka],
      ['GET', kb],
    ]);
    await pass(10);
    b.cut();
    expect(await outcome(0, second)).toMatchObject({ outcome: 'unknown' });
    expect(await outcome(3_000, first)).toMatchObject({ outcome: 'failed' });
    const sent = a.log.length;
    await pass(3_000);
    expect(a.log.length).toBe(sent);
  });

  test('a retry for one slot does not delay another slot', async () => {
    const other = keyAt(0, 1);
    let refusals = 2;
    a.answer = ([name, key]) =>
      key === ka ? new Error('TRYAGAIN x') : refusals-- > 0 ? new Error('TRYAGAIN x') : name;
    const both = driver.execute([
      ['GET', ka],
      ['GET', other],
    ]);
    await pass(1);
    expect(await outcome(500, driver.execute([['SET', other]]))).toEqual(['SET']);
    expect(await outcome(2_500, both)).toMatchObject([{ name: 'ConnectionError' }, 'GET']);
  });

  test('commands for one slot keep their order while the first is retried', async () => {
    let refusals = 2;
    a.answer = ([name]) => (refusals-- > 0 ? new Error('TRYAGAIN x') : name);
    const done: string[] = [];
    const first = driver.execute([['FIRST', ka]]).then(() => done.push('first'));
    await pass(1);
    const others = ['SECOND', 'THIRD'].map((name) =>
      driver.execute([[name, ka]]).then(() => done.push(name.toLowerCase())),
    );
    const elsewhere = driver.execute([['OTHER', kb]]);
    expect(await outcome(0, elsewhere)).toEqual(['OTHER']);
    await outcome(1_000, Promise.all([first, ...others]));
    expect(done).toEqual(['first', 'second', 'third']);
    expect(a.log).toEqual(['FIRST', 'FIRST', 'FIRST', 'SECOND', 'THIRD'].map((name) => `${name} ${ka}`));
  });
});

describe('a node', () => {
  beforeEach(() => driver.connect());

  test('a dead node is not asked for the slot map; the others are', async () => {
    await driver.execute([['GET', ka]]);
    a.up = false;
    a.cut();
    const call = driver.execute([['SET', ka]]);
    await pass(500);
    cluster.share('b:1', 'b:1', 'c:1');
    expect(await outcome(500, call)).toEqual(['SET']);
    expect(b.log).toEqual([`SET ${ka}`]);
    expect(a.attempts).toBeLessThan(30);
  });

  test('an unresponsive node is dropped when another node has its slots', async () => {
    await driver.execute([['GET', ka]]);
    a.frozen = true;
    const stuck = driver.execute([['SET', ka]]);
    expect(await outcome(3_000, stuck)).toBe('open');
    // No more commands are sent to that node.
    const later = driver.execute([['SET', ka]]);
    await pass(500);
    cluster.share('b:1', 'b:1', 'c:1');
    expect(await outcome(500, stuck)).toMatchObject({ outcome: 'unknown' });
    expect(await outcome(500, later)).toEqual(['SET']);
    a.unfreeze();
    await pass(100);
    expect(b.log).toEqual([`SET ${ka}`]);
  });

  test('the driver waits for an unresponsive node that is not replaced', async () => {
    await driver.execute([['GET', ka]]);
    a.frozen = true;
    const stuck = driver.execute([['SET', ka]]);
    await pass(20_000);
    expect(await outcome(2_500, driver.execute([['SET', ka]]))).toMatchObject({ outcome: 'failed' });
    a.unfreeze();
    expect(await outcome(100, stuck)).toEqual(['SET']);
    expect(await outcome(1_000, driver.execute([['SET', ka]]))).toEqual(['SET']);
  });

  test('a node that does not connect in time receives no command', async () => {
    a.cut();
    await pass(100);
    a.frozen = true;
    const call = driver.execute([['SET', ka]]);
    await pass(900);
    cluster.share('b:1', 'b:1', 'c:1');
    expect(await outcome(900, call)).toEqual(['SET']);
    a.unfreeze();
    await pass(100);
    expect(a.log).toEqual([]);
  });

  test('a node whose client fails without an event is dropped, without a retry loop', async () => {
    await driver.execute([['GET', ka]]);
    a.broken = new Error('The client is offline');
    expect(await outcome(0, driver.execute([['SET', ka]]))).toMatchObject({ outcome: 'unknown' });
    expect(a.connections.size).toBe(0);
    a.broken = undefined;
    expect(await outcome(300, driver.execute([['SET', ka]]))).toEqual(['SET']);
  });

  test('a node that returns is reported; a node that leaves and a moved slot are not', async () => {
    await pass(4_000);
    cluster.share('b:1', 'b:1', 'c:1');
    await pass(4_000);
    expect(events).toEqual(['ready']);
    const [first, ...others] = cluster.rows as Reply[][];
    cluster.rows = [[...(first as Reply[]), ['a', 1]], ...others];
    await pass(4_000);
    expect(events).toEqual(['ready', 'returned']);
    await pass(10_000);
    expect(events).toHaveLength(2);
  });

  test('a node without slots is disconnected', async () => {
    await driver.execute([['GET', ka]]);
    cluster.share('b:1', 'b:1', 'c:1');
    await pass(4_000);
    expect(a.connections.size).toBe(0);
  });
});

describe('classic subscriptions', () => {
  beforeEach(() => driver.connect());
  const pubSubConnections = () => [a, b, c].flatMap((node) => node.pubSubConnections);

  test('classic subscriptions are on one node, which is not the node of publications', async () => {
    await driver.execute([['PUBLISH', 'x', 'x']]);
    await driver.subscribe('channel', ['x']);
    await driver.subscribe('pattern', ['x*']);
    const [connection, ...others] = pubSubConnections();
    expect([connection?.log, connection?.sharded, others]).toEqual([['+x', '+x*'], false, []]);
    expect(connection?.node.log).toEqual([]);
  });

  test('classic subscriptions move to another node when their node is dead', async () => {
    await driver.subscribe('channel', ['x']);
    const [connection] = pubSubConnections() as [FakePubSubConnection];
    connection.node.up = false;
    connection.node.cut();
    expect(events.at(-1)).toMatch(/^channel x: /);
    await driver.subscribe('channel', ['x']);
    expect(pubSubConnections()[0]?.node).not.toBe(connection.node);
  });

  test('classic subscriptions leave a node that is missing from the slot map only if it does not reply', async () => {
    await driver.subscribe('channel', ['x']);
    const [{ node }] = pubSubConnections() as [FakePubSubConnection];
    const others = [a, b, c].filter((each) => each !== node).map(({ address }) => address);
    const original = cluster.rows;
    cluster.share(...others);
    await pass(4_000);
    cluster.rows = original;
    await pass(3_000);
    expect(events).toEqual(['ready', 'returned']);
    node.frozen = true;
    cluster.share(...others);
    await pass(5_000);
    expect(events.at(-1)).toMatch(/^channel x: /);
  });

  test('classic subscriptions try another node after a reset', async () => {
    await driver.subscribe('channel', ['x']);
    const [{ node }] = pubSubConnections() as [FakePubSubConnection];
    driver.resetSubscriptions('channel', new Error('no answer'), 'x');
    expect(events.at(-1)).toBe('channel x: no answer');
    await driver.subscribe('channel', ['x']);
    expect(pubSubConnections().at(-1)?.node === node && pubSubConnections().length === 1).toBe(false);
  });
});

describe('sharded subscriptions', () => {
  beforeEach(() => driver.connect());

  test('sharded subscriptions are at the owners of their slots, with one command per slot', async () => {
    const tagged = `{${ka}}x`;
    await driver.subscribe('sharded', [ka, kb, tagged, keyAt(0, 1)]);
    expect(a.pubSubConnections.map(({ log, sharded }) => [log, sharded])).toEqual([
      [[`+${ka} ${tagged}`, `+${keyAt(0, 1)}`], true],
    ]);
    expect(b.pubSubConnections.map(({ log }) => log)).toEqual([[`+${kb}`]]);
    expect(c.pubSubConnections).toEqual([]);
    await driver.unsubscribe('sharded', [ka, kb, 'unknown']);
    expect([a.pubSubConnections[0]?.log.at(-1), b.pubSubConnections[0]?.log.at(-1)]).toEqual([
      `-${ka}`,
      `-${kb}`,
    ]);
  });

  test('sharded subscriptions refused with MOVED are subscribed at the new owner', async () => {
    await driver.subscribe('sharded', [keyAt(0, 1)]);
    const [connection] = a.pubSubConnections as [FakePubSubConnection];
    connection.refuse = moved(ka, 'b:1');
    const joining = driver.subscribe('sharded', [ka]);
    cluster.share('b:1', 'b:1', 'c:1');
    expect(await outcome(500, joining)).toBeUndefined();
    expect(b.pubSubConnections.flatMap(({ log }) => log)).toEqual([`+${ka}`]);
    // The other subscriptions of that connection are uncertain.
    expect([connection.destroyed, events[1]?.split(':')[0]]).toEqual([true, `sharded ${keyAt(0, 1)}`]);
  });

  test('a connection that breaks before all names are confirmed is a new gap', async () => {
    const hub = subscriptionManagerFor(new SharedClient(driver, () => {}), systemClock);
    const gaps: string[] = [];
    const audience = new ServiceContext(new ErrorReporter(undefined));
    const member = new HandlerSubscription(audience, () => {}, {
      codec: jsonCodec,
      onDiscontinuity: ({ reason }) => gaps.push(reason),
    });
    expect(await outcome(100, hub.subscribe('sharded', ka, member))).toBeUndefined();
    const [first] = a.pubSubConnections as [FakePubSubConnection];
    a.stuck = true;
    first.listener.ended();
    await pass(1_000);
    const second = a.pubSubConnections.at(-1) as FakePubSubConnection;
    expect([second === first, gaps]).toEqual([false, []]);
    second.listener.message('sharded', ka, ka, '1');
    expect(gaps).toEqual(['reconnected']);
    a.stuck = false;
    second.listener.ended();
    await pass(5_000);
    expect(gaps).toEqual(['reconnected', 'reconnected']);
  });

  test('sharded subscriptions whose connection ends or misbehaves are dropped, and the next subscribe refreshes the slot map first', async () => {
    await driver.subscribe('sharded', [ka, kb]);
    cluster.share('b:1', 'b:1', 'c:1');
    (a.pubSubConnections[0] as FakePubSubConnection).listener.ended();
    expect(events.at(-1)).toMatch(`sharded ${ka}: `);
    await outcome(100, driver.subscribe('sharded', [ka]));
    expect(b.pubSubConnections.flatMap(({ log }) => log)).toEqual([`+${kb}`, `+${ka}`]);
  });

  test('sharded subscriptions whose slot has another owner are dropped without an event from Redis', async () => {
    await driver.subscribe('sharded', [ka, kb]);
    a.frozen = true;
    cluster.share('b:1', 'b:1', 'c:1');
    await pass(5_000);
    expect(events.at(-1)).toBe(`sharded ${ka}: the slot of a sharded channel has moved`);
    expect(events).toHaveLength(2);
  });

  test('sharded subscriptions without an owner reject after two seconds', async () => {
    cluster.share('a:1', 'b:1', 'c:1');
    (cluster.rows as Reply[]).splice(0, 1);
    await pass(4_000);
    expect(await outcome(1_500, driver.subscribe('sharded', [kb]))).toBeUndefined();
    expect(await outcome(3_000, driver.subscribe('sharded', [ka]))).toMatchObject({
      name: 'ConnectionError',
    });
  });

  test('sharded subscriptions refused by an ACL rule reject, and the connection is kept', async () => {
    await driver.subscribe('sharded', [keyAt(0, 1)]);
    const [connection] = a.pubSubConnections as [FakePubSubConnection];
    connection.refuse = new Error('NOPERM x');
    await expect(driver.subscribe('sharded', [ka])).rejects.toMatchObject({ name: 'CommandError' });
    expect(connection.destroyed).toBe(false);
  });

  test('sharded subscriptions that are never confirmed end their connection', async () => {
    await driver.subscribe('sharded', [keyAt(0, 1)]);
    const [connection] = a.pubSubConnections as [FakePubSubConnection];
    connection.stuck = true;
    const joining = driver.subscribe('sharded', [ka]);
    await outcome(3_100, joining);
    expect(connection.destroyed).toBe(true);
  });

  test('a reset drops the names at the node of the given name', async () => {
    await driver.subscribe('sharded', [ka, kb]);
    driver.resetSubscriptions('sharded', new Error('no answer'), `probe:{${ka}}`);
    expect(events.slice(1)).toEqual([`sharded ${ka}: no answer`]);
  });

  test('every connection has a probe channel in its slots', async () => {
    expect(driver.probeChannels('probe')).toEqual([]);
    await driver.subscribe('sharded', [ka, keyAt(0, 1), `${kb}}`, `{${kb}}x`]);
    const names = [...driver.probeChannels('probe')].sort();
    expect(names).toEqual([`probe:{${ka}}`, `probe:{${kb}}`].sort());
    await driver.subscribe('sharded', names);
    // The subscription of a probe is not probed.
    expect([...driver.probeChannels('probe')].sort()).toEqual(names);
    await driver.unsubscribe('sharded', [ka, keyAt(0, 1)]);
    expect(driver.probeChannels('probe')).toEqual([`probe:{${kb}}`]);
  });
});

test('close ends the connections of the driver, and leaves the client open', async () => {
  await driver.connect();
  await driver.subscribe('channel', ['x']);
  await driver.subscribe('sharded', [ka]);
  b.cut();
  await pass(100);
  b.frozen = true;
  const stuck = driver.execute([['GET', kb]]);
  await pass(10);
  await driver.close();
  expect(await outcome(100, stuck)).toMatchObject({ name: 'ConnectionError', outcome: 'failed' });
  const nodes = [a, b, c];
  expect(nodes.map(({ connections }) => connections.size)).toEqual([0, 0, 0]);
  expect(
    nodes.flatMap(({ pubSubConnections }) => pubSubConnections).every(({ destroyed }) => destroyed),
  ).toBe(true);
  await expect(driver.execute([['PING']])).rejects.toMatchObject({ outcome: 'failed' });
  await expect(driver.subscribe('sharded', [ka])).rejects.toThrow(ConnectionError);
  await expect(driver.connect()).rejects.toThrow(ConnectionError);
  b.unfreeze();
  await pass(10_000);
  expect(vi.getTimerCount()).toBe(0);
});
