import { beforeEach, describe, expect, test, vi } from 'vitest';
import { OverflowError } from '../../../src/errors.js';
import type { Discontinuity } from '../../../src/pubsub/delivery.js';
import type { Overflow } from '../../../src/pubsub/inbox.js';
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
  overflow: Overflow = 'drop-oldest',
  more: { onDiscontinuity?: (gap: Discontinuity) => void; leave?: () => Promise<void> } = {},
) {
  return new QueuedStream<number>({
    capacity,
    overflow,
    clock: new FakeClock(1_000),
    onDiscontinuity: (gap) => gaps.push(gap),
    leave: async () => {
      left++;
    },
    ...more,
  });
}

const push = (stream: QueuedStream<number>, ...numbers: number[]) => {
  for (const number of numbers) stream.push(number, { channel: 'x', raw: String(number) });
};

async function rest(stream: QueuedStream<number>): Promise<number[]> {
  const got: number[] = [];
  for await (const { message } of stream) got.push(message);
  return got;
}

test('what was pushed first comes first, with its context', async () => {
  const stream = make();
  stream.push(1, { channel: 'x', pattern: '*', raw: '1' });
  push(stream, 2);
  expect(await stream.next()).toEqual({
    done: false,
    value: { message: 1, channel: 'x', pattern: '*', raw: '1' },
  });
  expect((await stream.next()).value.message).toBe(2);
});

test('several pulls at once are served in order', async () => {
  const stream = make();
  const pulls = [stream.next(), stream.next(), stream.next()];
  push(stream, 1, 2);
  stream.end();
  const results = await Promise.all(pulls);
  expect(results.map(({ done, value }) => (done ? 'done' : value.message))).toEqual([1, 2, 'done']);
});

describe('the end', () => {
  test('comes after what waits in the queue, and unsubscribes once', async () => {
    const stream = make();
    push(stream, 1, 2);
    stream.end();
    stream.end();
    push(stream, 3);
    expect(await rest(stream)).toEqual([1, 2]);
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    expect(left).toBe(1);
  });

  test('an error rejects one pull, after the queue', async () => {
    const stream = make();
    push(stream, 1);
    stream.end(new Error('broken'));
    expect((await stream.next()).value.message).toBe(1);
    await expect(stream.next()).rejects.toThrow('broken');
    expect((await stream.next()).done).toBe(true);
  });

  test('an error reaches the first of several waiting pulls, the others are done', async () => {
    const stream = make();
    const results = Promise.allSettled([stream.next(), stream.next()]);
    stream.end(new Error('broken'));
    expect((await results).map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
  });

  test('the first end decides', async () => {
    const stream = make();
    stream.end();
    stream.end(new Error('late'));
    expect((await stream.next()).done).toBe(true);
  });

  test('break unsubscribes, and waits for it', async () => {
    const leaving = deferred();
    const stream = make(10, 'drop-oldest', { leave: () => leaving.promise });
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

  test('return forgets the queue and a pending error', async () => {
    const stream = make();
    push(stream, 1);
    stream.end(new Error('broken'));
    expect(await stream.return()).toEqual({ done: true, value: undefined });
    expect((await stream.next()).done).toBe(true);
  });

  test('return ends the pulls that wait', async () => {
    const stream = make();
    const pull = stream.next();
    await stream[Symbol.asyncDispose]();
    expect((await pull).done).toBe(true);
    expect(left).toBe(1);
  });

  test('a subscription that fails rejects the first pull, and ready', async () => {
    const stream = make();
    stream.begin(Promise.reject(new Error('refused')));
    await expect(stream.ready).rejects.toThrow('refused');
    await expect(stream.next()).rejects.toThrow('refused');
  });

  test('a failed unsubscription is told to whoever returns, and to nobody else', async () => {
    const stream = make(10, 'drop-oldest', { leave: () => Promise.reject(new Error('away')) });
    stream.end();
    await turn();
    await expect(stream.return()).rejects.toThrow('away');
  });
});

describe('a full queue', () => {
  test('drop-oldest and drop-newest go on, count and report', async () => {
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

  test('close ends with an OverflowError after what waits', async () => {
    const stream = make(2, 'close');
    push(stream, 1, 2, 3, 4);
    expect(left).toBe(1);
    expect(gaps).toHaveLength(1);
    expect((await stream.next()).value.message).toBe(1);
    expect((await stream.next()).value.message).toBe(2);
    await expect(stream.next()).rejects.toBeInstanceOf(OverflowError);
    expect((await stream.next()).done).toBe(true);
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

  test('a message that somebody waits for does not count against the capacity', async () => {
    const stream = make(1, 'close');
    const pull = stream.next();
    push(stream, 1, 2);
    expect((await pull).value.message).toBe(1);
    expect(stream.dropped).toBe(0);
  });
});
