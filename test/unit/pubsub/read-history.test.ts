import { expect, test } from 'vitest';
import type { HistoryMessage, HistoryPage, HistoryReadOptions } from '../../../src/index.js';
import { readLastMessages } from '../../../src/pubsub/read-history.js';
import { fc } from '../../support/property.js';

/** A history of `count` messages with small pages, as with large messages. */
function historyOf(size: number, perPage: number) {
  const all = Array.from({ length: size }, (_, at) => {
    return { message: at, position: `${at + 1}-1`, publishedAt: new Date(0), raw: String(at) };
  }) as HistoryMessage<number>[];
  return {
    history: async (_: unknown, { limit = 100, before }: HistoryReadOptions = {}) => {
      const older = all.filter((_, at) => before === undefined || at + 1 < Number.parseInt(before, 10));
      const messages = older.toReversed().slice(0, Math.min(limit, perPage));
      const position = messages.at(-1)?.position ?? all.at(-1)?.position ?? '0-0';
      return {
        messages,
        position,
        more: older.length > messages.length,
        complete: true,
      } as HistoryPage<never>;
    },
  };
}

test('the last messages are returned oldest first, over any number of pages, with the position to continue from', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.nat(30),
      fc.integer({ min: 1, max: 7 }),
      fc.integer({ min: 1, max: 40 }),
      async (size, perPage, count) => {
        const { messages, start, end } = await readLastMessages<number>(
          historyOf(size, perPage),
          'x',
          count,
          1_000,
        );
        const all = Array.from({ length: size }, (_, at) => at);
        expect(messages.map(({ message }) => message)).toEqual(all.slice(-count));
        expect(end).toBe(size === 0 ? '0-0' : `${size}-1`);
        expect(start).toBeUndefined();
      },
    ),
  );
});

test('of messages that are too large, only the beginning is returned', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 11, max: 40 }),
      fc.integer({ min: 1, max: 7 }),
      fc.integer({ min: 11, max: 40 }),
      async (size, perPage, count) => {
        const { messages, start } = await readLastMessages<number>(historyOf(size, perPage), 'x', count, 10);
        expect(messages).toEqual([]);
        expect(start).toBe(size > count ? `${size - count}-1` : 'earliest');
      },
    ),
  );
});
