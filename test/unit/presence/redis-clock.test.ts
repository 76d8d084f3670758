import { expect, test } from 'vitest';
import { RedisClock } from '../../../src/presence/redis-clock.js';
import { FakeClock } from '../../support/fake-clock.js';

test('the time of Redis is that of the observation with the smallest delay, of the last eight', () => {
  const clock = new FakeClock();
  const redis = new RedisClock(clock);
  const lead = 5_000;
  redis.observe(0, clock.now() + lead);
  expect(redis.now(0)).toBe(clock.now() + lead);
  for (let at = 0; at < 7; at++) redis.observe(0, clock.now() + lead - 300);
  clock.advance(1_000);
  expect(redis.now(0)).toBe(clock.now() + lead);
  redis.observe(0, clock.now() + lead - 300);
  clock.advance(1_000);
  expect(redis.now(0)).toBe(clock.now() + lead - 300);
  redis.observe(0, clock.now() + lead + 20);
  expect(redis.now(0)).toBe(clock.now() + lead + 20);
});

test('after a large step back of the clock of Redis, only later observations count', () => {
  const clock = new FakeClock();
  const redis = new RedisClock(clock);
  redis.observe(0, clock.now() + 3_600_000);
  redis.observe(0, clock.now() + 100);
  expect(redis.now(0)).toBe(clock.now() + 100);
  expect(redis.now(1)).toBe(clock.now());
});
