import { expect, test } from 'vitest';
import { ErrorReporter, messageOf } from '../../../src/internal/diagnostics.js';

test('messageOf has a text for any thrown value', () => {
  expect(messageOf(new Error('why'))).toBe('why');
  expect(messageOf('text')).toBe('text');
  expect(messageOf(undefined)).toBe('undefined');
  expect(messageOf(Symbol('s'))).toBe('Symbol(s)');
});

// An object without a prototype has no text form: String() throws for it.
test('messageOf does not throw for values without a text form', () => {
  expect(typeof messageOf(Object.create(null))).toBe('string');
  expect(
    typeof messageOf({
      toString() {
        throw new Error('hostile');
      },
    }),
  ).toBe('string');
});

test('a reporter without a listener is silent', () => {
  new ErrorReporter(undefined).reportHandlerError(new Error('mine'), { channel: 'x' });
});
