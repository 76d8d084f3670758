import { expect, test } from 'vitest';
import { ActivityTracker } from '../../../src/pubsub/activity-tracker.js';
import { FakeClock, turn } from '../../support/fake-clock.js';

class CountingClock extends FakeClock {
  asked = 0;

  override monotonic(): number {
    this.asked++;
    return super.monotonic();
  }
}

test('what comes in one go is heard when its first message came, and asks the time once', async () => {
  const clock = new CountingClock();
  const pulse = new ActivityTracker(clock);
  clock.advance(1_000);
  const at = clock.now();
  for (let message = 0; message < 100; message++) pulse.record();
  expect(pulse).toMatchObject({ wallTime: at, monotonic: 1_000 });
  expect(clock.asked).toBe(1);
});

test('what comes later is heard later', async () => {
  const clock = new CountingClock();
  const pulse = new ActivityTracker(clock);
  for (let second = 1; second <= 3; second++) {
    clock.advance(1_000);
    pulse.record();
    expect(pulse).toMatchObject({ wallTime: clock.now(), monotonic: second * 1_000 });
    await turn();
  }
});
