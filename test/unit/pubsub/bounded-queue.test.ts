import { describe, expect, test } from 'vitest';
import { BoundedQueue, type OverflowPolicy } from '../../../src/pubsub/bounded-queue.js';
import { fc } from '../../support/property.js';

/** A reference implementation on a plain array. */
class Model {
  items: number[] = [];
  dropped = 0;
  overflowed = false;

  constructor(
    readonly capacity: number,
    readonly overflow: OverflowPolicy,
  ) {}

  push(item: number): number | undefined {
    if (!this.overflowed && this.items.length < this.capacity) {
      this.items.push(item);
      return undefined;
    }
    this.dropped++;
    if (this.overflow === 'close') this.overflowed = true;
    if (this.overflow !== 'drop-oldest') return item;
    const [lost, ...rest] = this.items;
    this.items = [...rest, item];
    return lost;
  }
}

const steps = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: fc.record({ do: fc.constant('push'), times: fc.integer({ min: 1, max: 100 }) }) },
    {
      weight: 4,
      arbitrary: fc.record({ do: fc.constant('shift'), times: fc.integer({ min: 1, max: 120 }) }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('clear'), times: fc.constant(1) }) },
  ),
  { maxLength: 30 },
);

describe.each(['drop-oldest', 'drop-newest', 'close'] as const)('%s', (overflow) => {
  test('behaves like a plain array', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), steps, (capacity, all) => {
        const inbox = new BoundedQueue<number>(capacity, overflow);
        const model = new Model(capacity, overflow);
        let next = 0;
        for (const { do: what, times } of all) {
          for (let time = 0; time < times; time++) {
            if (what === 'push') {
              if (inbox.push(next) !== model.push(next)) expect.fail(`push ${next}`);
              next++;
            } else if (what === 'shift') {
              if (inbox.shift() !== model.items.shift()) expect.fail(`shift after ${next}`);
            } else {
              inbox.clear();
              model.items = [];
            }
          }
          const { size, first, dropped, overflowed } = inbox;
          expect({ size, first, dropped, overflowed }).toEqual({
            size: model.items.length,
            first: model.items[0],
            dropped: model.dropped,
            overflowed: model.overflowed,
          });
        }
        while (model.items.length > 0) expect(inbox.shift()).toBe(model.items.shift());
        expect(inbox.shift()).toBeUndefined();
      }),
      { numRuns: 150 },
    );
  });
});

test('items dropped with a capacity of two', () => {
  const left = (overflow: OverflowPolicy) => {
    const inbox = new BoundedQueue<number>(2, overflow);
    const lost = [1, 2, 3, 4].map((item) => inbox.push(item));
    return [lost, [inbox.shift(), inbox.shift(), inbox.shift()]];
  };
  expect(left('drop-oldest')).toEqual([
    [undefined, undefined, 1, 2],
    [3, 4, undefined],
  ]);
  expect(left('drop-newest')).toEqual([
    [undefined, undefined, 3, 4],
    [1, 2, undefined],
  ]);
  expect(left('close')).toEqual([
    [undefined, undefined, 3, 4],
    [1, 2, undefined],
  ]);
});

test('falsy items are kept', () => {
  const inbox = new BoundedQueue<unknown>(3, 'drop-oldest');
  for (const item of [0, '', null]) inbox.push(item);
  expect([inbox.shift(), inbox.shift(), inbox.shift()]).toEqual([0, '', null]);
});
