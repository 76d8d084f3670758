import { expect, test } from 'vitest';
import { type Deadline, DeadlineQueue } from '../../../src/internal/deadlines.js';
import { FakeClock } from '../../support/fake-clock.js';
import { fc } from '../../support/property.js';

test('each call expires once, at its deadline or up to an eighth later', () => {
  const clock = new FakeClock();
  const deadlines = new DeadlineQueue(clock, 800);
  const expired: number[] = [];
  for (let call = 0; call < 5; call++) {
    deadlines.start(() => expired.push(clock.monotonic() - call * 30));
    clock.advance(30);
  }
  clock.advance(2_000);
  expect(expired).toHaveLength(5);
  for (const after of expired) {
    expect(after).toBeGreaterThanOrEqual(800);
    expect(after).toBeLessThanOrEqual(900);
  }
});

test('a finished call does not expire, and no timer is left', () => {
  const clock = new FakeClock();
  const deadlines = new DeadlineQueue(clock, 800);
  let expired = 0;
  const deadline = deadlines.start(() => expired++);
  deadline.done();
  deadline.done();
  expect(deadline.expired).toBe(false);
  clock.advance(100);
  expect(clock.timers).toBe(0);
  clock.advance(2_000);
  expect(expired).toBe(0);
  deadlines.start(() => expired++);
  clock.advance(2_000);
  expect(expired).toBe(1);
  expect(clock.timers).toBe(0);
});

test('a process waits for the timer while a call is under way, and not afterwards', () => {
  const clock = new FakeClock();
  const deadlines = new DeadlineQueue(clock, 800);
  const [first, second] = [deadlines.start(() => {}), deadlines.start(() => {})];
  first.done();
  expect(clock.keepingAlive).toBe(1);
  second.done();
  expect([clock.timers, clock.keepingAlive]).toEqual([1, 0]);
  const third = deadlines.start(() => {});
  expect([clock.timers, clock.keepingAlive]).toEqual([1, 1]);
  clock.advance(100);
  expect([clock.timers, clock.keepingAlive]).toEqual([1, 1]);
  third.done();
  third.done();
  expect(clock.keepingAlive).toBe(0);
  deadlines.start(() => {});
  clock.advance(1_000);
  expect([clock.timers, clock.keepingAlive]).toEqual([0, 0]);
  deadlines.start(() => {});
  expect(clock.keepingAlive).toBe(1);
});

test('one timer serves all calls', () => {
  const clock = new FakeClock();
  const deadlines = new DeadlineQueue(clock, 800);
  for (let call = 0; call < 1_000; call++) deadlines.start(() => {});
  expect(clock.timers).toBe(1);
});

test('the callback of an expired call can start another call', () => {
  const clock = new FakeClock();
  const deadlines = new DeadlineQueue(clock, 800);
  const expired: number[] = [];
  deadlines.start(() => {
    expired.push(clock.monotonic());
    deadlines.start(() => expired.push(clock.monotonic()));
  });
  clock.advance(1_700);
  expect(expired).toEqual([800, 1_600]);
  expect(clock.timers).toBe(0);
});

test('the callback of an expired call can end other calls, which then do not expire', () => {
  const clock = new FakeClock();
  const deadlines = new DeadlineQueue(clock, 800);
  const expired: string[] = [];
  deadlines.start(() => {
    expired.push('first');
    for (const call of [second, third]) call.done();
  });
  const second = deadlines.start(() => expired.push('second'));
  const third = deadlines.start(() => expired.push('third'));
  deadlines.start(() => expired.push('fourth'));
  clock.advance(2_000);
  expect(expired).toEqual(['first', 'fourth']);
  expect([second.expired, third.expired]).toEqual([false, false]);
  expect(clock.timers).toBe(0);
});

test('any mix of calls, ends and pauses expires each open call once, in time', () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('start' as const), n: fc.integer({ min: 1, max: 600 }) }),
    fc.record({ do: fc.constant('done' as const), n: fc.nat() }),
    fc.record({ do: fc.constant('wait' as const), n: fc.integer({ min: 1, max: 700 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const clock = new FakeClock();
      const deadlines = new DeadlineQueue(clock, 800);
      const calls: { deadline: Deadline; at: number; expired: number[]; done?: number }[] = [];
      for (const { do: what, n } of steps) {
        if (what === 'wait') clock.advance(n);
        if (what === 'start') {
          for (let times = 0; times < n; times++) {
            const expired: number[] = [];
            const deadline = deadlines.start(() => expired.push(clock.monotonic()));
            calls.push({ deadline, at: clock.monotonic(), expired });
          }
        }
        if (what === 'done' && calls.length > 0) {
          const call = calls[n % calls.length]!;
          call.deadline.done();
          call.done ??= clock.monotonic();
        }
      }
      clock.advance(2_000);
      for (const { deadline, at, expired, done } of calls) {
        expect(expired.length).toBeLessThanOrEqual(1);
        expect(deadline.expired).toBe(expired.length === 1);
        if (expired.length === 0) expect(done! - at).toBeLessThanOrEqual(900);
        else expect(expired[0]! - at).toSatisfy((ms: number) => ms >= 800 && ms <= 900);
      }
      expect(clock.timers).toBe(0);
    }),
    { numRuns: 60 },
  );
});
