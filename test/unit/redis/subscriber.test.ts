import { beforeEach, describe, expect, test } from 'vitest';
import { CommandError, ConnectionError } from '../../../src/internal/errors.js';
import type { SubscriptionKind } from '../../../src/redis/driver.js';
import {
  type PubSubConnection,
  type PubSubConnectionListener,
  Subscriber,
} from '../../../src/redis/subscriber.js';
import { turn } from '../../support/fake-clock.js';
import { type Deferred, deferred } from '../../support/wait.js';

/** A connection whose replies and events a test controls. */
class FakeConnection implements PubSubConnection {
  readonly connecting: Deferred<unknown> = deferred<unknown>();
  readonly calls: { line: string; answer: Deferred<unknown> }[] = [];
  destroyed = 0;

  constructor(readonly listener: PubSubConnectionListener) {}

  connect() {
    return this.connecting.promise;
  }
  subscribe(kind: SubscriptionKind, names: readonly string[], binary: boolean) {
    return this.#called(`subscribe ${kind} ${names.join(' ')}${binary ? ' binary' : ''}`);
  }
  unsubscribe(kind: SubscriptionKind, names: readonly string[]) {
    return this.#called(`unsubscribe ${kind} ${names.join(' ')}`);
  }
  destroy() {
    this.destroyed++;
  }
  #called(line: string) {
    const answer = deferred<unknown>();
    this.calls.push({ line, answer });
    return answer.promise;
  }
  /** The oldest call without an answer. */
  next() {
    const call = this.calls.shift();
    if (call === undefined) throw new Error('no call is open');
    return call;
  }
}

let connections: FakeConnection[];
let events: string[];
let causes: Error[];
let subscriber: Subscriber;

beforeEach(() => {
  connections = [];
  events = [];
  causes = [];
  const make = (listener: PubSubConnectionListener) => {
    const connection = new FakeConnection(listener);
    connections.push(connection);
    return connection;
  };
  subscriber = new Subscriber('fake', make, {
    message: (kind, name, channel, payload) => events.push(`${kind} ${name} ${channel}: ${payload}`),
    connection: (state) => events.push(state),
    dropped: (kind, names, cause) => {
      events.push(`dropped ${kind} ${names.join(' ')}`);
      causes.push(cause);
    },
  });
});

/** The current state of `promise`. */
function watch(promise: Promise<unknown>): { state: 'pending' | 'done' | 'failed'; error?: unknown } {
  const watched: { state: 'pending' | 'done' | 'failed'; error?: unknown } = { state: 'pending' };
  promise.then(
    () => {
      watched.state = 'done';
    },
    (error) => Object.assign(watched, { state: 'failed', error }),
  );
  return watched;
}

async function subscribed(kind: SubscriptionKind, ...names: string[]): Promise<FakeConnection> {
  const done = subscriber.subscribe(kind, names);
  const connection = connections.at(-1)!;
  connection.connecting.resolve('OK');
  await turn();
  connection.next().answer.resolve('OK');
  await done;
  return connection;
}

describe('opening', () => {
  test('the first subscribe opens the connection, and waits for it', async () => {
    expect(connections).toEqual([]);
    const one = watch(subscriber.subscribe('channel', ['a', 'b']));
    const two = watch(subscriber.subscribe('pattern', ['a*'], true));
    await turn();
    expect(connections).toHaveLength(1);
    const connection = connections[0]!;
    expect(connection.calls).toEqual([]);
    connection.connecting.resolve('OK');
    await turn();
    expect(connection.calls.map(({ line }) => line)).toEqual([
      'subscribe channel a b',
      'subscribe pattern a* binary',
    ]);
    connection.next().answer.resolve('OK');
    await turn();
    expect([one.state, two.state]).toEqual(['done', 'pending']);
    connection.next().answer.resolve('OK');
    await turn();
    expect(two.state).toBe('done');
    expect(events).toEqual([]);
  });

  test('on an open connection names are sent within the call', async () => {
    const first = subscriber.subscribe('channel', ['a']);
    connections[0]!.connecting.resolve('OK');
    await turn();
    connections[0]!.next().answer.resolve('OK');
    await first;
    void subscriber.subscribe('channel', ['b']);
    expect(connections[0]!.calls.map(({ line }) => line)).toEqual(['subscribe channel b']);
  });

  test('a failed connection attempt rejects all waiting calls with the reason, and the next subscribe starts another', async () => {
    const all = [subscriber.subscribe('channel', ['a']), subscriber.subscribe('channel', ['b'])].map(watch);
    await turn();
    connections[0]!.connecting.reject(new Error('connect ECONNREFUSED'));
    await turn();
    for (const { error } of all) {
      expect(error).toBeInstanceOf(ConnectionError);
      expect((error as Error).message).toContain('connect ECONNREFUSED');
    }
    expect(connections[0]!.destroyed).toBe(1);
    expect(events).toEqual([]);
    await subscribed('channel', 'a');
    expect(connections).toHaveLength(2);
  });

  test('a connection that ends before it is open rejects its calls, even if the promises of the client stay pending', async () => {
    const one = watch(subscriber.subscribe('channel', ['a']));
    await turn();
    connections[0]!.listener.failed(new Error('NOAUTH'));
    connections[0]!.listener.ended();
    await turn();
    expect(one.error).toBeInstanceOf(ConnectionError);
    await subscribed('channel', 'a');
    expect(connections).toHaveLength(2);
  });

  test('a connection that opens after it was discarded is not used', async () => {
    const one = watch(subscriber.subscribe('channel', ['a']));
    await turn();
    subscriber.reset(new Error('dead'));
    connections[0]!.connecting.resolve('OK');
    await turn();
    expect(one.error).toBeInstanceOf(ConnectionError);
    expect(connections[0]!.calls).toEqual([]);
    await subscribed('channel', 'a');
    expect(connections).toHaveLength(2);
  });
});

describe('subscribing', () => {
  test('messages are delivered', async () => {
    const connection = await subscribed('pattern', 'a*');
    connection.listener.message('pattern', 'a*', 'ab', '1');
    expect(events).toEqual(['pattern a* ab: 1']);
  });

  test('a refused SUBSCRIBE rejects with a CommandError, and the connection is kept', async () => {
    const connection = await subscribed('channel', 'a');
    const one = watch(subscriber.subscribe('channel', ['b']));
    await turn();
    connection.next().answer.reject(new Error('NOPERM no permission'));
    await turn();
    expect(one.error).toBeInstanceOf(CommandError);
    expect(connection.destroyed).toBe(0);
    connection.listener.ended();
    expect(events).toEqual(['dropped channel a']);
  });

  test('a SUBSCRIBE in flight rejects as unknown when the connection breaks, even if the promise of the client stays pending', async () => {
    const connection = await subscribed('channel', 'a');
    const one = watch(subscriber.subscribe('channel', ['b']));
    await turn();
    const call = connection.next();
    connection.listener.ended();
    await turn();
    expect(one.error).toBeInstanceOf(ConnectionError);
    expect(one.error).toMatchObject({ outcome: 'unknown' });
    // Names with a SUBSCRIBE in flight are not reported as dropped, because that call rejects.
    expect(events).toEqual(['dropped channel a']);
    call.answer.resolve('OK');
    await turn();
    await subscribed('channel', 'b');
    connections[1]!.listener.ended();
    expect(events).toEqual(['dropped channel a', 'dropped channel b']);
  });

  test('a connection lost together with the confirmation rejects the call or is reported as dropped', async () => {
    const connection = await subscribed('channel', 'a');
    const one = watch(subscriber.subscribe('channel', ['b']));
    await turn();
    connection.next().answer.resolve('OK');
    connection.listener.ended();
    await turn();
    const isReported = events.some((line) => line === 'dropped channel b' || line === 'dropped channel a b');
    expect(isReported).toBe(one.state === 'done');
  });

  test('a connection lost between the confirmation and the result rejects the call or is reported as dropped', async () => {
    for (let ticks = 0; ticks < 6; ticks++) {
      events = [];
      const connection = await subscribed('channel', 'a');
      const one = watch(subscriber.subscribe('channel', ['b']));
      await turn();
      connection.next().answer.resolve('OK');
      for (let tick = 0; tick < ticks; tick++) await Promise.resolve();
      connection.listener.ended();
      await turn();
      expect(events).toEqual([one.state === 'done' ? 'dropped channel a b' : 'dropped channel a']);
    }
  });
});

describe('unsubscribing', () => {
  test('unsubscribe resolves with the confirmation of Redis, or when the connection breaks', async () => {
    const connection = await subscribed('channel', 'a', 'b');
    const [one, two] = [['a'], ['b']].map((names) => watch(subscriber.unsubscribe('channel', names)));
    await turn();
    const call = connection.next();
    expect(call.line).toBe('unsubscribe channel a');
    expect(one!.state).toBe('pending');
    call.answer.resolve('OK');
    await turn();
    expect([one!.state, two!.state]).toEqual(['done', 'pending']);
    connection.listener.ended();
    await turn();
    expect(two!.state).toBe('done');
    expect(events).toEqual([]);
  });

  test('unsubscribe rejects when Redis refuses', async () => {
    const connection = await subscribed('channel', 'a');
    const one = watch(subscriber.unsubscribe('channel', ['a']));
    await turn();
    connection.next().answer.reject(new Error('ERR no'));
    await turn();
    expect(one.error).toBeInstanceOf(CommandError);
  });

  test('unsubscribe without a connection resolves and opens none', async () => {
    await subscriber.unsubscribe('channel', ['a']);
    expect(connections).toEqual([]);
    const connection = await subscribed('channel', 'a');
    connection.listener.ended();
    await subscriber.unsubscribe('channel', ['a']);
    expect(connections).toHaveLength(1);
  });
});

describe('a lost connection', () => {
  test('a lost connection drops its confirmed names once per kind with the reason, and is destroyed', async () => {
    const connection = await subscribed('channel', 'a', 'b');
    await subscribed('sharded', 'a');
    await subscribed('pattern', 'a*');
    void subscriber.unsubscribe('channel', ['b']);
    const cause = new Error('read ECONNRESET');
    connection.listener.failed(cause);
    expect(events).toEqual([]);
    connection.listener.ended();
    connection.listener.ended();
    expect(events).toEqual(['dropped channel a', 'dropped pattern a*', 'dropped sharded a']);
    expect(causes).toEqual([cause, cause, cause]);
    expect(connection.destroyed).toBe(1);
  });

  test('a lost connection without an error has a default reason', async () => {
    const connection = await subscribed('channel', 'a');
    connection.listener.ended();
    expect(causes[0]).toBeInstanceOf(ConnectionError);
  });

  test('later events of the old connection are ignored', async () => {
    const old = await subscribed('channel', 'a');
    old.listener.ended();
    await subscribed('channel', 'a');
    events = [];
    old.listener.failed(new Error('late'));
    old.listener.ended();
    old.listener.withdrawn('channel', ['a']);
    expect(events).toEqual([]);
    expect(connections[1]!.destroyed).toBe(0);
    // The new connection is not affected.
    connections[1]!.listener.message('channel', 'a', 'a', '1');
    connections[1]!.listener.ended();
    expect(events).toEqual(['channel a a: 1', 'dropped channel a']);
    expect(causes.at(-1)!.message).not.toContain('late');
  });

  test('late messages of the old connection are ignored', async () => {
    const old = await subscribed('channel', 'a');
    old.listener.ended();
    await subscribed('channel', 'a');
    events = [];
    old.listener.message('channel', 'a', 'a', 'late');
    expect(events).toEqual([]);
  });
});

describe('names that Redis unsubscribes', () => {
  test('names that Redis unsubscribes are reported as dropped, and the others stay', async () => {
    const connection = await subscribed('sharded', 'a', 'b', 'c');
    connection.listener.withdrawn('sharded', ['a', 'b']);
    expect(events).toEqual(['dropped sharded a b']);
    expect(causes[0]).toBeInstanceOf(CommandError);
    expect(connection.destroyed).toBe(0);
    connection.listener.ended();
    expect(events).toEqual(['dropped sharded a b', 'dropped sharded c']);
  });

  test('names that are no longer subscribed are not reported as dropped', async () => {
    const connection = await subscribed('sharded', 'a');
    void subscriber.unsubscribe('sharded', ['a']);
    connection.listener.withdrawn('sharded', ['a', 'never']);
    expect(events).toEqual([]);
  });

  test('dropped names can be subscribed again on the same connection', async () => {
    const connection = await subscribed('sharded', 'a');
    connection.listener.withdrawn('sharded', ['a']);
    expect(await subscribed('sharded', 'a')).toBe(connection);
    connection.listener.ended();
    expect(events).toEqual(['dropped sharded a', 'dropped sharded a']);
  });
});

describe('reset', () => {
  test('reset drops all names at once with the given reason', async () => {
    const connection = await subscribed('channel', 'a');
    connection.listener.failed(new Error('earlier'));
    const one = watch(subscriber.subscribe('channel', ['b']));
    await turn();
    const cause = new Error('a probe did not arrive');
    subscriber.reset(cause);
    expect(events).toEqual(['dropped channel a']);
    expect(causes).toEqual([cause]);
    expect(connection.destroyed).toBe(1);
    await turn();
    expect(one.error).toBeInstanceOf(ConnectionError);
    expect((one.error as Error).cause).toBe(cause);
    connection.listener.ended();
    expect(events).toHaveLength(1);
  });

  test('reset without a connection does nothing', () => {
    subscriber.reset(new Error('dead'));
    expect([connections, events]).toEqual([[], []]);
  });

  test('reset during a connection attempt rejects the waiting call', async () => {
    const one = watch(subscriber.subscribe('channel', ['a']));
    await turn();
    subscriber.reset(new Error('dead'));
    await turn();
    expect(one.error).toBeInstanceOf(ConnectionError);
    expect(connections[0]!.destroyed).toBe(1);
  });
});

describe('close', () => {
  test('close ends the connection without events, and opens no other', async () => {
    const connection = await subscribed('channel', 'a');
    const joining = watch(subscriber.subscribe('channel', ['b']));
    const leaving = watch(subscriber.unsubscribe('channel', ['a']));
    await turn();
    subscriber.close();
    subscriber.close();
    await turn();
    expect(joining.error).toBeInstanceOf(ConnectionError);
    expect(leaving.state).toBe('done');
    expect(connection.destroyed).toBe(1);
    connection.listener.ended();
    expect(events).toEqual([]);
    await expect(subscriber.subscribe('channel', ['c'])).rejects.toBeInstanceOf(ConnectionError);
    await subscriber.unsubscribe('channel', ['c']);
    expect(connections).toHaveLength(1);
  });

  test('close does not wait for a connection attempt', async () => {
    const one = watch(subscriber.subscribe('channel', ['a']));
    await turn();
    subscriber.close();
    await turn();
    expect(one.error).toBeInstanceOf(ConnectionError);
    expect(connections[0]!.destroyed).toBe(1);
  });

  test('a connection that opens after close is destroyed', async () => {
    void subscriber.subscribe('channel', ['a']).catch(() => {});
    await turn();
    subscriber.close();
    const before = connections[0]!.destroyed;
    connections[0]!.connecting.resolve('OK');
    await turn();
    expect(connections[0]!.destroyed).toBe(before + 1);
    expect(connections[0]!.calls).toEqual([]);
  });
});
