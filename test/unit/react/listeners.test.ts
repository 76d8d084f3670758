import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Listeners } from '../../../src/react/listeners.js';

let listeners: Listeners;
let calls: number;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
  listeners = new Listeners();
  calls = 0;
  listeners.add(() => calls++);
});
afterEach(() => void vi.useRealTimers());

/** Changes in tasks of their own, followed by a pause. */
function change(count: number, pause: number): void {
  for (let n = 0; n < count; n++) listeners.notifySoon();
  vi.advanceTimersByTime(pause);
}

test('a single change notifies after 8 ms', () => {
  change(1, 7);
  expect(calls).toBe(0);
  vi.advanceTimersByTime(1);
  expect(calls).toBe(1);
});

test('changes with pauses of up to 7 ms are one burst', () => {
  for (let n = 0; n < 5; n++) change(1, 7);
  expect(calls).toBe(0);
  vi.advanceTimersByTime(1);
  expect(calls).toBe(1);
});

test('the pages of a catch-up, with pauses of 30 ms, are one burst of at most 200 ms', () => {
  for (let n = 0; n < 6; n++) change(100, 30);
  expect(calls).toBe(0);
  vi.advanceTimersByTime(20);
  expect(calls).toBe(1);
  for (let n = 0; n < 20; n++) change(100, 30);
  vi.advanceTimersByTime(50);
  expect(calls).toBeGreaterThanOrEqual(3);
  expect(calls).toBeLessThanOrEqual(5);
});
