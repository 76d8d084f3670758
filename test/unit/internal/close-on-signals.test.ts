import { afterEach, expect, test } from 'vitest';
import { closeOnSignals } from '../../../src/internal/close-on-signals.js';
import { turn } from '../../support/fake-clock.js';
import { deferred } from '../../support/wait.js';

// SIGUSR2 and SIGWINCH replace the usual signals, which the test runner handles itself.
const signals = ['SIGUSR2', 'SIGWINCH'] as const;
let remove: (() => void) | undefined;
afterEach(() => remove?.());

function fixture() {
  const closing = deferred();
  const calls: string[] = [];
  const exits: (number | undefined)[] = [];
  const close = (signal: string) => {
    calls.push(signal);
    return closing.promise;
  };
  remove = closeOnSignals(close, { signals, exit: (code?: number) => exits.push(code) });
  return { closing, calls, exits };
}

test('the first signal calls close, and the process exits when that has finished', async () => {
  const { closing, calls, exits } = fixture();
  process.emit('SIGUSR2', 'SIGUSR2');
  await turn();
  expect([calls, exits]).toEqual([['SIGUSR2'], []]);
  closing.resolve();
  await turn();
  expect(exits).toEqual([undefined]);
});

test('a second signal of either kind does not interrupt or repeat the close, and a third exits at once', async () => {
  const { closing, calls, exits } = fixture();
  process.emit('SIGUSR2', 'SIGUSR2');
  process.emit('SIGWINCH', 'SIGWINCH');
  await turn();
  expect([calls, exits]).toEqual([['SIGUSR2'], []]);
  process.emit('SIGUSR2', 'SIGUSR2');
  expect(exits).toEqual([128 + 12]);
  closing.resolve();
});

test('a failed close causes a warning and the exit code 1', async () => {
  const { closing, exits } = fixture();
  const warned = new Promise<Error>((resolve) => process.once('warning', resolve));
  process.emit('SIGUSR2', 'SIGUSR2');
  closing.reject(new Error('no Redis'));
  expect((await warned).message).toBe('closing on SIGUSR2 failed: no Redis');
  expect(exits).toEqual([1]);
});

test('the returned function removes the listeners', () => {
  const before = process.listenerCount('SIGUSR2');
  fixture();
  expect(process.listenerCount('SIGUSR2')).toBe(before + 1);
  remove?.();
  expect(process.listenerCount('SIGUSR2')).toBe(before);
});
