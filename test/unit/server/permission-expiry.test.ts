import { HandlerError } from 'rollcall';
import { expect, test } from 'vitest';
import { PermissionExpiry } from '../../../src/server/permission-expiry.js';
import { FakeClock } from '../../support/fake-clock.js';

const DAY = 86_400_000;
const JOIN = { action: 'join' } as const;

function fixture() {
  const clock = new FakeClock();
  let expired = 0;
  const expiry = new PermissionExpiry(clock, { recheck: () => void expired++ });
  const until = (ms: number) => ({ expiresAt: clock.now() + ms });
  return { clock, expiry, until, expired: () => expired };
}

test('only true, and an end that lies ahead, allow a request', () => {
  const { expiry, until } = fixture();
  const answers = [true, until(1), { expiresAt: new Date(until(1).expiresAt) }];
  expect(answers.map((answer) => expiry.accept(answer, JOIN))).toEqual([true, true, true]);
  const others = [false, undefined, null, 1, 'yes', {}, [], { expiresAt: undefined }, until(0), until(-1)];
  expect(others.map((answer) => expiry.accept(answer, JOIN))).toEqual(others.map(() => false));
  for (const expiresAt of ['tomorrow', Number.NaN, new Date('x'), {}]) {
    expect(() => expiry.accept({ expiresAt }, JOIN)).toThrow(HandlerError);
    expect(() => expiry.accept({ expiresAt }, JOIN)).toThrow(/authorize .*expiresAt: must be a Date/);
  }
});

test('the first end of what is shown counts, whatever the order of the answers', () => {
  const { clock, expiry, until, expired } = fixture();
  expect(expiry.timeLeft).toBeUndefined();
  for (const ms of [60 * DAY, 5_000, 9_000]) expiry.accept(until(ms), JOIN);
  // Of what is asked about each time, no end is kept.
  expiry.accept(until(1_000), { action: 'send' });
  expect(expiry.timeLeft).toBe(5_000);
  clock.advance(4_999);
  expect([expired(), expiry.timeLeft]).toEqual([0, 1]);
  clock.advance(1);
  expect([expired(), expiry.timeLeft]).toEqual([1, undefined]);
  clock.advance(61 * DAY);
  expect(expired()).toBe(1);
});

test('an end beyond the longest timer comes on time; one that is near, after a second; none after clear', () => {
  const { clock, expiry, until, expired } = fixture();
  expiry.accept(until(60 * DAY), { action: 'watch' });
  clock.advance(60 * DAY - 1);
  expect(expired()).toBe(0);
  clock.advance(1);
  expect(expired()).toBe(1);
  expiry.accept(until(1), { action: 'members' });
  clock.advance(999);
  expect(expired()).toBe(1);
  clock.advance(1);
  expect(expired()).toBe(2);
  expiry.accept(until(5_000), JOIN);
  expiry.clear();
  clock.advance(DAY);
  expect([expired(), clock.timers]).toEqual([2, 0]);
});
