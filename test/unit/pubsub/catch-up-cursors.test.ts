import { describe, expect, test } from 'vitest';
import type { ReadRequest, RetryingReader, StoredMessage } from '../../../src/history/history-reader.js';
import type { Page } from '../../../src/history/merge-into-chain.js';
import { ORIGIN } from '../../../src/history/position.js';
import { jsonCodec } from '../../../src/internal/codec.js';
import { ErrorReporter } from '../../../src/internal/diagnostics.js';
import type { Backpressure } from '../../../src/pubsub/backpressure.js';
import type { StartPosition } from '../../../src/pubsub/catch-up-cursor.js';
import type { Discontinuity } from '../../../src/pubsub/discontinuity.js';
import { HandlerSubscription } from '../../../src/pubsub/handler-subscription.js';
import { RedisSubscription } from '../../../src/pubsub/redis-subscription.js';
import { ServiceContext } from '../../../src/pubsub/service-context.js';
import type { SubscriptionKind } from '../../../src/redis/driver.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { fc } from '../../support/property.js';

// The positions of handlers in a channel's history, and which of them share its reads.

/** A channel's history; message n is at `n-1`. Answers in a later turn. */
class History implements RetryingReader {
  readonly log: StoredMessage[] = [];
  readings = 0;
  #trimmed = 0;

  append(): string {
    const count = this.log.length + 1;
    const message = { position: at(count), previous: at(count - 1), payload: String(count) };
    this.log.push(message);
    return `rc1:${message.position}:${message.previous}\n${message.payload}`;
  }

  /** The first `count` messages are no longer kept. */
  trim(count: number): void {
    this.#trimmed = count;
  }

  async identify(): Promise<string> {
    return 's';
  }

  async readWithRetry({ after = ORIGIN, limit }: ReadRequest): Promise<Page<StoredMessage>> {
    this.readings++;
    await turn();
    const from = Math.max(Number.parseInt(after, 10), this.#trimmed);
    const messages = this.log.slice(from, from + limit);
    const more = this.log.length > from + limit && limit > 0;
    return { last: at(this.log.length), more, server: 's', messages };
  }
}

const at = (count: number): string => (count === 0 ? ORIGIN : `${count}-1`);
const past = (count: number): StartPosition => ({ after: at(count) });

function fixture(kind: SubscriptionKind = 'channel') {
  const clock = new FakeClock();
  const history = new History();
  const service = new ServiceContext(new ErrorReporter(undefined));
  const entry = new RedisSubscription(
    { kind, reader: history, clock, databaseSuffix: '', began: clock.now() },
    'x',
  );
  const person = (backpressure?: Backpressure) => {
    const got: number[] = [];
    const gaps: Discontinuity[] = [];
    const onDiscontinuity = (gap: Discontinuity) => void gaps.push(gap);
    const handler = (message: unknown) => void got.push(message as number);
    return {
      got,
      gaps,
      member: new HandlerSubscription(service, handler, { codec: jsonCodec, onDiscontinuity, backpressure }),
    };
  };
  /** With a receiver that is full after `credit` messages. */
  const joinSlowly = (start: StartPosition, credit: number) => {
    let drain = () => {};
    const one = person({
      get full() {
        return one.got.length >= credit;
      },
      drained: () =>
        new Promise((resolve) => {
          drain = resolve;
        }),
    });
    entry.add(one.member, start);
    const take = (more: number) => {
      credit += more;
      drain();
    };
    return { ...one, take };
  };
  const join = (start?: StartPosition, backpressure?: Backpressure) => {
    const one = person();
    entry.add(one.member, start, backpressure);
    return one;
  };
  const confirm = () => {
    entry.phase = 'active';
    entry.confirmed();
  };
  const drop = () => {
    entry.phase = 'subscribing';
    entry.dropped('reconnected', 0);
  };
  const say = () => entry.receive('x', history.append());
  const quiet = async () => {
    for (let turns = 0; turns < 12; turns++) await turn();
  };
  return { entry, history, join, joinSlowly, confirm, drop, say, quiet };
}

describe('the position of a handler', () => {
  test('the position of a handler is known from its first message with history on', async () => {
    const { entry, join, confirm, say } = fixture();
    const { member } = join();
    confirm();
    expect(entry.positionOf(member)).toBeUndefined();
    entry.receive('x', '"without"');
    expect(entry.positionOf(member)).toBeUndefined();
    say();
    expect(entry.positionOf(member)).toBe(at(1));
    say();
    expect(entry.positionOf(member)).toBe(at(2));
  });

  test('the position of a handler is its start position at first', async () => {
    const { entry, history, join, confirm, quiet } = fixture();
    for (let count = 0; count < 3; count++) history.append();
    const [given, latest, earliest] = [join(past(1)), join('latest'), join('earliest')];
    expect(entry.positionOf(given.member)).toBe(at(1));
    expect(entry.positionOf(latest.member)).toBeUndefined();
    confirm();
    await quiet();
    for (const { member } of [given, latest, earliest]) expect(entry.positionOf(member)).toBe(at(3));
    expect([given.got, latest.got, earliest.got]).toEqual([[2, 3], [], [1, 2, 3]]);
  });

  test('the position is undefined after unsubscribing, and for a handler that never subscribed', async () => {
    const { entry, join, confirm, say } = fixture();
    const [one, two] = [join('latest'), join('latest')];
    confirm();
    say();
    entry.remove(one.member);
    expect(entry.positionOf(one.member)).toBeUndefined();
    entry.remove(two.member);
    expect(entry.positionOf(two.member)).toBeUndefined();
    expect(fixture().entry.positionOf(one.member)).toBeUndefined();
  });

  test('the position is undefined for a pattern', () => {
    const { entry, join, confirm, say } = fixture('pattern');
    const { member, got } = join();
    confirm();
    say();
    expect(got).toEqual([1]);
    expect(entry.positionOf(member)).toBeUndefined();
  });
});

describe('a handler that begins at the position of others', () => {
  test('a handler at the position of others costs no read, and receives live messages', async () => {
    const { entry, history, join, confirm, say, quiet } = fixture();
    const first = join('latest');
    confirm();
    await quiet();
    say();
    await quiet();
    const { readings } = history;
    const late = Array.from({ length: 1_000 }, () => join(past(1)));
    expect(late.map(({ member }) => entry.positionOf(member))).toEqual(late.map(() => at(1)));
    say();
    await quiet();
    expect(history.readings).toBe(readings);
    expect(first.got).toEqual([1, 2]);
    for (const { got, gaps } of late) expect([got, gaps]).toEqual([[2], []]);
  });

  test('a handler at the position of others shares their read, also if it subscribes during the read', async () => {
    const { history, join, confirm, say, quiet } = fixture();
    join('latest');
    confirm();
    await quiet();
    for (let count = 0; count < 5; count++) say();
    await quiet();
    const { readings } = history;
    const handlers = Array.from({ length: 500 }, () => join(past(2)));
    await Promise.resolve();
    handlers.push(...Array.from({ length: 500 }, () => join(past(2))));
    await quiet();
    expect(history.readings).toBe(readings + 1);
    for (const { got } of handlers) expect(got).toEqual([3, 4, 5]);
    say();
    for (const { got } of handlers) expect(got).toEqual([3, 4, 5, 6]);
    expect(history.readings).toBe(readings + 1);
  });

  test('a handler is not notified of a gap that began before it subscribed', async () => {
    const { history, join, confirm, drop, say, quiet } = fixture();
    const first = join('latest');
    confirm();
    await quiet();
    say();
    await quiet();
    drop();
    history.append();
    const late = join(past(1));
    confirm();
    await quiet();
    expect([first.got, first.gaps.map(({ recovered }) => recovered)]).toEqual([[1, 2], [true]]);
    expect([late.got, late.gaps]).toEqual([[2], []]);
  });

  test('a handler does not wait for another one with backpressure', async () => {
    const { history, join, confirm, say, quiet } = fixture();
    const full = true;
    const slow = join(past(0), { full, drained: () => new Promise(() => {}) });
    confirm();
    const quick = join(past(0));
    await quiet();
    say();
    await quiet();
    expect([slow.got, quick.got]).toEqual([[], [1]]);
    expect(history.readings).toBeGreaterThan(0);
  });
});

test('every handler receives all messages after its position, once and in order', async () => {
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.constant({ do: 'say' as const }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('join' as const), back: fc.nat(3) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('leave' as const), index: fc.nat(9) }) },
    { weight: 1, arbitrary: fc.constant({ do: 'drop' as const }) },
    { weight: 2, arbitrary: fc.constant({ do: 'return' as const }) },
    { weight: 3, arbitrary: fc.constant({ do: 'turn' as const }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const { entry, history, join, confirm, drop, say, quiet } = fixture();
      // Before the first message a loss cannot be detected. The first handler never leaves.
      history.append();
      const handlers = [{ ...join(past(1)), from: 1 }];
      confirm();
      await turn();
      let there = true;
      for (const each of steps) {
        if (each.do === 'say') {
          if (there) say();
          else history.append();
        } else if (each.do === 'join') {
          const from = Math.max(1, history.log.length - each.back);
          handlers.push({ ...join(past(from)), from });
        } else if (each.do === 'leave') {
          const left =
            handlers.length > 1 ? handlers.splice(1 + (each.index % (handlers.length - 1)), 1) : [];
          for (const { member } of left) entry.remove(member);
        } else if (each.do === 'drop') {
          if (there) drop();
          there = false;
        } else if (each.do === 'return') {
          if (!there) confirm();
          there = true;
        } else await turn();
      }
      if (!there) confirm();
      await quiet();
      const end = history.log.length;
      for (const { got, gaps, from, member } of handlers) {
        expect(got).toEqual(Array.from({ length: end - from }, (_, index) => from + 1 + index));
        expect(entry.positionOf(member)).toBe(at(end));
        expect(gaps.filter(({ recovered }) => !recovered)).toEqual([]);
      }
    }),
    { numRuns: 300 },
  );
});

describe('a handler with a slow receiver', () => {
  test('a slow receiver continues by itself, and does not delay handlers at its position', async () => {
    const { history, join, joinSlowly, confirm, say, quiet } = fixture();
    for (let count = 0; count < 250; count++) history.append();
    const slow = joinSlowly(past(1), 20);
    const [one, two] = [join(past(1)), join(past(1))];
    confirm();
    await quiet();
    const missed = Array.from({ length: 249 }, (_, index) => index + 2);
    expect([one.got, two.got]).toEqual([missed, missed]);
    expect(slow.got).toEqual(missed.slice(0, 20));
    say();
    expect(one.got.at(-1)).toBe(251);
    slow.take(230);
    await quiet();
    expect(slow.got).toEqual([...missed, 251]);
    for (const { gaps } of [slow, one, two]) expect(gaps).toEqual([]);
  });

  test('live messages are not paced, and reach all handlers from one cursor again', async () => {
    const { history, join, joinSlowly, confirm, say, quiet } = fixture();
    for (let count = 0; count < 5; count++) history.append();
    const [slow, one] = [joinSlowly(past(0), 3), join(past(0))];
    confirm();
    await quiet();
    slow.take(2);
    await quiet();
    expect(slow.got).toEqual([1, 2, 3, 4, 5]);
    const { readings } = history;
    say();
    say();
    expect([slow.got, one.got]).toEqual([
      [1, 2, 3, 4, 5, 6, 7],
      [1, 2, 3, 4, 5, 6, 7],
    ]);
    await quiet();
    expect(history.readings).toBe(readings);
  });

  test('a break before the message for which there is no room is reported once', async () => {
    const { history, joinSlowly, confirm, quiet } = fixture();
    for (let count = 0; count < 9; count++) history.append();
    history.trim(6);
    const [slow, other] = [joinSlowly(past(2), 0), joinSlowly(past(2), 1)];
    confirm();
    await quiet();
    expect([slow.got, slow.gaps, other.got]).toEqual([[], [], [7]]);
    slow.take(9);
    other.take(9);
    await quiet();
    for (const { got, gaps } of [slow, other]) {
      expect(got).toEqual([7, 8, 9]);
      expect(gaps.map(({ reason }) => reason)).toEqual(['trimmed']);
    }
  });

  test('a handler that unsubscribes during its wait ends the catch-up', async () => {
    const { entry, history, joinSlowly, confirm, quiet } = fixture();
    for (let count = 0; count < 9; count++) history.append();
    const slow = joinSlowly(past(0), 2);
    confirm();
    await quiet();
    entry.remove(slow.member);
    const { readings } = history;
    slow.take(9);
    await quiet();
    expect([slow.got, history.readings]).toEqual([[1, 2], readings]);
  });
});
