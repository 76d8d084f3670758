import { expect, test } from 'vitest';
import { historyKeys, sharesSlot } from '../../../src/history/keys.js';
import { fc } from '../../support/property.js';

/** What Redis Cluster hashes of a key: what stands in its first braces, unless that is empty. */
function hashed(key: string): string {
  const open = key.indexOf('{');
  const close = open < 0 ? -1 : key.indexOf('}', open + 1);
  return close > open + 1 ? key.slice(open + 1, close) : key;
}

const channels = fc.oneof(
  fc.string({ unit: fc.constantFrom('{', '}', '%', 'a', ':'), minLength: 1, maxLength: 5 }),
  fc.string({ minLength: 1 }),
);

test.each([
  ['news', 'rollcall:log:{news}'],
  ['room:{42}:chat', 'rollcall:log#14:room:{42}:chat'],
  ['a{b', 'rollcall:log:{a{b}'],
  ['a}b', 'rollcall:log!{a%7Db}'],
  ['{}x', 'rollcall:log!{{%7Dx}'],
])('%j is kept in %j', (channel, log) => {
  expect(historyKeys(channel).stream).toBe(log);
});

test("the keys of a channel share a slot: the channel's own, unless no hash tag can express it", () => {
  fc.assert(
    fc.property(channels, fc.string(), (channel, key) => {
      const { stream: log, lastPosition: last, idempotencyKey: once } = historyKeys(channel);
      expect(hashed(last)).toBe(hashed(log));
      expect(hashed(once(key))).toBe(hashed(log));
      if (sharesSlot(channel)) expect(hashed(log)).toBe(hashed(channel));
    }),
  );
});

test('no two channels share a key, and no key is another one of the same channel', () => {
  fc.assert(
    fc.property(channels, channels, (one, two) => {
      if (one === two) return;
      expect(historyKeys(one).stream).not.toBe(historyKeys(two).stream);
      expect(historyKeys(one).lastPosition).not.toBe(historyKeys(two).lastPosition);
    }),
    { numRuns: 2_000 },
  );
});

test('no two messages share an idempotency key unless both channel and key are the same', () => {
  const keys = fc.string({ unit: fc.constantFrom('{', '}', '%', 'a', ':', '3'), minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(keys, keys, keys, keys, (channel, key, otherChannel, otherKey) => {
      const same = channel === otherChannel && key === otherKey;
      expect(
        historyKeys(channel).idempotencyKey(key) === historyKeys(otherChannel).idempotencyKey(otherKey),
      ).toBe(same);
    }),
    { numRuns: 2_000 },
  );
});
