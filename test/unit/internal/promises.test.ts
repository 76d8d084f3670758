import { expect, test } from 'vitest';
import { runInSlices } from '../../../src/internal/promises.js';

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
