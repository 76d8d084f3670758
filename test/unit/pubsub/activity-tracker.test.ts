import { expect, test } from 'vitest';
import { ActivityTracker } from '../../../src/pubsub/subscription-manager.js';
import { FakeClock, turn } from '../../support/fake-clock.js';

class CountingClock extends FakeClock {
  asked = 0;

  override monotonic(): number {
    this.asked++;
    return super.monotonic();
  }
}

test('messages of one turn have the time of the first one, and the clock is read once', async () => {
  const clock = new CountingClock();
  const activity = new ActivityTracker(clock);
  clock.advance(1_000);
  const at = clock.now();
  for (let message = 0; message < 100; message++) activity.record();
  expect(activity).toMatchObject({ wallTime: at, monotonic: 1_000 });
  expect(clock.asked).toBe(1);
});

test('a message of a later turn has a later time', async () => {
  const clock = new CountingClock();
  const activity = new ActivityTracker(clock);
  for (let second = 1; second <= 3; second++) {
    clock.advance(1_000);
    activity.record();
    expect(activity).toMatchObject({ wallTime: clock.now(), monotonic: second * 1_000 });
    await turn();
  }
});
