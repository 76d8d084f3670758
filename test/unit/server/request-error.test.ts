import { expect, test, vi } from 'vitest';
import { RequestError, toErrorFrame } from '../../../src/server/request-error.js';

test('a RequestError of another copy of the package answers the client, and other errors of that name do not', async () => {
  vi.resetModules();
  const other = await import('../../../src/server/request-error.js');
  const error = new other.RequestError('FORBIDDEN', 'not in this room', 500);
  expect(other.RequestError).not.toBe(RequestError);
  expect(error).toBeInstanceOf(RequestError);
  const report = vi.fn();
  expect(toErrorFrame(error, 1, report)).toEqual({
    type: 'error',
    id: 1,
    code: 'FORBIDDEN',
    message: 'not in this room',
    retryAfter: 500,
  });
  expect(report).not.toHaveBeenCalled();
  // The HTTP client `got` has an error class of this name.
  const foreign = Object.assign(new Error('secret'), { name: 'RequestError', code: 'ECONNREFUSED' });
  expect(foreign).not.toBeInstanceOf(RequestError);
  expect(toErrorFrame(foreign, 1, report)).toMatchObject({ code: 'INTERNAL' });
  class Own extends RequestError {}
  expect(error).not.toBeInstanceOf(Own);
  expect(new Own('LIMIT', '')).toBeInstanceOf(RequestError);
});
