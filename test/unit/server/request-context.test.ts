import { expect, test } from 'vitest';
import { RequestContext, type RequestSettings } from '../../../src/server/request-context.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { deferred } from '../../support/wait.js';

test('a join in progress is found until it settles, whatever other joins do', async () => {
  const settings = { clock: new FakeClock(), report: () => {} } as unknown as RequestSettings<never>;
  const context = new RequestContext<never>({} as never, settings, {} as never);
  const [first, repeated, other] = [deferred<void>(), deferred<void>(), deferred<void>()];
  context.addJoin('a', first.promise);
  context.addJoin('a', repeated.promise);
  repeated.reject(new Error('refused'));
  await turn();
  expect(context.joinOf('a')).toBeUndefined();
  context.addJoin('b', other.promise);
  first.resolve();
  await turn();
  expect(context.joinOf('b')).toBe(other.promise);
  other.resolve();
  await turn();
  expect(context.joinOf('b')).toBeUndefined();
});
