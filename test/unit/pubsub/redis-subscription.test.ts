import { describe, expect, test } from 'vitest';
import type { RetryingReader, StoredMessage } from '../../../src/history/history-reader.js';
import { ORIGIN } from '../../../src/history/position.js';
import { jsonCodec } from '../../../src/internal/codec.js';
import { ErrorReporter } from '../../../src/internal/diagnostics.js';
import type { StartPosition } from '../../../src/pubsub/catch-up-cursor.js';
import type { Discontinuity } from '../../../src/pubsub/discontinuity.js';
import { HandlerSubscription } from '../../../src/pubsub/handler-subscription.js';
import { RedisSubscription } from '../../../src/pubsub/redis-subscription.js';
import { ServiceContext } from '../../../src/pubsub/service-context.js';
import type { SubscriptionKind } from '../../../src/redis/driver.js';
import { FakeClock, turn } from '../../support/fake-clock.js';

/** A channel's history; message n is at `n-1`. */
class History implements RetryingReader {
  log: StoredMessage[] = [];

  /** Publishes a message and returns its payload on the wire. */
  append(): string {
    const count = this.log.length + 1;
    const message = { position: `${count}-1`, previous: this.last, payload: String(count) };
    this.log.push(message);
    return `rc1:${message.position}:${message.previous}\n${message.payload}`;
  }

  get last(): string {
    return this.log.at(-1)?.position ?? ORIGIN;
  }

  async identify(): Promise<string> {
    return 's';
  }

  async readWithRetry({ after = ORIGIN, limit }: { after?: string | undefined; limit: number }) {
    const from = Number.parseInt(after, 10);
    const messages = limit === 0 ? [] : this.log.slice(from);
    return { last: this.last, more: false, server: 's', messages };
  }
}

function fixture(kind: SubscriptionKind = 'channel') {
  const clock = new FakeClock();
  const history = new History();
  const service = new ServiceContext(new ErrorReporter(undefined));
  const entry = new RedisSubscription(
    { kind, reader: history, clock, databaseSuffix: '', began: clock.now() },
    'x',
  );
  const person = (act: (message: unknown) => void = () => {}) => {
    const got: unknown[] = [];
    const gaps: Discontinuity[] = [];
    const handler = (message: unknown) => {
      got.push(message);
      act(message);
    };
    const onDiscontinuity = (gap: Discontinuity) => gaps.push(gap);
    return {
      got,
      gaps,
      member: new HandlerSubscription(service, handler, { codec: jsonCodec, onDiscontinuity }),
    };
  };
  const confirm = () => {
    entry.phase = 'active';
    entry.confirmed();
  };
  return { clock, history, entry, person, confirm };
}

describe('handlers', () => {
  test('any number of handlers receive messages in the order in which they subscribed', () => {
    const { entry, person, confirm } = fixture();
    const order: string[] = [];
    const [a, b, c] = ['a', 'b', 'c'].map((name) => person(() => order.push(name))) as [
      ReturnType<typeof person>,
      ReturnType<typeof person>,
      ReturnType<typeof person>,
    ];
    entry.add(a.member);
    confirm();
    const deliver = () => {
      order.length = 0;
      entry.receive('x', '1');
      return [order.join(''), entry.handlerCount];
    };
    expect(deliver()).toEqual(['a', 1]);
    entry.add(b.member);
    entry.add(c.member);
    expect(deliver()).toEqual(['abc', 3]);
    expect([a, b, c].map(({ member }) => entry.has(member))).toEqual([true, true, true]);
    entry.remove(a.member);
    entry.remove(c.member);
    expect(deliver()).toEqual(['b', 1]);
    entry.remove(a.member);
    expect(deliver()).toEqual(['b', 1]);
    entry.remove(b.member);
    expect(deliver()).toEqual(['', 0]);
    expect([a, b, c].map(({ member }) => entry.has(member))).toEqual([false, false, false]);
    entry.add(c.member);
    expect(deliver()).toEqual(['c', 1]);
  });

  test('a handler added by the only handler during a message receives the next one', () => {
    const { entry, person, confirm } = fixture();
    const late = person();
    const early = person((message) => {
      if (message !== 1) return;
      entry.add(late.member);
      entry.remove(early.member);
    });
    entry.add(early.member);
    confirm();
    entry.receive('x', '1');
    entry.receive('x', '2');
    expect([early.got, late.got]).toEqual([[1], [2]]);
  });
});

describe('a gap', () => {
  test.each([1, 2])('is announced once to all of %i handlers when it is over', (count) => {
    const { clock, entry, person, confirm } = fixture();
    const people = Array.from({ length: count }, () => person());
    for (const { member } of people) entry.add(member);
    clock.advance(1_234);
    const since = new Date(clock.now());
    confirm();
    clock.advance(5_000);
    entry.dropped('reconnected', 0);
    expect(people.map(({ gaps }) => gaps)).toEqual(people.map(() => []));
    entry.receive('x', '1');
    confirm();
    expect(people.map(({ gaps }) => gaps)).toEqual(
      people.map(() => [{ reason: 'reconnected', since, recovered: false }]),
    );
  });

  test('a gap does not resolve the unsubscription of a handler that unsubscribes when notified', async () => {
    const { entry, person, confirm } = fixture();
    const { member } = person();
    let left = false;
    const leaver = new HandlerSubscription(member.service, () => {}, {
      codec: jsonCodec,
      onDiscontinuity: () => {
        entry.remove(leaver);
        void entry.waitFor('leaving').then(() => {
          left = true;
        });
      },
    });
    entry.add(leaver);
    confirm();
    entry.dropped('reconnected', 0);
    confirm();
    await turn();
    expect(left).toBe(false);
    entry.settleWaiters('leaving');
    await turn();
    expect(left).toBe(true);
  });
});

describe('history', () => {
  test.each([1, 2])('is followed from its first message on, by all of %i handlers', async (count) => {
    const { history, entry, person, confirm } = fixture();
    const people = Array.from({ length: count }, () => person());
    for (const { member } of people) entry.add(member);
    confirm();
    entry.receive('x', history.append());
    history.append();
    entry.receive('x', history.append());
    await turn();
    entry.receive('x', history.append());
    for (const { got } of people) expect(got).toEqual([1, 2, 3, 4]);
  });

  test('a handler with a start position does not move the others, which follow the history too', async () => {
    const { history, entry, person, confirm } = fixture();
    const [plain, since] = [person(), person()];
    entry.add(plain.member);
    confirm();
    history.append();
    await entry.add(since.member, { after: ORIGIN })?.whenPositioned();
    await turn();
    entry.receive('x', history.append());
    history.append();
    entry.receive('x', history.append());
    await turn();
    entry.receive('x', history.append());
    expect([plain.got, since.got]).toEqual([
      [2, 3, 4, 5],
      [1, 2, 3, 4, 5],
    ]);
    expect(entry.handlerCount).toBe(2);
  });

  test('handlers are called in the order of subscription, also after one has caught up', async () => {
    const { history, entry, person, confirm } = fixture();
    const order: string[] = [];
    const add = (name: string, start?: StartPosition) => {
      const { member, got } = person((message) => order.push(`${name}${message}`));
      entry.add(member, start);
      return { member, got };
    };
    confirm();
    history.append();
    add('a', 'earliest');
    add('b');
    add('c', { after: ORIGIN });
    add('d', 'latest');
    await turn();
    await turn();
    order.length = 0;
    for (let message = 0; message < 2; message++) entry.receive('x', history.append());
    await turn();
    expect(order).toEqual(['a2', 'b2', 'c2', 'd2', 'a3', 'b3', 'c3', 'd3']);
  });

  test('after messages without history no gap is announced as recovered', async () => {
    const { history, entry, person, confirm } = fixture();
    const { member, gaps } = person();
    entry.add(member);
    confirm();
    entry.receive('x', '"plain"');
    entry.receive('x', history.append());
    await turn();
    entry.dropped('reconnected', 0);
    confirm();
    await turn();
    expect(gaps.map(({ recovered }) => recovered)).toEqual([false]);
  });

  test('a handler removed during a message, in which another one begins with history, is not called', () => {
    const { entry, person, confirm } = fixture();
    const [late, gone] = [person(), person()];
    const first = person(() => {
      entry.add(late.member, 'latest');
      entry.remove(gone.member);
    });
    entry.add(first.member);
    entry.add(gone.member);
    confirm();
    entry.receive('x', '1');
    expect([first.got, gone.got, late.got]).toEqual([[1], [], []]);
  });

  test('history is not followed for patterns', () => {
    const { entry, person, confirm } = fixture('pattern');
    const { member, got, gaps } = person();
    entry.add(member);
    confirm();
    for (const header of ['rc1:5-1:4-1', 'rc1:3-1:2-1', 'rc1::']) entry.receive('x', `${header}\n7`);
    expect([got, gaps]).toEqual([[7, 7, 7], []]);
  });
});
