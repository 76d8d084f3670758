import { describe, expect, test } from 'vitest';
import { escapeId } from '../../../src/presence/ids.js';
import { joinIds, PartitionKeys, partitionOf, splitIds } from '../../../src/presence/keys.js';
import { escapePattern } from '../../../src/redis/pattern.js';
import { globMatches } from '../../support/fake-glob.js';
import { fc } from '../../support/property.js';

const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 12 }),
  fc.string({
    unit: fc.constantFrom('*', '?', '[', ']', '^', '-', '\\', 'a', 'b', '{', '}', '\n'),
    maxLength: 8,
  }),
);

describe('the glob matcher of these tests', () => {
  test.each([
    ['*', '', true],
    ['h?llo', 'hallo', true],
    ['h*llo', 'heeeello', true],
    ['h[ae]llo', 'hillo', false],
    ['h[^e]llo', 'hallo', true],
    ['h[a-b]llo', 'hbllo', true],
    ['a\\*b', 'a*b', true],
    ['a\\*b', 'axb', false],
  ])('%j and %j: %j', (pattern, text, expected) => {
    expect(globMatches(pattern, text)).toBe(expected);
  });
});

describe('escapePattern', () => {
  test('matches its own text and no other', () => {
    fc.assert(
      fc.property(anyText, anyText, (one, two) => {
        expect(globMatches(escapePattern(one), one)).toBe(true);
        expect(globMatches(escapePattern(one), two)).toBe(one === two);
      }),
      { numRuns: 2_000 },
    );
  });

  test('can stand before a pattern, and inside brackets', () => {
    expect(globMatches(`${escapePattern('a*')}*`, 'a*bc')).toBe(true);
    expect(globMatches(`${escapePattern('a*')}*`, 'abc')).toBe(false);
    expect(globMatches(`[${escapePattern('a-c')}]`, 'b')).toBe(false);
    expect(globMatches(`[${escapePattern('^a')}]`, 'a')).toBe(true);
  });

  test('leaves ordinary names alone', () => {
    expect(escapePattern('room:42.{x}')).toBe('room:42.{x}');
  });
});

describe('pair', () => {
  test('comes apart as it was joined', () => {
    fc.assert(
      fc.property(anyText, anyText, (left, right) => {
        expect(splitIds(joinIds(escapeId(left), escapeId(right)))).toEqual([escapeId(left), escapeId(right)]);
      }),
    );
  });

  test('is printable, and differs for different pairs', () => {
    fc.assert(
      fc.property(anyText, anyText, anyText, anyText, (a, b, c, d) => {
        const [one, two] = [joinIds(escapeId(a), escapeId(b)), joinIds(escapeId(c), escapeId(d))];
        expect(one === two).toBe(a === c && b === d);
        // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be there
        expect(one).not.toMatch(/[\0-\x1f]/);
      }),
    );
  });
});

describe('partitionOf', () => {
  test('is a whole number in range, and always the same', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.integer({ min: 1, max: 4_096 }), (user, partitions) => {
        const partition = partitionOf(user, partitions);
        expect(Number.isInteger(partition)).toBe(true);
        expect(partition).toBeGreaterThanOrEqual(0);
        expect(partition).toBeLessThan(partitions);
        expect(partitionOf(user, partitions)).toBe(partition);
      }),
    );
  });

  // A user who moves to another partition is lost with an upgrade. The hashes are FNV-1a's own
  // published test vectors: 811c9dc5, e40c292c, bf9cf968.
  test.each([
    ['', 5],
    ['a', 44],
    ['foobar', 40],
  ])('%j is in partition %i of 64', (user, partition) => {
    expect(partitionOf(user, 64)).toBe(partition);
  });

  test('spreads users evenly', () => {
    const counts = new Array<number>(64).fill(0);
    for (let user = 0; user < 64_000; user++) counts[partitionOf(`user:${user}`, 64)]!++;
    expect(Math.min(...counts)).toBeGreaterThan(800);
    expect(Math.max(...counts)).toBeLessThan(1_200);
  });
});

test('all keys of a partition carry one hash tag, and none is another', () => {
  const keys = new PartitionKeys('app', 3);
  const all = [
    keys.nodes,
    keys.online,
    keys.due,
    keys.events,
    keys.layout,
    keys.sockets('u'),
    keys.user('u'),
    keys.node('u'),
    keys.inbox('u'),
    keys.sockets('nodes'),
  ];
  for (const key of all) expect(key.startsWith('{app:3}:')).toBe(true);
  expect(new Set(all).size).toBe(all.length);
  // A user may be called anything: his braces come after the tag.
  expect(keys.user('{x}').startsWith('{app:3}:')).toBe(true);
});
