import { expect, test } from 'vitest';
import { onAbort } from '../../../src/internal/abort.js';

test('every task is called once with the reason, unless it was removed', () => {
  const abort = new AbortController();
  const called: string[] = [];
  onAbort(abort.signal, (reason) => called.push(`one: ${reason}`));
  const forget = onAbort(abort.signal, () => called.push('two'));
  onAbort(abort.signal, (reason) => called.push(`three: ${reason}`));
  forget();
  forget();
  abort.abort('enough');
  abort.abort('again');
  expect(called).toEqual(['one: enough', 'three: enough']);
});

test('a task can remove later tasks, and itself', () => {
  const abort = new AbortController();
  const called: string[] = [];
  let forgetTwo = () => {};
  const forgetOne = onAbort(abort.signal, () => {
    called.push('one');
    forgetOne();
    forgetTwo();
  });
  forgetTwo = onAbort(abort.signal, () => called.push('two'));
  abort.abort();
  expect(called).toEqual(['one']);
});

test('all tasks of a signal share one listener', () => {
  const abort = new AbortController();
  let listeners = 0;
  abort.signal.addEventListener = () => {
    listeners++;
  };
  for (let n = 0; n < 100; n++) onAbort(abort.signal, () => {});
  expect(listeners).toBe(1);
});

test('without a signal the returned function does nothing', () => {
  onAbort(undefined, () => {
    throw new Error('called');
  })();
});
