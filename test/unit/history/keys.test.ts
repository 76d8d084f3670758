import { expect, test } from 'vitest';
import { historyKeys, sharesSlot } from '../../../src/history/keys.js';
import { fc } from '../../support/property.js';

/** The part of a key that Redis Cluster hashes: the content of its first braces, unless that is empty. */
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
])('the history of %j has the key %j', (channel, log) => {
  expect(historyKeys(channel).messages).toBe(log);
});

const keysOf = (channel: string) => {
  const { messages, lastPosition, idempotencyKeys } = historyKeys(channel);
  return [messages, lastPosition, ...idempotencyKeys];
};

test("the keys of a channel share a slot: the channel's own, unless no hash tag can express it", () => {
  fc.assert(
    fc.property(channels, (channel) => {
      const [messages = '', ...others] = keysOf(channel);
      for (const key of others) expect(hashed(key)).toBe(hashed(messages));
      if (sharesSlot(channel)) expect(hashed(messages)).toBe(hashed(channel));
    }),
  );
});

test('no two channels share a key, and the keys of one channel differ', () => {
  fc.assert(
    fc.property(channels, channels, (one, two) => {
      const keys = new Set([...keysOf(one), ...keysOf(two)]);
      expect(keys.size).toBe(one === two ? 4 : 8);
    }),
    { numRuns: 2_000 },
  );
});
