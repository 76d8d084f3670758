import { describe, expect, test, vi } from 'vitest';
import * as errors from '../../../src/internal/errors.js';
import {
  BannedError,
  ClosedError,
  CommandError,
  ConfigurationError,
  ConnectionError,
  DecodeError,
  DiscontinuityError,
  HandlerError,
  InvalidArgumentError,
  isRollcallError,
  LimitError,
  OverflowError,
  RollcallError,
  SchemaError,
  TimeoutError,
  UnsupportedError,
} from '../../../src/internal/errors.js';

const cause = new Error('why');

const all: [RollcallError, string, string, 'failed' | 'unknown'][] = [
  [new ClosedError('m', { cause }), 'ClosedError', 'ERR_CLOSED', 'failed'],
  [new CommandError('m', { cause }), 'CommandError', 'ERR_COMMAND', 'failed'],
  [new ConfigurationError('m', { cause }), 'ConfigurationError', 'ERR_CONFIGURATION', 'failed'],
  [new ConnectionError('m', { cause }), 'ConnectionError', 'ERR_CONNECTION', 'failed'],
  [new DecodeError('m', { cause }), 'DecodeError', 'ERR_DECODE', 'failed'],
  [
    new DiscontinuityError({ reason: 'm', since: new Date(0) }, ['a'], { cause }),
    'DiscontinuityError',
    'ERR_DISCONTINUITY',
    'failed',
  ],
  [new HandlerError('m', { cause }), 'HandlerError', 'ERR_HANDLER', 'failed'],
  [new InvalidArgumentError('a', 'm', { cause }), 'InvalidArgumentError', 'ERR_INVALID_ARGUMENT', 'failed'],
  [new LimitError('m', { cause }), 'LimitError', 'ERR_LIMIT', 'failed'],
  [new BannedError('m', { cause }), 'BannedError', 'ERR_BANNED', 'failed'],
  [new OverflowError('m', { cause }), 'OverflowError', 'ERR_OVERFLOW', 'failed'],
  [new SchemaError('m', [], { cause }), 'SchemaError', 'ERR_SCHEMA', 'failed'],
  [new TimeoutError('m', { cause }), 'TimeoutError', 'ERR_TIMEOUT', 'unknown'],
  [new UnsupportedError('m', { cause }), 'UnsupportedError', 'ERR_UNSUPPORTED', 'failed'],
];

describe.each(all.map(([error, name, code, outcome]) => [name, error, code, outcome] as const))(
  '%s',
  (name, error, code, outcome) => {
    test('the error has a literal name, a code, an outcome and a cause', () => {
      // A minifier changes the name of the class; the name of the error must stay.
      expect(error.name).toBe(name);
      expect(Object.hasOwn(error, 'name')).toBe(true);
      expect(error).toMatchObject({ code, outcome, cause });
      expect(error).toBeInstanceOf(RollcallError);
      expect(error).toBeInstanceOf(Error);
      expect(isRollcallError(error)).toBe(true);
      expect(String(error)).toMatch(new RegExp(`^${name}: `));
      expect(error.stack).toContain('errors.test.ts');
    });
  },
);

test('every exported error class is tested here', () => {
  const classes = Object.values(errors).filter(
    (each) => typeof each === 'function' && each.prototype instanceof RollcallError,
  );
  expect(classes.map((each) => each.name).sort()).toEqual(all.map(([, name]) => name).sort());
});

test('an outcome can be passed', () => {
  expect(new ConnectionError('m', { outcome: 'unknown' }).outcome).toBe('unknown');
  expect(new TimeoutError('m', { outcome: 'failed' }).outcome).toBe('failed');
});

test('InvalidArgumentError names the argument', () => {
  expect(new InvalidArgumentError('channel', 'must not be empty')).toMatchObject({
    argument: 'channel',
    message: 'channel: must not be empty',
  });
});

test('without a cause there is no `cause`', () => {
  expect('cause' in new ClosedError('m')).toBe(false);
});

test('isRollcallError is true for errors of another copy, and for nothing else', () => {
  const copy = Object.assign(new Error('m'), { code: 'ERR_TIMEOUT', outcome: 'unknown' });
  expect(isRollcallError(copy)).toBe(true);
  for (const other of [
    undefined,
    null,
    'ERR_TIMEOUT',
    new Error('m'),
    Object.assign(new Error('m'), { code: 'ERR_INVALID_URL' }),
    Object.assign(new Error('m'), { code: 'ECONNRESET', outcome: 'failed' }),
    { code: 'ERR_TIMEOUT', outcome: 'unknown' },
  ]) {
    expect(isRollcallError(other)).toBe(false);
  }
});

test('instanceof is true for an error of another copy of the package, by its class', async () => {
  vi.resetModules();
  const copy = await import('../../../src/internal/errors.js');
  expect(copy.ClosedError).not.toBe(ClosedError);
  const closed: unknown = new copy.ClosedError('m');
  expect(closed instanceof ClosedError).toBe(true);
  expect(closed instanceof RollcallError).toBe(true);
  expect(closed instanceof ConnectionError).toBe(false);
  expect(new Error('m') instanceof RollcallError).toBe(false);
  expect((undefined as unknown) instanceof ClosedError).toBe(false);
  class Own extends ClosedError {}
  expect(new Own('m') instanceof Own).toBe(true);
  expect(closed instanceof Own).toBe(false);
});
