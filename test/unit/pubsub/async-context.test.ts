import { AsyncLocalStorage, executionAsyncResource } from 'node:async_hooks';
import { beforeEach, expect, test } from 'vitest';
import { bindAsyncContext } from '../../../src/internal/async-context.js';
import { PubSubService } from '../../../src/pubsub/pubsub-service.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { FakeDriver } from '../../support/fake-driver.js';

let driver: FakeDriver;
let service: PubSubService;
const user = new AsyncLocalStorage<string>();

beforeEach(() => {
  driver = new FakeDriver();
  driver.onCall = (call) => call.ack();
  service = new PubSubService({ redis: driver, clock: new FakeClock() });
});

test('each handler runs in the async context in which it subscribed', async () => {
  const seen: [string, string | undefined][] = [];
  const subscribe = (name: string) => service.subscribe('x', () => seen.push([name, user.getStore()]));
  await user.run('ann', () => subscribe('ann'));
  await user.run('bob', () => subscribe('bob'));
  await user.run('ann', () => service.psubscribe('x*', () => seen.push(['pattern', user.getStore()])));
  user.run('carol', () => {
    driver.message('channel', 'x', '1');
    driver.message('pattern', 'x*', '1', 'x');
  });
  expect(seen).toEqual([
    ['ann', 'ann'],
    ['bob', 'bob'],
    ['pattern', 'ann'],
  ]);
});

test('onDiscontinuity runs in the async context in which it was passed', async () => {
  const seen: (string | undefined)[] = [];
  const onDiscontinuity = () => void seen.push(user.getStore());
  await user.run('ann', () => service.subscribe('x', () => {}, { onDiscontinuity }));
  const stream = user.run('bob', () => service.messages('x', { onDiscontinuity }));
  await stream.ready;
  user.run('carol', () => driver.drop(new Error('cut'), 'channel'));
  user.run('carol', () => driver.message('channel', 'x', '1'));
  expect(seen).toEqual(['ann', 'bob']);
  await stream.return();
});

test('a loop over messages() keeps its own async context', async () => {
  const stream = service.messages<number>('x');
  await stream.ready;
  const seen: (string | undefined)[] = [];
  const loop = user.run('ann', async () => {
    for await (const _ of stream) {
      seen.push(user.getStore());
      break;
    }
  });
  await turn();
  user.run('bob', () => driver.message('channel', 'x', '1'));
  await loop;
  expect(seen).toEqual(['ann']);
});

test('a handler keeps its async context when another handler has a different one and throws', async () => {
  const seen: (string | undefined)[] = [];
  await user.run('ann', () =>
    service.subscribe('x', () => {
      throw new Error('mine');
    }),
  );
  await user.run('bob', () => service.subscribe('x', async () => seen.push(user.getStore())));
  driver.message('channel', 'x', '1');
  expect(seen).toEqual(['bob']);
  expect(service.stats()).toMatchObject({ failed: 1, delivered: 2 });
});

test('outside of any async context a function is not bound, where that can be seen', () => {
  const callback = () => {};
  const visible = user.run('ann', () => Object.getOwnPropertySymbols(executionAsyncResource()).length > 0);
  expect(bindAsyncContext(callback) === callback).toBe(visible);
});
