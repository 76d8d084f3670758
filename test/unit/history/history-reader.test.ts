import { beforeEach, expect, test } from 'vitest';
import { HistoryReader } from '../../../src/history/history-reader.js';
import { SharedClient } from '../../../src/redis/client-handle.js';
import type { ScriptCall } from '../../../src/redis/driver.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { FakeDriver } from '../../support/fake-driver.js';

let driver: FakeDriver;
let reader: HistoryReader;

function set(capabilities?: ConstructorParameters<typeof FakeDriver>[0]): void {
  driver = new FakeDriver(capabilities);
  reader = new HistoryReader(new SharedClient(driver, () => {}), new FakeClock());
}
beforeEach(() => set());

const read = (channel: string, identify?: 'cached' | 'now') =>
  reader.readWithRetry({ channel, limit: 1, ...(identify === undefined ? {} : { identify }) }, () => false);

/** Answers the read in flight; returns which of its channels asked for the server. */
async function answer(server: string): Promise<boolean[]> {
  await turn();
  const call = driver.only;
  const asked = (call.commands as readonly ScriptCall[]).map(({ args }) => args[5] === '1');
  call.ack(asked.map((each) => ['0-0', 0, each ? server : '']));
  return asked;
}

const count = (asked: boolean[]) => asked.filter(Boolean).length;

test('the server is asked once per connection, whatever the number of channels', async () => {
  const first = Promise.all(['a', 'b', 'c'].map((channel) => read(channel, 'cached')));
  expect(count(await answer('one'))).toBe(1);
  expect((await first).map(({ server }) => server)).toEqual(['one', 'one', 'one']);
  const second = read('d', 'cached');
  expect(count(await answer('two'))).toBe(0);
  expect((await second).server).toBe('one');
  expect(await reader.identify('e')).toBe('one');
  driver.connection('lost');
  driver.connection('ready');
  const third = read('f', 'cached');
  expect(count(await answer('two'))).toBe(1);
  expect((await third).server).toBe('two');
});

test('after a gap the server is asked again, once per round trip', async () => {
  const first = read('a', 'cached');
  await answer('one');
  await first;
  const second = Promise.all([read('a', 'now'), read('b', 'cached'), read('c')]);
  expect(count(await answer('two'))).toBe(1);
  expect((await second).map(({ server }) => server)).toEqual(['two', 'two', undefined]);
});

test('a page of a user does not ask for the server', async () => {
  const page = read('a');
  expect(count(await answer(''))).toBe(0);
  expect((await page).server).toBeUndefined();
});

test('on a Cluster every read asks its own node', async () => {
  set({ cluster: true });
  const first = read('a', 'cached');
  await turn();
  expect(driver.only.commands).toEqual([['CLUSTER', 'SLOTS']]);
  driver.only.ack([[]]);
  await answer('one');
  await first;
  const pages = Promise.all([read('a', 'cached'), read('b', 'now'), read('c')]);
  expect(count(await answer('one'))).toBe(2);
  expect((await pages).map(({ server }) => server)).toEqual(['one', 'one', undefined]);
});
