import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { jsonCodec } from '../../../src/codec.js';
import { Reporter } from '../../../src/diagnostics.js';
import { CommandError, ConnectionError } from '../../../src/errors.js';
import { Audience, type Discontinuity, Member } from '../../../src/pubsub/delivery.js';
import { Hub } from '../../../src/pubsub/hub.js';
import type { SubscriptionKind } from '../../../src/redis/driver.js';
import { Session } from '../../../src/redis/session.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { FakeDriver } from '../../support/fake-driver.js';

let driver: FakeDriver;
let clock: FakeClock;
let hub: Hub;
let audience: Audience;

beforeEach(() => {
  driver = new FakeDriver();
  clock = new FakeClock();
  hub = new Hub(new Session(driver, () => {}), clock);
  audience = new Audience(jsonCodec, new Reporter(undefined));
});

/** A handler that keeps what it gets. */
function listener(): { member: Member; got: unknown[]; gaps: Discontinuity[] } {
  const got: unknown[] = [];
  const gaps: Discontinuity[] = [];
  const member = new Member(
    audience,
    (message) => got.push(message),
    false,
    (gap) => gaps.push(gap),
  );
  return { member, got, gaps };
}

/** How `promise` stands. */
function watch(promise: Promise<unknown>): { state: 'pending' | 'done' | 'failed'; error?: unknown } {
  const watched: { state: 'pending' | 'done' | 'failed'; error?: unknown } = { state: 'pending' };
  promise.then(
    () => {
      watched.state = 'done';
    },
    (error) => {
      watched.state = 'failed';
      watched.error = error;
    },
  );
  return watched;
}

async function joined(kind: SubscriptionKind, name: string) {
  const one = listener();
  const done = hub.join(kind, name, one.member);
  await turn();
  for (const call of driver.pending) call.ack();
  await done;
  return one;
}

const empty = { channel: 0, pattern: 0, sharded: 0 };

describe('joining and leaving', () => {
  test('resolves only when Redis has confirmed', async () => {
    const { member } = listener();
    const done = watch(hub.join('channel', 'news', member));
    await turn();
    expect(driver.only).toMatchObject({ method: 'subscribe', kind: 'channel', names: ['news'] });
    expect(done.state).toBe('pending');
    driver.only.ack();
    await turn();
    expect(done.state).toBe('done');
  });

  test('a thousand handlers cost one SUBSCRIBE, and the last to leave one UNSUBSCRIBE', async () => {
    const members = Array.from({ length: 1_000 }, () => listener().member);
    const all = Promise.all(members.map((member) => hub.join('channel', 'news', member)));
    await turn();
    driver.only.ack();
    await all;
    const last = members.pop()!;
    await Promise.all(members.map((member) => hub.leave('channel', 'news', member)));
    expect(driver.calls).toHaveLength(1);
    const left = watch(hub.leave('channel', 'news', last));
    await turn();
    expect(driver.only).toMatchObject({ method: 'unsubscribe', names: ['news'] });
    expect(left.state).toBe('pending');
    driver.only.ack();
    await turn();
    expect(left.state).toBe('done');
    expect(driver.calls).toHaveLength(2);
    expect(hub.sizes).toEqual(empty);
  });

  test('names of one tick travel in one command per kind', async () => {
    for (const name of ['a', 'b', 'c']) {
      void hub.join('channel', name, listener().member);
      void hub.join('pattern', name, listener().member);
    }
    await turn();
    expect(driver.calls.map(({ kind, names }) => [kind, names])).toEqual([
      ['channel', ['a', 'b', 'c']],
      ['pattern', ['a', 'b', 'c']],
    ]);
  });

  test('a channel, a pattern and a sharded channel of one spelling are three things', async () => {
    const channel = await joined('channel', 'x');
    const pattern = await joined('pattern', 'x');
    const sharded = await joined('sharded', 'x');
    expect(hub.sizes).toEqual({ channel: 1, pattern: 1, sharded: 1 });
    driver.message('pattern', 'x', '1');
    driver.message('channel', 'x', '2');
    driver.message('sharded', 'x', '3');
    expect([channel.got, pattern.got, sharded.got]).toEqual([[2], [1], [3]]);
    void hub.leave('pattern', 'x', pattern.member);
    await turn();
    driver.only.ack();
    driver.message('pattern', 'x', '4');
    driver.message('channel', 'x', '5');
    expect([channel.got, pattern.got]).toEqual([[2, 5], [1]]);
  });

  test.each(['__proto__', 'constructor', 'toString', ''])('%j is a name like any other', async (name) => {
    const one = await joined('channel', name);
    driver.message('channel', name, '1');
    expect(one.got).toEqual([1]);
  });

  test('the same function twice is two handlers', async () => {
    const got: unknown[] = [];
    const handler = (message: unknown) => got.push(message);
    const first = new Member(audience, handler, false);
    const second = new Member(audience, handler, false);
    const done = Promise.all([hub.join('channel', 'x', first), hub.join('channel', 'x', second)]);
    await turn();
    driver.only.ack();
    await done;
    driver.message('channel', 'x', '1');
    expect(got).toEqual([1, 1]);
    await hub.leave('channel', 'x', first);
    driver.message('channel', 'x', '2');
    expect(got).toEqual([1, 1, 2]);
  });

  test('joining while UNSUBSCRIBE is under way waits for it, then subscribes again', async () => {
    const first = await joined('channel', 'x');
    const left = watch(hub.leave('channel', 'x', first.member));
    await turn();
    const unsubscribe = driver.only;
    const second = listener();
    const done = watch(hub.join('channel', 'x', second.member));
    await turn();
    expect(driver.pending).toEqual([unsubscribe]);
    unsubscribe.ack();
    await turn();
    expect(left.state).toBe('done');
    expect(done.state).toBe('pending');
    expect(driver.only.method).toBe('subscribe');
    driver.only.ack();
    await turn();
    expect(done.state).toBe('done');
    driver.message('channel', 'x', '1');
    expect([first.got, second.got]).toEqual([[], [1]]);
  });

  test('leaving while SUBSCRIBE is under way unsubscribes after it', async () => {
    const { member } = listener();
    void hub.join('channel', 'x', member);
    await turn();
    const left = watch(hub.leave('channel', 'x', member));
    expect(driver.only.method).toBe('subscribe');
    driver.only.ack();
    await turn();
    expect(left.state).toBe('pending');
    expect(driver.only.method).toBe('unsubscribe');
    driver.only.ack();
    await turn();
    expect(left.state).toBe('done');
    expect(hub.sizes).toEqual(empty);
  });

  test('leaving twice, and leaving what was never joined, is nothing', async () => {
    const { member } = await joined('channel', 'x');
    const other = await joined('channel', 'x');
    await hub.leave('channel', 'x', member);
    await hub.leave('channel', 'x', member);
    await hub.leave('channel', 'y', listener().member);
    driver.message('channel', 'x', '1');
    expect(other.got).toEqual([1]);
    expect(driver.pending).toEqual([]);
  });
});

describe('refusals', () => {
  test('a refused SUBSCRIBE rejects all who waited and leaves no state', async () => {
    const one = listener();
    const two = listener();
    const first = watch(hub.join('channel', 'x', one.member));
    const second = watch(hub.join('channel', 'x', two.member));
    await turn();
    driver.only.refuse();
    await turn();
    expect(first.error).toBeInstanceOf(CommandError);
    expect(second.error).toBeInstanceOf(CommandError);
    expect(hub.sizes).toEqual(empty);
    driver.message('channel', 'x', '1');
    expect([one.got, two.got]).toEqual([[], []]);
    // The next one starts from nothing.
    const third = await joined('channel', 'x');
    driver.message('channel', 'x', '2');
    expect(third.got).toEqual([2]);
  });

  test('who was refused and leaves takes nothing from those who came after', async () => {
    const refused = listener();
    const first = watch(hub.join('channel', 'x', refused.member));
    await turn();
    driver.only.refuse();
    await turn();
    expect(first.state).toBe('failed');
    const second = await joined('channel', 'x');
    await hub.leave('channel', 'x', refused.member);
    await turn();
    expect(driver.pending).toEqual([]);
    driver.message('channel', 'x', '1');
    expect([refused.got, second.got]).toEqual([[], [1]]);
  });

  test('one refused name does not take the others of its batch with it', async () => {
    const states = ['a', 'b', 'c'].map((name) => watch(hub.join('channel', name, listener().member)));
    await turn();
    driver.only.refuse();
    await turn();
    expect(driver.pending.map(({ names }) => names)).toEqual([['a'], ['b'], ['c']]);
    for (const call of driver.pending) {
      if (call.names[0] === 'b') call.refuse();
      else call.ack();
    }
    await turn();
    expect(states.map(({ state }) => state)).toEqual(['done', 'failed', 'done']);
    expect(hub.sizes).toEqual({ ...empty, channel: 2 });
    expect(driver.breaches).toEqual([]);
  });

  test('a refused UNSUBSCRIBE rejects the one who left, and he still gets nothing', async () => {
    const one = await joined('channel', 'x');
    const left = watch(hub.leave('channel', 'x', one.member));
    await turn();
    driver.only.refuse();
    await turn();
    expect(left.error).toBeInstanceOf(CommandError);
    driver.message('channel', 'x', '1');
    expect(one.got).toEqual([]);
    expect(hub.sizes).toEqual(empty);
  });
});

describe('connections', () => {
  test('SUBSCRIBE is sent again after a while when the connection was not there', async () => {
    const done = watch(hub.join('channel', 'x', listener().member));
    await turn();
    driver.only.interrupt();
    await turn();
    expect(driver.pending).toEqual([]);
    clock.advance(249);
    await turn();
    expect(driver.pending).toEqual([]);
    clock.advance(1);
    await turn();
    expect(done.state).toBe('pending');
    driver.only.ack();
    await turn();
    expect(done.state).toBe('done');
    expect(clock.timers).toBe(0);
  });

  test('… and at once when the connection is back', async () => {
    const done = watch(hub.join('channel', 'x', listener().member));
    await turn();
    driver.only.interrupt('failed');
    await turn();
    driver.connection('subscriber', 'ready');
    await turn();
    driver.only.ack();
    await turn();
    expect(done.state).toBe('done');
    expect(clock.timers).toBe(0);
  });

  test('who leaves while the connection is away leaves nothing to subscribe', async () => {
    const { member } = listener();
    void hub.join('channel', 'x', member);
    await turn();
    driver.only.interrupt();
    await turn();
    const left = watch(hub.leave('channel', 'x', member));
    driver.connection('subscriber', 'ready');
    await turn();
    expect(left.state).toBe('done');
    expect(driver.pending).toEqual([]);
    expect(hub.sizes).toEqual(empty);
  });

  test('a connection that was lost and is back is a gap for every handler, once', async () => {
    const channel = await joined('channel', 'x');
    const pattern = await joined('pattern', 'x*');
    const lost = clock.now();
    driver.connection('subscriber', 'lost');
    clock.advance(3_000);
    driver.connection('subscriber', 'lost');
    expect(channel.gaps).toEqual([]);
    driver.connection('subscriber', 'ready');
    driver.connection('subscriber', 'ready');
    const gap = { reason: 'reconnected', since: new Date(lost), recovered: false };
    expect(channel.gaps).toEqual([gap]);
    expect(pattern.gaps).toEqual([gap]);
  });

  test('the command connection and the first connection are no gap', async () => {
    driver.connection('subscriber', 'ready');
    const one = await joined('channel', 'x');
    driver.connection('commands', 'lost');
    driver.connection('commands', 'ready');
    expect(one.gaps).toEqual([]);
  });

  test('a connection for sharded channels alone concerns only those', async () => {
    const channel = await joined('channel', 'x');
    const sharded = await joined('sharded', 'x');
    driver.connection('sharded', 'lost');
    driver.connection('sharded', 'ready');
    expect([channel.gaps.length, sharded.gaps.length]).toEqual([0, 1]);
  });

  test('who is told of a gap can leave, and takes nobody with him', async () => {
    const second = listener();
    const first = new Member(
      audience,
      () => {},
      false,
      () => {
        void hub.leave('channel', 'x', second.member);
        throw new Error('mine');
      },
    );
    const third = listener();
    const done = Promise.all([first, second.member, third.member].map((m) => hub.join('channel', 'x', m)));
    await turn();
    driver.only.ack();
    await done;
    driver.connection('subscriber', 'lost');
    driver.connection('subscriber', 'ready');
    expect([second.gaps.length, third.gaps.length]).toEqual([0, 1]);
  });
});

describe('dispatch', () => {
  test('who left gets nothing, not even a message on its way', async () => {
    const one = await joined('channel', 'x');
    void hub.leave('channel', 'x', one.member);
    driver.message('channel', 'x', '1');
    await turn();
    driver.message('channel', 'x', '2');
    driver.only.ack();
    driver.message('channel', 'x', '3');
    expect(one.got).toEqual([]);
  });

  test('a handler can take out itself and others during dispatch', async () => {
    const order: string[] = [];
    const members: Member[] = [];
    const add = (name: string, act = () => {}) =>
      members.push(
        new Member(
          audience,
          () => {
            order.push(name);
            act();
          },
          false,
        ),
      );
    add('first', () => {
      for (const at of [0, 1, 3]) void hub.leave('channel', 'x', members[at]!);
    });
    for (const name of ['second', 'third', 'fourth', 'fifth']) add(name);
    const done = Promise.all(members.map((member) => hub.join('channel', 'x', member)));
    await turn();
    driver.only.ack();
    await done;
    driver.message('channel', 'x', '1');
    expect(order).toEqual(['first', 'third', 'fifth']);
    driver.message('channel', 'x', '2');
    expect(order).toEqual(['first', 'third', 'fifth', 'third', 'fifth']);
  });

  test('who joins during dispatch does not see that message, but the next', async () => {
    const late = listener();
    const early = new Member(
      audience,
      (message) => {
        if (message === 1) void hub.join('channel', 'x', late.member);
      },
      false,
    );
    const done = hub.join('channel', 'x', early);
    await turn();
    driver.only.ack();
    await done;
    driver.message('channel', 'x', '1');
    expect(late.got).toEqual([]);
    driver.message('channel', 'x', '2');
    expect(late.got).toEqual([2]);
  });

  test('a message inside a message reaches everybody once each', async () => {
    const other = listener();
    const nested = new Member(
      audience,
      (message) => {
        if (message !== 1) return;
        driver.message('channel', 'x', '2');
        void hub.leave('channel', 'x', nested);
      },
      false,
    );
    const done = Promise.all([nested, other.member].map((member) => hub.join('channel', 'x', member)));
    await turn();
    driver.only.ack();
    await done;
    driver.message('channel', 'x', '1');
    driver.message('channel', 'x', '3');
    expect(other.got).toEqual([2, 1, 3]);
  });
});

// Any order of joins, leaves, answers, failures and messages, against what must hold of it.

type Action =
  | { do: 'join'; name: number }
  | { do: 'leave'; who: number }
  | { do: 'answer'; which: number; how: 'ack' | 'refuse' | 'interrupt' }
  | { do: 'message'; name: number }
  | { do: 'turn' }
  | { do: 'reconnect' }
  | { do: 'wait' };

const names: [SubscriptionKind, string][] = [
  ['channel', 'x'],
  ['pattern', 'x'],
  ['channel', 'y'],
  ['sharded', 'x'],
];

const index = fc.nat(1_000);
const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('join' as const), name: index }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('leave' as const), who: index }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('answer' as const),
      which: index,
      how: fc.constantFrom('ack', 'ack', 'ack', 'refuse', 'interrupt'),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('message' as const), name: index }) },
  { weight: 5, arbitrary: fc.constant({ do: 'turn' as const }) },
  { weight: 1, arbitrary: fc.constant({ do: 'reconnect' as const }) },
  { weight: 1, arbitrary: fc.constant({ do: 'wait' as const }) },
);

interface Person {
  kind: SubscriptionKind;
  name: string;
  member: Member;
  got: number[];
  /** Everything published since its join resolved, until it left. */
  due: number[];
  state: 'joining' | 'here' | 'left' | 'refused';
  left?: { state: string; error?: unknown };
}

async function play(actions: Action[]): Promise<void> {
  driver = new FakeDriver();
  clock = new FakeClock();
  hub = new Hub(new Session(driver, () => {}), clock);
  const people: Person[] = [];
  let published = 0;

  const join = (at: number) => {
    const [kind, name] = names[at % names.length]!;
    const got: number[] = [];
    const member: Member = new Member(
      audience,
      (message) => {
        if (person.state === 'left' || person.state === 'refused') throw new Error('unreachable');
        got.push(message as number);
      },
      false,
    );
    const person: Person = { kind, name, member, got, due: [], state: 'joining' };
    people.push(person);
    hub.join(kind, name, member).then(
      () => {
        if (person.state !== 'joining') return;
        expect(driver.known, 'resolved before Redis knew').toContain(`${kind} ${name}`);
        person.state = 'here';
      },
      (error) => {
        expect(error).toBeInstanceOf(CommandError);
        if (person.state === 'joining') person.state = 'refused';
      },
    );
  };
  const leave = (person: Person) => {
    person.state = 'left';
    person.left = watch(hub.leave(person.kind, person.name, person.member));
  };
  const message = (at: number) => {
    const [kind, name] = names[at % names.length]!;
    const number = ++published;
    const before = new Map(people.map((person) => [person, person.got.length]));
    for (const person of people) {
      if (person.kind === kind && person.name === name && person.state === 'here') person.due.push(number);
    }
    driver.message(kind, name, String(number));
    for (const person of people) {
      const news = person.got.length - (before.get(person) ?? 0);
      const concerned = person.kind === kind && person.name === name;
      if (person.state === 'here') expect(news, 'exactly once').toBe(concerned ? 1 : 0);
      if (person.state === 'left' || person.state === 'refused') expect(news, 'never again').toBe(0);
      expect(news).toBeLessThanOrEqual(1);
    }
  };

  for (const act of actions) {
    if (act.do === 'join') join(act.name);
    if (act.do === 'message') message(act.name);
    if (act.do === 'turn') await turn();
    if (act.do === 'wait') clock.advance(300);
    if (act.do === 'reconnect') {
      driver.connection('subscriber', 'lost');
      driver.connection('subscriber', 'ready');
    }
    if (act.do === 'leave') {
      const here = people.filter(({ state }) => state === 'here' || state === 'joining');
      if (here.length > 0) leave(here[act.who % here.length]!);
    }
    if (act.do === 'answer') {
      const { pending } = driver;
      const call = pending[act.which % pending.length];
      // UNSUBSCRIBE is not refused here: what Redis knows then has a test of its own.
      if (call === undefined) continue;
      if (act.how === 'refuse' && call.method === 'subscribe') call.refuse();
      else if (act.how === 'interrupt') call.interrupt();
      else call.ack();
    }
  }

  const rest = async () => {
    for (let round = 0; round < 10; round++) {
      await turn();
      for (const call of driver.pending) call.ack();
      clock.advance(500);
    }
    await turn();
    expect(driver.pending).toEqual([]);
    expect(clock.timers).toBe(0);
  };
  const isWanted = ([kind, name]: [SubscriptionKind, string]) =>
    people.some((person) => person.kind === kind && person.name === name && person.state === 'here');

  await rest();
  expect(people.filter(({ state }) => state === 'joining')).toEqual([]);
  for (const each of names) {
    expect(driver.known.has(each.join(' ')), each.join(' ')).toBe(isWanted(each));
  }
  for (let at = 0; at < names.length; at++) message(at);
  for (const person of people) {
    if (person.state === 'here') leave(person);
    expect(person.got.filter((number) => person.due.includes(number))).toEqual(person.due);
  }
  await rest();
  for (const person of people) if (person.left) expect(person.left).toEqual({ state: 'done' });
  expect(hub.sizes).toEqual(empty);
  expect(driver.known.size).toBe(0);
  expect(driver.breaches).toEqual([]);
}

describe('in any order', () => {
  test('subscriptions follow their handlers', { timeout: 30_000 }, async () => {
    await fc.assert(fc.asyncProperty(fc.array(action, { maxLength: 60 }), play), { numRuns: 500 });
  });

  test('the answers to concurrent calls may come in any order', { timeout: 30_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.array(fc.tuple(fc.nat(3), fc.boolean()), { maxLength: 12 }),
        async (scheduler, people) => {
          driver = new FakeDriver();
          hub = new Hub(new Session(driver, () => {}), new FakeClock());
          driver.onCall = (call) => {
            void scheduler
              .schedule(Promise.resolve(), `answer ${call.method} ${call.names}`)
              .then(() => call.ack());
          };
          let called = 0;
          const all = people.map(async ([at, stays]) => {
            const [kind, name] = names[at]!;
            const member = new Member(audience, () => called++, false);
            await scheduler.schedule(Promise.resolve(), `join ${kind} ${name}`);
            await hub.join(kind, name, member);
            if (stays) return;
            await scheduler.schedule(Promise.resolve(), `leave ${kind} ${name}`);
            await hub.leave(kind, name, member);
          });
          await scheduler.waitFor(Promise.all(all));
          expect(driver.breaches).toEqual([]);
          for (const [at, [kind, name]] of names.entries()) {
            const wanted = people.filter(([where, stays]) => where === at && stays).length;
            called = 0;
            driver.message(kind, name, '1');
            expect(called).toBe(wanted);
            expect(driver.known.has(`${kind} ${name}`)).toBe(wanted > 0);
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});

test('an interrupted UNSUBSCRIBE counts as done, whatever the driver calls it', async () => {
  const one = await joined('channel', 'x');
  const left = watch(hub.leave('channel', 'x', one.member));
  await turn();
  driver.only.fail(new ConnectionError('the connection broke'));
  await turn();
  expect(left.state).toBe('done');
  expect(hub.sizes).toEqual(empty);
});
