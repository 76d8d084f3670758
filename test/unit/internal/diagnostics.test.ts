import { describe, expect, test, vi } from 'vitest';
import { DecodeError } from '../../../src/internal/errors.js';

// The module remembers its warnings, and other test files of this worker have used it.
vi.resetModules();
const { assertErrorListener, ErrorReporter, messageOf } = await import(
  '../../../src/internal/diagnostics.js'
);

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

describe('an error that no listener receives', () => {
  /** The warnings of `work`. */
  async function warningsOf(work: () => void): Promise<(Error & { code?: string; detail?: string })[]> {
    const warnings: Error[] = [];
    const collect = (warning: Error) => warnings.push(warning);
    process.on('warning', collect);
    work();
    // Node emits warnings in the next tick.
    await new Promise((resolve) => setImmediate(resolve));
    process.off('warning', collect);
    return warnings;
  }

  test('an error without a listener causes one warning per stage and code, with the stack of a failed handler', async () => {
    const bug = new Error('bug in the handler');
    const warnings = await warningsOf(() => {
      const reporter = new ErrorReporter(undefined);
      for (let at = 0; at < 3; at++) reporter.reportHandlerError(bug, { channel: 'news' });
      new ErrorReporter(undefined).report(new DecodeError('not JSON'), { stage: 'decode', channel: 'news' });
    });
    expect(warnings.map(({ name, code, message }) => [name, code, message.split('.')[0]])).toEqual([
      [
        'RollcallWarning',
        'ERR_HANDLER',
        'rollcall [handler, "news"]: a handler of channel "news" failed: bug in the handler',
      ],
      ['RollcallWarning', 'ERR_DECODE', 'rollcall [decode, "news"]: not JSON'],
    ]);
    expect(warnings[0]?.message).toContain('onError');
    expect(warnings[0]?.detail).toBe(bug.stack);
  });

  test('onError null silences the warning', async () => {
    const report = () => new ErrorReporter(null).report(new DecodeError('x'), { stage: 'probe' });
    expect(await warningsOf(report)).toEqual([]);
  });

  test('onError must be a function, null or undefined', () => {
    for (const fine of [undefined, null, () => {}]) assertErrorListener(fine);
    expect(() => assertErrorListener('log')).toThrow('onError');
  });
});
