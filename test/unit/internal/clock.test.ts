import { describe, expect, test } from 'vitest';
import { backoff, jitter } from '../../../src/internal/clock.js';
import { FakeClock } from '../../support/fake-clock.js';

describe('backoff', () => {
  const waits = (chance: number, attempts: number[]) => {
    const clock = new FakeClock();
    clock.chance = chance;
    return attempts.map((attempt) => backoff(clock, attempt, 50, 5_000));
  };

  test('the delay doubles up to its limit', () => {
    expect(waits(0.5, [0, 1, 2, 3, 4, 5, 6, 7, 8])).toEqual([
      25, 50, 100, 200, 400, 800, 1_600, 2_500, 2_500,
    ]);
  });

  test('the delay is random between zero and its maximum', () => {
    expect(waits(0, [0, 3, 100])).toEqual([0, 0, 0]);
    expect(waits(0.25, [0, 3, 100])).toEqual([12.5, 100, 1_250]);
    for (const ms of waits(1 - Number.EPSILON, [0, 3, 100])) expect(ms).toBeLessThanOrEqual(5_000);
  });

  test('the delay stays at its limit for any attempt', () => {
    expect(waits(0.5, [31, 1_000, 1_100, 1e9, Number.MAX_SAFE_INTEGER])).toEqual(new Array(5).fill(2_500));
  });

  test('the first delay can be the limit already', () => {
    expect(backoff(new FakeClock(), 0, 100, 60)).toBe(30);
  });
});

test('jitter spreads evenly around the given duration', () => {
  const clock = new FakeClock();
  const spread = [0, 0.25, 0.5, 0.75].map((chance) => {
    clock.chance = chance;
    return jitter(clock, 1_000);
  });
  expect(spread).toEqual([900, 950, 1_000, 1_050]);
  clock.chance = 0;
  expect(jitter(clock, 1_000, 0.5)).toBe(500);
});
