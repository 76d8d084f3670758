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

/** One connection whose every answer and event is the test's to give. */
class FakeWire implements PubSubConnection {
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

let wires: FakeWire[];
let told: string[];
let causes: Error[];
let subscriber: Subscriber;

beforeEach(() => {
  wires = [];
  told = [];
  causes = [];
  const make = (listener: PubSubConnectionListener) => {
    const wire = new FakeWire(listener);
    wires.push(wire);
    return wire;
  };
  subscriber = new Subscriber('fake', make, {
    message: (kind, name, channel, payload) => told.push(`${kind} ${name} ${channel}: ${payload}`),
    connection: (state) => told.push(state),
    dropped: (kind, names, cause) => {
      told.push(`dropped ${kind} ${names.join(' ')}`);
      causes.push(cause);
    },
  });
});

/** How `promise` stands. */
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

async function subscribed(kind: SubscriptionKind, ...names: string[]): Promise<FakeWire> {
  const done = subscriber.subscribe(kind, names);
  const wire = wires.at(-1)!;
  wire.connecting.resolve('OK');
  await turn();
  wire.next().answer.resolve('OK');
  await done;
  return wire;
}

describe('opening', () => {
  test('the first subscribe opens the connection, and waits for it', async () => {
    expect(wires).toEqual([]);
    const one = watch(subscriber.subscribe('channel', ['a', 'b']));
    const two = watch(subscriber.subscribe('pattern', ['a*'], true));
    await turn();
    expect(wires).toHaveLength(1);
    const wire = wires[0]!;
    expect(wire.calls).toEqual([]);
    wire.connecting.resolve('OK');
    await turn();
    expect(wire.calls.map(({ line }) => line)).toEqual([
      'subscribe channel a b',
      'subscribe pattern a* binary',
    ]);
    wire.next().answer.resolve('OK');
    await turn();
    expect([one.state, two.state]).toEqual(['done', 'pending']);
    wire.next().answer.resolve('OK');
    await turn();
    expect(two.state).toBe('done');
    expect(told).toEqual([]);
  });

  test('that fails rejects all waiting calls with the reason; the next subscribe opens another', async () => {
    const all = [subscriber.subscribe('channel', ['a']), subscriber.subscribe('channel', ['b'])].map(watch);
    await turn();
    wires[0]!.connecting.reject(new Error('connect ECONNREFUSED'));
    await turn();
    for (const { error } of all) {
      expect(error).toBeInstanceOf(ConnectionError);
      expect((error as Error).message).toContain('connect ECONNREFUSED');
    }
    expect(wires[0]!.destroyed).toBe(1);
    expect(told).toEqual([]);
    await subscribed('channel', 'a');
    expect(wires).toHaveLength(2);
  });

  test('that ends before it is open rejects, even if the client never settles', async () => {
    const one = watch(subscriber.subscribe('channel', ['a']));
    await turn();
    wires[0]!.listener.failed(new Error('NOAUTH'));
    wires[0]!.listener.ended();
    await turn();
    expect(one.error).toBeInstanceOf(ConnectionError);
    await subscribed('channel', 'a');
    expect(wires).toHaveLength(2);
  });

  test('that succeeds after it was discarded is not used', async () => {
    const one = watch(subscriber.subscribe('channel', ['a']));
    await turn();
    subscriber.reset(new Error('dead'));
    wires[0]!.connecting.resolve('OK');
    await turn();
    expect(one.error).toBeInstanceOf(ConnectionError);
    expect(wires[0]!.calls).toEqual([]);
    await subscribed('channel', 'a');
    expect(wires).toHaveLength(2);
  });
});

describe('subscribing', () => {
  test('messages are passed on', async () => {
    const wire = await subscribed('pattern', 'a*');
    wire.listener.message('pattern', 'a*', 'ab', '1');
    expect(told).toEqual(['pattern a* ab: 1']);
  });

  test('a refused SUBSCRIBE is a CommandError, and the connection stays', async () => {
    const wire = await subscribed('channel', 'a');
    const one = watch(subscriber.subscribe('channel', ['b']));
    await turn();
    wire.next().answer.reject(new Error('NOPERM no permission'));
    await turn();
    expect(one.error).toBeInstanceOf(CommandError);
    expect(wire.destroyed).toBe(0);
    wire.listener.ended();
    expect(told).toEqual(['dropped channel a']);
  });

  test('rejects as unknown as soon as the connection breaks, even if the client never settles', async () => {
    const wire = await subscribed('channel', 'a');
    const one = watch(subscriber.subscribe('channel', ['b']));
    await turn();
    const call = wire.next();
    wire.listener.ended();
    await turn();
    expect(one.error).toBeInstanceOf(ConnectionError);
    expect(one.error).toMatchObject({ outcome: 'unknown' });
    // Names with a SUBSCRIBE under way are not among the dropped: it rejects.
    expect(told).toEqual(['dropped channel a']);
    call.answer.resolve('OK');
    await turn();
    await subscribed('channel', 'b');
    wires[1]!.listener.ended();
    expect(told).toEqual(['dropped channel a', 'dropped channel b']);
  });

  test('a break at the moment of the confirmation rejects or is reported as dropped', async () => {
    const wire = await subscribed('channel', 'a');
    const one = watch(subscriber.subscribe('channel', ['b']));
    await turn();
    wire.next().answer.resolve('OK');
    wire.listener.ended();
    await turn();
    const toldOf = told.some((line) => line === 'dropped channel b' || line === 'dropped channel a b');
    expect(toldOf).toBe(one.state === 'done');
  });

  test('a break between the confirmation and the result rejects or is reported as dropped', async () => {
    for (let ticks = 0; ticks < 6; ticks++) {
      told = [];
      const wire = await subscribed('channel', 'a');
      const one = watch(subscriber.subscribe('channel', ['b']));
      await turn();
      wire.next().answer.resolve('OK');
      for (let tick = 0; tick < ticks; tick++) await Promise.resolve();
      wire.listener.ended();
      await turn();
      expect(told).toEqual([one.state === 'done' ? 'dropped channel a b' : 'dropped channel a']);
    }
  });
});

describe('unsubscribing', () => {
  test('resolves on the confirmation of Redis, and when the connection breaks', async () => {
    const wire = await subscribed('channel', 'a', 'b');
    const [one, two] = [['a'], ['b']].map((names) => watch(subscriber.unsubscribe('channel', names)));
    await turn();
    const call = wire.next();
    expect(call.line).toBe('unsubscribe channel a');
    expect(one!.state).toBe('pending');
    call.answer.resolve('OK');
    await turn();
    expect([one!.state, two!.state]).toEqual(['done', 'pending']);
    wire.listener.ended();
    await turn();
    expect(two!.state).toBe('done');
    expect(told).toEqual([]);
  });

  test('rejects when Redis refuses', async () => {
    const wire = await subscribed('channel', 'a');
    const one = watch(subscriber.unsubscribe('channel', ['a']));
    await turn();
    wire.next().answer.reject(new Error('ERR no'));
    await turn();
    expect(one.error).toBeInstanceOf(CommandError);
  });

  test('without a connection resolves and opens none', async () => {
    await subscriber.unsubscribe('channel', ['a']);
    expect(wires).toEqual([]);
    const wire = await subscribed('channel', 'a');
    wire.listener.ended();
    await subscriber.unsubscribe('channel', ['a']);
    expect(wires).toHaveLength(1);
  });
});

describe('a break', () => {
  test('drops the confirmed names once per kind with the reason, and destroys the connection', async () => {
    const wire = await subscribed('channel', 'a', 'b');
    await subscribed('sharded', 'a');
    await subscribed('pattern', 'a*');
    void subscriber.unsubscribe('channel', ['b']);
    const cause = new Error('read ECONNRESET');
    wire.listener.failed(cause);
    expect(told).toEqual([]);
    wire.listener.ended();
    wire.listener.ended();
    expect(told).toEqual(['dropped channel a', 'dropped pattern a*', 'dropped sharded a']);
    expect(causes).toEqual([cause, cause, cause]);
    expect(wire.destroyed).toBe(1);
  });

  test('without an error has a default reason', async () => {
    const wire = await subscribed('channel', 'a');
    wire.listener.ended();
    expect(causes[0]).toBeInstanceOf(ConnectionError);
  });

  test('later events of the old connection are ignored', async () => {
    const old = await subscribed('channel', 'a');
    old.listener.ended();
    await subscribed('channel', 'a');
    told = [];
    old.listener.failed(new Error('late'));
    old.listener.ended();
    old.listener.withdrawn('channel', ['a']);
    expect(told).toEqual([]);
    expect(wires[1]!.destroyed).toBe(0);
    // The new one is as it was.
    wires[1]!.listener.message('channel', 'a', 'a', '1');
    wires[1]!.listener.ended();
    expect(told).toEqual(['channel a a: 1', 'dropped channel a']);
    expect(causes.at(-1)!.message).not.toContain('late');
  });

  test('late messages of the old connection are ignored', async () => {
    const old = await subscribed('channel', 'a');
    old.listener.ended();
    await subscribed('channel', 'a');
    told = [];
    old.listener.message('channel', 'a', 'a', 'late');
    expect(told).toEqual([]);
  });
});

describe('names that Redis unsubscribes', () => {
  test('are reported as dropped, and the others stay', async () => {
    const wire = await subscribed('sharded', 'a', 'b', 'c');
    wire.listener.withdrawn('sharded', ['a', 'b']);
    expect(told).toEqual(['dropped sharded a b']);
    expect(causes[0]).toBeInstanceOf(CommandError);
    expect(wire.destroyed).toBe(0);
    wire.listener.ended();
    expect(told).toEqual(['dropped sharded a b', 'dropped sharded c']);
  });

  test('are not reported when they are no longer subscribed', async () => {
    const wire = await subscribed('sharded', 'a');
    void subscriber.unsubscribe('sharded', ['a']);
    wire.listener.withdrawn('sharded', ['a', 'never']);
    expect(told).toEqual([]);
  });

  test('can be subscribed again on the same connection', async () => {
    const wire = await subscribed('sharded', 'a');
    wire.listener.withdrawn('sharded', ['a']);
    expect(await subscribed('sharded', 'a')).toBe(wire);
    wire.listener.ended();
    expect(told).toEqual(['dropped sharded a', 'dropped sharded a']);
  });
});

describe('reset', () => {
  test('drops all names at once with the given reason', async () => {
    const wire = await subscribed('channel', 'a');
    wire.listener.failed(new Error('earlier'));
    const one = watch(subscriber.subscribe('channel', ['b']));
    await turn();
    const cause = new Error('a probe did not arrive');
    subscriber.reset(cause);
    expect(told).toEqual(['dropped channel a']);
    expect(causes).toEqual([cause]);
    expect(wire.destroyed).toBe(1);
    await turn();
    expect(one.error).toBeInstanceOf(ConnectionError);
    expect((one.error as Error).cause).toBe(cause);
    wire.listener.ended();
    expect(told).toHaveLength(1);
  });

  test('without a connection does nothing', () => {
    subscriber.reset(new Error('dead'));
    expect([wires, told]).toEqual([[], []]);
  });

  test('during connecting rejects the waiting call', async () => {
    const one = watch(subscriber.subscribe('channel', ['a']));
    await turn();
    subscriber.reset(new Error('dead'));
    await turn();
    expect(one.error).toBeInstanceOf(ConnectionError);
    expect(wires[0]!.destroyed).toBe(1);
  });
});

describe('close', () => {
  test('ends the connection without events, and opens no other', async () => {
    const wire = await subscribed('channel', 'a');
    const joining = watch(subscriber.subscribe('channel', ['b']));
    const leaving = watch(subscriber.unsubscribe('channel', ['a']));
    await turn();
    subscriber.close();
    subscriber.close();
    await turn();
    expect(joining.error).toBeInstanceOf(ConnectionError);
    expect(leaving.state).toBe('done');
    expect(wire.destroyed).toBe(1);
    wire.listener.ended();
    expect(told).toEqual([]);
    await expect(subscriber.subscribe('channel', ['c'])).rejects.toBeInstanceOf(ConnectionError);
    await subscriber.unsubscribe('channel', ['c']);
    expect(wires).toHaveLength(1);
  });

  test('does not wait for a connection in progress', async () => {
    const one = watch(subscriber.subscribe('channel', ['a']));
    await turn();
    subscriber.close();
    await turn();
    expect(one.error).toBeInstanceOf(ConnectionError);
    expect(wires[0]!.destroyed).toBe(1);
  });

  test('a connection that opens after it is destroyed', async () => {
    void subscriber.subscribe('channel', ['a']).catch(() => {});
    await turn();
    subscriber.close();
    const before = wires[0]!.destroyed;
    wires[0]!.connecting.resolve('OK');
    await turn();
    expect(wires[0]!.destroyed).toBe(before + 1);
    expect(wires[0]!.calls).toEqual([]);
  });
});
