import { expect, test } from 'vitest';
import { CatchUpPacer, type PacedReceiver } from '../../../src/rooms/catch-up-pacer.js';
import { FakeClock, turn } from '../../support/fake-clock.js';

const MAX = 100_000;
const KB = 1_024;

class Receiver implements PacedReceiver {
  open = true;
  bufferedBytes = 0;
  sentBytes = 0;
  stuck = 0;
  readonly confirmations: (() => void)[] = [];

  confirm(done: () => void): void {
    this.confirmations.push(done);
  }

  onStuck(): void {
    this.stuck++;
    this.open = false;
  }
}

function fixture() {
  const clock = new FakeClock();
  const receiver = new Receiver();
  const pacer = new CatchUpPacer(receiver, clock, MAX);
  const drained: number[] = [];
  const wait = (name: number) => void pacer.drained().then(() => drained.push(name));
  const pass = async (ms: number) => {
    await clock.advance(ms);
    await turn();
  };
  return { clock, receiver, pacer, drained, wait, pass };
}

test('a receiver is full above half of its buffer, and drained at a quarter, one waiter at a time', async () => {
  const { clock, receiver, pacer, drained, wait, pass } = fixture();
  receiver.bufferedBytes = MAX / 2;
  expect(pacer.full).toBe(false);
  receiver.bufferedBytes++;
  expect(pacer.full).toBe(true);
  wait(1);
  wait(2);
  receiver.bufferedBytes = MAX / 4 + 1;
  await pass(1_000);
  expect(drained).toEqual([]);
  receiver.bufferedBytes = MAX / 4;
  await pass(25);
  expect(drained).toEqual([1]);
  await pass(25);
  expect(drained).toEqual([1, 2]);
  expect(clock.timers).toBe(0);
});

test('a receiver that has not confirmed 256 KB is full, whatever waits in this process', async () => {
  const { receiver, pacer, drained, wait } = fixture();
  for (let sent = 0; sent < 4; sent++) {
    expect(pacer.full).toBe(false);
    receiver.sentBytes += 64 * KB;
  }
  expect(pacer.full).toBe(true);
  wait(1);
  receiver.confirmations[0]?.();
  await turn();
  expect(drained).toEqual([]);
  receiver.confirmations[1]?.();
  await turn();
  expect(drained).toEqual([1]);
  expect(pacer.full).toBe(false);
});

test('a receiver without progress for 30 s is stuck, one with little progress is not', async () => {
  const { receiver, pacer, wait, pass } = fixture();
  receiver.bufferedBytes = MAX;
  expect(pacer.full).toBe(true);
  wait(1);
  for (let seconds = 0; seconds < 100; seconds += 20) {
    await pass(20_000);
    receiver.bufferedBytes--;
  }
  await pass(29_000);
  expect(receiver.stuck).toBe(0);
  await pass(2_000);
  expect(receiver.stuck).toBe(1);
});

test('a receiver that confirms nothing is stuck, even if nothing waits in this process', async () => {
  const { receiver, pacer, wait, pass } = fixture();
  for (let sent = 0; sent < 5; sent++) {
    receiver.sentBytes += 64 * KB;
    if (pacer.full) break;
  }
  wait(1);
  await pass(31_000);
  expect(receiver.stuck).toBe(1);
});

test('a closed receiver stays full, so that no more is read for it', async () => {
  const { clock, receiver, pacer, drained, wait, pass } = fixture();
  receiver.bufferedBytes = MAX;
  wait(1);
  receiver.open = false;
  pacer.stop();
  receiver.bufferedBytes = 0;
  expect(pacer.full).toBe(true);
  await pass(60_000);
  expect([drained, receiver.stuck, clock.timers]).toEqual([[], 0, 0]);
});
