import { describe, expect, test, vi } from 'vitest';
import { DecodeError } from '../../../src/internal/errors.js';

// What has been warned about is remembered in the module, which other test files of this worker have used, too.
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

  test('is warned about, once per stage and code, with the stack of a failed handler', async () => {
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

  test('is silenced by null', async () => {
    const report = () => new ErrorReporter(null).report(new DecodeError('x'), { stage: 'probe' });
    expect(await warningsOf(report)).toEqual([]);
  });

  test('onError is a function, null or left out', () => {
    for (const fine of [undefined, null, () => {}]) assertErrorListener(fine);
    expect(() => assertErrorListener('log')).toThrow('onError');
  });
});
