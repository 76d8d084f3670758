import { expect, test } from 'vitest';
import { onAbort } from '../../../src/internal/abort.js';

test('every task is called once, with the reason, unless it was called off', () => {
  const abort = new AbortController();
  const told: string[] = [];
  onAbort(abort.signal, (reason) => told.push(`one: ${reason}`));
  const forget = onAbort(abort.signal, () => told.push('two'));
  onAbort(abort.signal, (reason) => told.push(`three: ${reason}`));
  forget();
  forget();
  abort.abort('enough');
  abort.abort('again');
  expect(told).toEqual(['one: enough', 'three: enough']);
});

test('a task may call off those behind it, and itself', () => {
  const abort = new AbortController();
  const told: string[] = [];
  let forgetTwo = () => {};
  const forgetOne = onAbort(abort.signal, () => {
    told.push('one');
    forgetOne();
    forgetTwo();
  });
  forgetTwo = onAbort(abort.signal, () => told.push('two'));
  abort.abort();
  expect(told).toEqual(['one']);
});

test('one listener of a signal does for all', () => {
  const abort = new AbortController();
  let listeners = 0;
  abort.signal.addEventListener = () => {
    listeners++;
  };
  for (let n = 0; n < 100; n++) onAbort(abort.signal, () => {});
  expect(listeners).toBe(1);
});

test('without a signal there is nothing to do', () => {
  onAbort(undefined, () => {
    throw new Error('called');
  })();
});
