import { beforeEach, describe, expect, test, vi } from 'vitest';
import { OverflowError } from '../../../src/internal/errors.js';
import type { OverflowPolicy } from '../../../src/pubsub/bounded-queue.js';
import type { Discontinuity } from '../../../src/pubsub/discontinuity.js';
import { QueuedStream } from '../../../src/pubsub/message-stream.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { deferred } from '../../support/wait.js';

let gaps: Discontinuity[];
let left: number;

beforeEach(() => {
  gaps = [];
  left = 0;
});

function make(
  capacity = 10,
  overflow: OverflowPolicy = 'drop-oldest',
  more: {
    inBand?: boolean;
    onDiscontinuity?: (gap: Discontinuity) => void;
    unsubscribe?: () => Promise<void>;
  } = {},
) {
  return new QueuedStream<number>({
    capacity,
    overflow,
    clock: new FakeClock(1_000),
    onDiscontinuity: (gap) => gaps.push(gap),
    unsubscribe: async () => {
      left++;
    },
    ...more,
  });
}

const push = (stream: QueuedStream<number>, ...numbers: number[]) => {
  for (const number of numbers) stream.push(number, { channel: 'x', raw: String(number) });
};

/** The next item: a message, the reason of a discontinuity, or "done". */
async function next(stream: QueuedStream<number>): Promise<number | string> {
  return describeItem(await stream.next());
}

function describeItem({ done, value }: Awaited<ReturnType<QueuedStream<number>['next']>>): number | string {
  if (done === true) return 'done';
  return 'message' in value ? value.message : value.discontinuity.reason;
}

async function rest(stream: QueuedStream<number>): Promise<(number | string)[]> {
  const got: (number | string)[] = [];
  for await (const value of stream) got.push(describeItem({ done: false, value }));
  return got;
}

test('messages are yielded in the order of their push, with their context', async () => {
  const stream = make();
  stream.push(1, { channel: 'x', pattern: '*', raw: '1' });
  push(stream, 2);
  expect(await stream.next()).toEqual({
    done: false,
    value: { message: 1, channel: 'x', pattern: '*', raw: '1' },
  });
  expect(await next(stream)).toBe(2);
});

test('several pulls at once are served in order', async () => {
  const stream = make();
  const pulls = [stream.next(), stream.next(), stream.next()];
  push(stream, 1, 2);
  stream.end();
  const results = await Promise.all(pulls);
  expect(results.map(describeItem)).toEqual([1, 2, 'done']);
});

describe('the end', () => {
  test('follows the queued messages, and unsubscribes once', async () => {
    const stream = make();
    push(stream, 1, 2);
    stream.end();
    stream.end();
    push(stream, 3);
    expect(await rest(stream)).toEqual([1, 2]);
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    expect(left).toBe(1);
  });

  test('an error rejects one `next`, after the queued messages', async () => {
    const stream = make();
    push(stream, 1);
    stream.end(new Error('broken'));
    expect(await next(stream)).toBe(1);
    await expect(stream.next()).rejects.toThrow('broken');
    expect(await next(stream)).toBe('done');
  });

  test('an error rejects the first of several pending `next` calls; the others are done', async () => {
    const stream = make();
    const results = Promise.allSettled([stream.next(), stream.next()]);
    stream.end(new Error('broken'));
    expect((await results).map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
  });

  test('a second `end` changes nothing', async () => {
    const stream = make();
    stream.end();
    stream.end(new Error('late'));
    expect(await next(stream)).toBe('done');
  });

  test('break unsubscribes, and waits for it', async () => {
    const leaving = deferred();
    const stream = make(10, 'drop-oldest', { unsubscribe: () => leaving.promise });
    push(stream, 1, 2);
    const over = vi.fn();
    const loop = (async () => {
      for await (const _ of stream) break;
    })().then(over);
    await turn();
    expect(over).not.toHaveBeenCalled();
    leaving.resolve();
    await loop;
    expect(await rest(stream)).toEqual([]);
  });

  test('`return` discards the queue and a pending error', async () => {
    const stream = make();
    push(stream, 1);
    stream.end(new Error('broken'));
    expect(await stream.return()).toEqual({ done: true, value: undefined });
    expect(await next(stream)).toBe('done');
  });

  test('`return` ends pending `next` calls', async () => {
    const stream = make();
    const pull = stream.next();
    await stream[Symbol.asyncDispose]();
    expect((await pull).done).toBe(true);
    expect(left).toBe(1);
  });

  test('a failed subscription rejects `ready` and the first `next`', async () => {
    const stream = make();
    stream.setReady(Promise.reject(new Error('refused')));
    await expect(stream.ready).rejects.toThrow('refused');
    await expect(stream.next()).rejects.toThrow('refused');
  });

  test('a failed unsubscription rejects `return`, and is not an unhandled rejection', async () => {
    const stream = make(10, 'drop-oldest', { unsubscribe: () => Promise.reject(new Error('away')) });
    stream.end();
    await turn();
    await expect(stream.return()).rejects.toThrow('away');
  });
});

describe('a full queue', () => {
  test('drop-oldest and drop-newest continue, count and report', async () => {
    for (const [overflow, kept] of [
      ['drop-oldest', [2, 3]],
      ['drop-newest', [1, 2]],
    ] as const) {
      gaps = [];
      const stream = make(2, overflow);
      push(stream, 1, 2, 3);
      expect(stream.dropped).toBe(1);
      expect(stream.queued).toBe(2);
      expect(gaps).toEqual([{ reason: 'overflow', since: new Date(1_000), recovered: false }]);
      stream.end();
      expect(await rest(stream)).toEqual(kept);
    }
  });

  test('close ends with an OverflowError after the queued messages', async () => {
    const stream = make(2, 'close');
    push(stream, 1, 2, 3, 4);
    expect(left).toBe(1);
    expect(gaps).toHaveLength(1);
    expect(await next(stream)).toBe(1);
    expect(await next(stream)).toBe(2);
    await expect(stream.next()).rejects.toBeInstanceOf(OverflowError);
    expect(await next(stream)).toBe('done');
  });

  test('close ends the stream even when onDiscontinuity throws', () => {
    const stream = make(1, 'close', {
      onDiscontinuity: () => {
        throw new Error('mine');
      },
    });
    push(stream, 1);
    expect(() => push(stream, 2)).toThrow('mine');
    expect(left).toBe(1);
  });

  test('a message for a pending `next` does not count against the capacity', async () => {
    const stream = make(1, 'close');
    const pull = stream.next();
    push(stream, 1, 2);
    expect(describeItem(await pull)).toBe(1);
    expect(stream.dropped).toBe(0);
  });
});

describe('discontinuities in their places', () => {
  const gap = (reason: Discontinuity['reason'], at = 0, recovered = false): Discontinuity => ({
    reason,
    since: new Date(at),
    recovered,
  });
  const inBand = (capacity = 10, overflow: OverflowPolicy = 'drop-oldest') =>
    make(capacity, overflow, { inBand: true });

  test('discontinuities are yielded between the messages around them, and passed to onDiscontinuity at once', async () => {
    const stream = inBand();
    const missed = gap('missed');
    push(stream, 1);
    stream.pushDiscontinuity(missed, 'x');
    push(stream, 2);
    stream.pushDiscontinuity(gap('wiped'), 'x');
    expect(gaps).toHaveLength(2);
    expect(await next(stream)).toBe(1);
    expect(await stream.next()).toEqual({ done: false, value: { discontinuity: missed, channels: ['x'] } });
    stream.end();
    expect(await rest(stream)).toEqual([2, 'wiped']);
  });

  test('a discontinuity resolves a pending `next`', async () => {
    const stream = inBand();
    const pulls = [stream.next(), stream.next()];
    stream.pushDiscontinuity(gap('reconnected'), 'x');
    push(stream, 1, 2);
    expect((await Promise.all(pulls)).map(describeItem)).toEqual(['reconnected', 1]);
    expect(await next(stream)).toBe(2);
  });

  test('discontinuities are not yielded without the option', async () => {
    const stream = make(2);
    stream.pushDiscontinuity(gap('reconnected'), 'x');
    push(stream, 1, 2, 3);
    stream.end();
    expect(await rest(stream)).toEqual([2, 3]);
    expect(gaps.map(({ reason }) => reason)).toEqual(['reconnected', 'overflow']);
  });

  test('discontinuities do not count against the capacity or as dropped', async () => {
    const stream = inBand(2, 'close');
    stream.pushDiscontinuity(gap('missed'), 'x');
    push(stream, 1);
    stream.pushDiscontinuity(gap('missed'), 'x');
    push(stream, 2);
    stream.pushDiscontinuity(gap('missed'), 'x');
    expect([stream.queued, stream.dropped]).toEqual([2, 0]);
    stream.end();
    expect(await rest(stream)).toEqual(['missed', 1, 'missed', 2, 'missed']);
  });

  test.each([
    ['drop-oldest', ['overflow', 3, 4]],
    ['drop-newest', [1, 2, 'overflow']],
    ['close', [1, 2, 'overflow', 'OverflowError']],
  ] as const)('with %s an overflow comes where the messages are missing', async (overflow, expected) => {
    const stream = inBand(2, overflow);
    push(stream, 1, 2, 3, 4);
    stream.end();
    const got: (number | string)[] = [];
    try {
      for (;;) {
        const item = await next(stream);
        if (item === 'done') break;
        got.push(item);
      }
    } catch (error) {
      got.push((error as Error).name);
    }
    expect(got).toEqual(expected);
  });

  test('drop-newest continues after the gap', async () => {
    const stream = inBand(2, 'drop-newest');
    push(stream, 1, 2, 3);
    expect(await next(stream)).toBe(1);
    push(stream, 4, 5);
    stream.end();
    expect(await rest(stream)).toEqual([2, 'overflow', 4, 'overflow']);
  });

  test('drop-oldest with room for one message', async () => {
    const stream = inBand(1);
    push(stream, 1, 2, 3);
    stream.end();
    expect(await rest(stream)).toEqual(['overflow', 3]);
    expect(stream.dropped).toBe(2);
  });

  test('a discontinuity before a dropped message keeps its reason', async () => {
    const stream = inBand(2);
    stream.pushDiscontinuity(gap('trimmed', 500), 'x');
    push(stream, 1, 2);
    stream.pushDiscontinuity(gap('forked', 700), 'x');
    push(stream, 3);
    expect(await stream.next()).toMatchObject({ value: { discontinuity: gap('trimmed', 500) } });
    expect(await next(stream)).toBe(2);
    expect(await stream.next()).toMatchObject({ value: { discontinuity: gap('forked', 700) } });
    expect(await next(stream)).toBe(3);
    const newest = inBand(1, 'drop-newest');
    push(newest, 1);
    newest.pushDiscontinuity(gap('wiped', 500), 'x');
    push(newest, 2);
    newest.end();
    expect(await next(newest)).toBe(1);
    expect(await newest.next()).toMatchObject({ value: { discontinuity: gap('wiped', 500) } });
    expect(await next(newest)).toBe('done');
  });

  test('discontinuities name the channels that they concern, also where they became one', async () => {
    const stream = make(1, 'drop-oldest', { inBand: true });
    stream.pushDiscontinuity(gap('reconnected'), 'a');
    stream.pushDiscontinuity(gap('reconnected'), 'b');
    stream.pushDiscontinuity(gap('reconnected'), 'a');
    stream.push(1, { channel: 'c', raw: '1' });
    stream.push(2, { channel: 'd1', pattern: 'd*', raw: '2' });
    stream.push(3, { channel: 'a', raw: '3' });
    expect(await stream.next()).toMatchObject({
      value: { discontinuity: { reason: 'reconnected' }, channels: ['a', 'b', 'c', 'd*'] },
    });
    expect(await stream.next()).toMatchObject({ value: { message: 3 } });
  });

  test('discontinuities without a message between them become one: the first, unless that was recovered', async () => {
    for (const [all, expected] of [
      [[gap('missed', 1, true), gap('missed', 2, true)], gap('missed', 1, true)],
      [[gap('missed', 1, true), gap('wiped', 2)], gap('wiped', 1)],
      [[gap('trimmed', 1), gap('missed', 2, true)], gap('trimmed', 1)],
      [[gap('trimmed', 1), gap('forked', 2), gap('wiped', 3)], gap('trimmed', 1)],
    ] as const) {
      const stream = inBand();
      for (const each of all) stream.pushDiscontinuity(each, 'x');
      expect(await stream.next()).toEqual({
        done: false,
        value: { discontinuity: expected, channels: ['x'] },
      });
      stream.end();
      expect(await next(stream)).toBe('done');
      expect(gaps.splice(0)).toEqual(all);
    }
  });

  test.each(['drop-oldest', 'drop-newest'] as const)(
    'are bounded as the messages are, however many come (%s)',
    async (overflow) => {
      const stream = inBand(3, overflow);
      for (let round = 0; round < 1_000; round++) {
        stream.pushDiscontinuity(gap('reconnected', round), 'x');
        push(stream, round);
        stream.pushDiscontinuity(gap('missed', round), 'x');
      }
      stream.end();
      expect((await rest(stream)).length).toBeLessThanOrEqual(3 + 4);
    },
  );

  test('discontinuities before the end are yielded before it, and discarded by `return`', async () => {
    const stream = inBand();
    stream.pushDiscontinuity(gap('missed'), 'x');
    stream.end(new Error('broken'));
    stream.pushDiscontinuity(gap('wiped'), 'x');
    expect(await next(stream)).toBe('missed');
    await expect(stream.next()).rejects.toThrow('broken');
    const other = inBand();
    push(other, 1);
    other.pushDiscontinuity(gap('missed'), 'x');
    await other.return();
    expect(await next(other)).toBe('done');
  });
});

describe('backpressure', () => {
  /** Whether `drained` has resolved by now. */
  function waiting(stream: QueuedStream<number>) {
    const one = { drained: false };
    void stream.drained().then(() => {
      one.drained = true;
    });
    return one;
  }

  test('a stream is full when another message would be dropped', () => {
    const stream = make(2);
    expect(stream.full).toBe(false);
    push(stream, 1);
    expect(stream.full).toBe(false);
    push(stream, 2);
    expect(stream.full).toBe(true);
  });

  test('a stream is drained when half of its capacity is free', async () => {
    const stream = make(4);
    push(stream, 1, 2, 3, 4);
    const [one, two] = [waiting(stream), waiting(stream)];
    await next(stream);
    await turn();
    expect(stream.full).toBe(false);
    expect([one.drained, two.drained]).toEqual([false, false]);
    await next(stream);
    await turn();
    expect([one.drained, two.drained]).toEqual([true, true]);
    const three = waiting(stream);
    await turn();
    expect(three.drained).toBe(true);
  });

  test('a stream with a capacity of one is drained when it is empty', async () => {
    const stream = make(1);
    push(stream, 1);
    const one = waiting(stream);
    await turn();
    expect(one.drained).toBe(false);
    await next(stream);
    await turn();
    expect(one.drained).toBe(true);
  });

  test('pulling a discontinuity drains nothing', async () => {
    const stream = make(1, 'drop-oldest', { inBand: true });
    stream.pushDiscontinuity({ reason: 'missed', since: new Date(0), recovered: false }, 'x');
    push(stream, 1);
    const one = waiting(stream);
    expect(await next(stream)).toBe('missed');
    await turn();
    expect(one.drained).toBe(false);
  });

  test.each(['end', 'return'] as const)('%s resolves `drained`', async (over) => {
    const stream = make(1);
    push(stream, 1);
    const one = waiting(stream);
    void stream[over]();
    const two = waiting(stream);
    await turn();
    expect([one.drained, two.drained]).toEqual([true, true]);
  });
});
