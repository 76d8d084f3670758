import { expect, test } from 'vitest';
import { MultiMap } from '../../../src/internal/multi-map.js';

test('a key has its values in the order in which they were added, each once', () => {
  const map = new MultiMap<string, string>();
  for (const value of ['b', 'a', 'b', 'c']) map.add('x', value);
  map.add('y', 'a');
  expect(map.get('x')).toEqual(['b', 'a', 'c']);
  expect(map.get('y')).toEqual(['a']);
  expect(map.get('z')).toEqual([]);
  expect(map.size).toBe(2);
  expect([
    map.hasValue('x', 'a'),
    map.hasValue('y', 'a'),
    map.hasValue('y', 'b'),
    map.hasValue('z', 'a'),
  ]).toEqual([true, true, false, false]);
});

test('a key without values is gone', () => {
  const map = new MultiMap<string, object>();
  const [one, two] = [{}, {}];
  map.add('x', one);
  expect(map.delete('x', two)).toBe(false);
  map.add('x', two);
  expect(map.delete('x', one)).toBe(true);
  expect(map.delete('x', one)).toBe(false);
  expect(map.get('x')).toEqual([two]);
  expect(map.delete('x', two)).toBe(true);
  expect(map.has('x')).toBe(false);
  map.add('y', one);
  expect(map.delete('y', one)).toBe(true);
  expect(map.delete('y', one)).toBe(false);
  map.add('y', one);
  map.deleteAll('y');
  expect(map.size).toBe(0);
});
