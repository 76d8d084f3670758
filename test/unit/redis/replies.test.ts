import { expect, test } from 'vitest';
import { ClosedError, CommandError, ConnectionError } from '../../../src/internal/errors.js';
import { isServerError, toRollcallError } from '../../../src/redis/replies.js';

test.each([
  'ERR unknown command',
  'OOM command not allowed',
  'NOPERM no',
  'WRONGTYPE',
  'NOREPLICAS Not enough',
  'EXECABORT x',
  'MISCONF Redis is',
])('error %j is recognised as a server error', (message) => {
  const error = new Error(message);
  expect(isServerError(error)).toBe(true);
  const ours = toRollcallError(error);
  expect(ours).toBeInstanceOf(CommandError);
  expect(ours.cause).toBe(error);
});

test.each([
  'Connection is closed.',
  'Socket closed unexpectedly',
  'connect ECONNREFUSED 127.0.0.1:1',
  'The client is closed',
  '',
])('error %j is recognised as a client error', (message) => {
  const error = new Error(message);
  expect(isServerError(error)).toBe(false);
  const ours = toRollcallError(error);
  expect(ours).toBeInstanceOf(ConnectionError);
  expect(ours).toMatchObject({ cause: error, outcome: 'unknown' });
});

test('a rollcall error is returned unchanged', () => {
  const ours = new ClosedError('m');
  expect(toRollcallError(ours)).toBe(ours);
  expect(toRollcallError('text')).toMatchObject({ name: 'ConnectionError', message: 'text' });
});
