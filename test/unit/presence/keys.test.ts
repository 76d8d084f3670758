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

describe('globMatches, a helper of these tests', () => {
  test.each([
    ['*', '', true],
    ['h?llo', 'hallo', true],
    ['h*llo', 'heeeello', true],
    ['h[ae]llo', 'hillo', false],
    ['h[^e]llo', 'hallo', true],
    ['h[a-b]llo', 'hbllo', true],
    ['a\\*b', 'a*b', true],
    ['a\\*b', 'axb', false],
  ])('pattern %j and text %j: %j', (pattern, text, expected) => {
    expect(globMatches(pattern, text)).toBe(expected);
  });
});

describe('escapePattern', () => {
  test('an escaped pattern matches its own text and no other', () => {
    fc.assert(
      fc.property(anyText, anyText, (one, two) => {
        expect(globMatches(escapePattern(one), one)).toBe(true);
        expect(globMatches(escapePattern(one), two)).toBe(one === two);
      }),
      { numRuns: 2_000 },
    );
  });

  test('an escaped text works before a pattern and inside brackets', () => {
    expect(globMatches(`${escapePattern('a*')}*`, 'a*bc')).toBe(true);
    expect(globMatches(`${escapePattern('a*')}*`, 'abc')).toBe(false);
    expect(globMatches(`[${escapePattern('a-c')}]`, 'b')).toBe(false);
    expect(globMatches(`[${escapePattern('^a')}]`, 'a')).toBe(true);
  });

  test('ordinary names are not changed', () => {
    expect(escapePattern('room:42.{x}')).toBe('room:42.{x}');
  });
});

describe('joinIds', () => {
  test('splitIds returns the joined ids', () => {
    fc.assert(
      fc.property(anyText, anyText, (left, right) => {
        expect(splitIds(joinIds(escapeId(left), escapeId(right)))).toEqual([escapeId(left), escapeId(right)]);
      }),
    );
  });

  test('the result is printable, and differs for different pairs', () => {
    fc.assert(
      fc.property(anyText, anyText, anyText, anyText, (a, b, c, d) => {
        const [one, two] = [joinIds(escapeId(a), escapeId(b)), joinIds(escapeId(c), escapeId(d))];
        expect(one === two).toBe(a === c && b === d);
        // biome-ignore lint/suspicious/noControlCharactersInRegex: the test rejects control characters
        expect(one).not.toMatch(/[\0-\x1f]/);
      }),
    );
  });
});

describe('partitionOf', () => {
  test('the partition is an integer in range, and always the same', () => {
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

  // An upgrade that moves a user to another partition loses that user. The hashes are the published
  // test vectors of FNV-1a: 811c9dc5, e40c292c, bf9cf968.
  test.each([
    ['', 5],
    ['a', 44],
    ['foobar', 40],
  ])('%j is in partition %i of 64', (user, partition) => {
    expect(partitionOf(user, 64)).toBe(partition);
  });

  test('users are spread evenly', () => {
    const counts = new Array<number>(64).fill(0);
    for (let user = 0; user < 64_000; user++) counts[partitionOf(`user:${user}`, 64)]!++;
    expect(Math.min(...counts)).toBeGreaterThan(800);
    expect(Math.max(...counts)).toBeLessThan(1_200);
  });
});

test('all keys of a partition have the same hash tag, and no two keys are equal', () => {
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
  // A user id may contain braces: they come after the tag.
  expect(keys.user('{x}').startsWith('{app:3}:')).toBe(true);
});
