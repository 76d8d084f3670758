import { expect, test } from 'vitest';
import { allOrFirstError, runInSlices } from '../../../src/internal/promises.js';

test('slices cover every item, and the first failure is thrown after all items have finished', async () => {
  const seen: number[] = [];
  const items = Array.from({ length: 600 }, (_, index) => index);
  const done = runInSlices(items, async (item) => {
    seen.push(item);
    if (item === 3) throw new Error('three');
  });
  expect(seen).toHaveLength(250);
  await expect(done).rejects.toThrow('three');
  expect(seen).toEqual(items);
});

test('the error of the first failed task in the list is thrown after all tasks have settled', async () => {
  const failures: ((error: Error) => void)[] = [];
  const fails = () => new Promise<void>((_, reject) => failures.push(reject));
  let settled = false;
  const all = allOrFirstError([undefined, Promise.resolve(), fails(), fails()]).finally(() => {
    settled = true;
  });
  const failed = expect(all).rejects.toThrow('first in the list');
  failures[1]?.(new Error('first in time'));
  await new Promise((resolve) => setImmediate(resolve));
  expect(settled).toBe(false);
  failures[0]?.(new Error('first in the list'));
  await failed;
  await allOrFirstError([]);
});
