import { expect, test } from 'vitest';
import { TaskQueue } from '../../../src/rooms/task-queue.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { type Deferred, deferred } from '../../support/wait.js';

function fixture() {
  const clock = new FakeClock();
  const queue = new TaskQueue(clock);
  const running: Deferred<void>[] = [];
  const start = () =>
    queue.run(() => {
      const task = deferred();
      running.push(task);
      return task.promise;
    });
  const startMany = (count: number) => Array.from({ length: count }, start);
  /** Waits for turns of the event loop until no task starts in one. */
  const untilIdle = async () => {
    for (let before = -1; before !== running.length; ) {
      before = running.length;
      await new Promise((resolve) => setImmediate(resolve));
      await turn();
    }
  };
  return { clock, queue, running, start, startMany, untilIdle };
}

test('a single task starts in the call', () => {
  const { start, running } = fixture();
  void start();
  expect(running).toHaveLength(1);
});

test('many tasks start in slices, with turns of the event loop in between', async () => {
  const { startMany, running, untilIdle } = fixture();
  void startMany(1_000);
  expect(running).toHaveLength(50);
  await untilIdle();
  expect(running).toHaveLength(250);
});

test('a task that ends starts the next one, until none is left', async () => {
  const { startMany, running, untilIdle, clock } = fixture();
  const done = startMany(600);
  for (let ended = 0; ended < 600; ) {
    await untilIdle();
    const started = running.slice(ended);
    expect(started.length).toBeLessThanOrEqual(250);
    for (const task of started) task.resolve();
    ended += started.length;
  }
  await Promise.all(done);
  expect(clock.timers).toBe(0);
});

test('a task that fails rejects its caller only', async () => {
  const { start, running } = fixture();
  const [first, second] = [start(), start()];
  running[0]?.reject(new Error('no'));
  running[1]?.resolve();
  await expect(first).rejects.toThrow('no');
  await second;
});

test('stalled tasks delay the others only briefly', async () => {
  const { startMany, running, untilIdle, clock } = fixture();
  void startMany(600);
  await untilIdle();
  expect(running).toHaveLength(250);
  clock.advance(250);
  await untilIdle();
  expect(running).toHaveLength(500);
  // Their late end must not free a place twice.
  for (const task of running.slice(0, 250)) task.resolve();
  await untilIdle();
  expect(running).toHaveLength(500);
  clock.advance(250);
  await untilIdle();
  expect(running).toHaveLength(600);
});
