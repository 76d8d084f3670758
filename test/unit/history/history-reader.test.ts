import { beforeEach, describe, expect, test } from 'vitest';
import { HistoryReader } from '../../../src/history/history-reader.js';
import { ConfigurationError } from '../../../src/internal/errors.js';
import { SharedClient } from '../../../src/redis/client-handle.js';
import { isScriptCall, type Reply, type ScriptCall } from '../../../src/redis/driver.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { FakeDriver } from '../../support/fake-driver.js';

let driver: FakeDriver;
let reader: HistoryReader;
let clock: FakeClock;

function set(capabilities?: ConstructorParameters<typeof FakeDriver>[0]): void {
  driver = new FakeDriver(capabilities);
  clock = new FakeClock();
  reader = new HistoryReader(new SharedClient(driver, () => {}), clock);
}
beforeEach(() => set());

const read = (channel: string, identify?: 'cached' | 'now') =>
  reader.readWithRetry({ channel, limit: 1, ...(identify === undefined ? {} : { identify }) }, () => false);

/** Answers the read in flight. Returns which of its channels asked for the identity of the server. */
async function answer(server: string): Promise<boolean[]> {
  await turn();
  const call = driver.only;
  const asked = (call.commands as readonly ScriptCall[]).map(({ args }) => args[5] === '1');
  call.ack(asked.map((each) => ['0-0', 0, each ? server : '']));
  return asked;
}

const count = (asked: boolean[]) => asked.filter(Boolean).length;

test('the server is asked for its identity once per connection, for any number of channels', async () => {
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

test('after a gap the server is asked for its identity again, once per round trip', async () => {
  const first = read('a', 'cached');
  await answer('one');
  await first;
  const second = Promise.all([read('a', 'now'), read('b', 'cached'), read('c')]);
  expect(count(await answer('two'))).toBe(1);
  expect((await second).map(({ server }) => server)).toEqual(['two', 'two', undefined]);
});

test('a page requested by a user does not ask for the identity of the server', async () => {
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

describe('many channels after a gap', () => {
  const names = Array.from({ length: 20 }, (_, at) => `c${at}`);
  const readAfter = (channel: string, identify?: 'now') =>
    reader.readWithRetry(
      { channel, limit: 10, after: '5-1', ...(identify === undefined ? {} : { identify }) },
      () => false,
    );
  const shown = () =>
    driver.only.commands.map((command) =>
      isScriptCall(command) ? command.keys[0] : `${command[0]} ${command.length - 1}`,
    );

  test('the last positions of many channels are read at once, and only channels with new messages are read', async () => {
    const pages = Promise.all(names.map((name) => readAfter(name)));
    await turn();
    expect(shown()).toEqual(['MGET 20']);
    const positions: Reply[] = names.map(() => '5-1:0:9');
    positions[3] = null;
    positions[7] = '6-1:0:9';
    positions[8] = '5-1';
    driver.only.ack([positions]);
    await turn();
    expect(shown()).toEqual(['rollcall:log:{c3}', 'rollcall:log:{c7}']);
    driver.only.ack([
      ['7-0', 0, ''],
      ['6-1', 0, '', 'rc1:6-1:5-1\nx'],
    ]);
    const found = await pages;
    expect(found[0]).toEqual({ last: '5-1', more: false, server: undefined, messages: [] });
    expect(found[8]).toEqual(found[0]);
    expect(found[3]).toMatchObject({ last: '7-0', messages: [] });
    expect(found[7]).toMatchObject({
      last: '6-1',
      messages: [{ position: '6-1', previous: '5-1', payload: 'x' }],
    });
  });

  test('the server is identified in the same round trip, by the read of one of them', async () => {
    const pages = Promise.all(names.map((name) => readAfter(name, 'now')));
    await turn();
    expect(shown()).toEqual(['MGET 20', expect.stringContaining('rollcall:log:')]);
    driver.only.ack([names.map(() => '5-1'), ['5-1', 0, 'one']]);
    expect((await pages).map(({ server }) => server)).toEqual(names.map(() => 'one'));
    expect(driver.pending).toEqual([]);
  });

  test('one MGET reads up to 1,000 positions, and one round trip up to 64 channels', async () => {
    const all = Array.from({ length: 1_001 }, (_, at) => `c${at}`);
    const pages = Promise.all(all.map((name) => readAfter(name)));
    await turn();
    expect(shown()).toEqual(['MGET 1000']);
    driver.only.ack([all.slice(1).map((_, at) => (at < 65 ? '6-1:0:9' : '5-1'))]);
    await turn();
    expect(shown()).toEqual(['MGET 1']);
    driver.only.ack([['5-1']]);
    for (const expected of [64, 1]) {
      await turn();
      expect(shown()).toHaveLength(expected);
      driver.only.ack(shown().map(() => ['6-1', 0, '']));
    }
    expect(await pages).toHaveLength(1_001);
  });

  test('without permission for MGET each channel is read, and MGET is not tried again', async () => {
    for (const expected of [['MGET 20'], []]) {
      const pages = Promise.all(names.map((name) => readAfter(name)));
      await turn();
      if (expected.length > 0) {
        expect(shown()).toEqual(expected);
        driver.only.ack([new Error('NOPERM no permission')]);
        await turn();
      }
      expect(shown()).toHaveLength(20);
      driver.only.ack(names.map(() => ['5-1', 0, '']));
      expect(await pages).toHaveLength(20);
    }
  });

  test('few channels, pages requested by a user, and a Cluster are read by script at once', async () => {
    void Promise.all(names.slice(0, 7).map((name) => readAfter(name)));
    await turn();
    expect(shown()).toHaveLength(7);
    driver.only.ack(names.slice(0, 7).map(() => ['5-1', 0, '']));
    void Promise.all(names.map((name) => read(name)));
    await turn();
    expect(shown()).toHaveLength(20);
    set({ cluster: true });
    void Promise.all(names.map((name) => readAfter(name)));
    await turn();
    expect(shown()).toHaveLength(20);
  });
});

test('three reads without an answer within 5 s each are an error; lost connections do not count', async () => {
  let error: unknown;
  read('a').catch((cause: unknown) => {
    error = cause;
  });
  await turn();
  for (const kind of ['lost', 'silent', 'lost', 'silent', 'silent']) {
    expect(error).toBeUndefined();
    const call = driver.only;
    if (kind === 'lost') call.interrupt();
    else {
      clock.advance(4_999);
      await turn();
      expect(driver.only).toBe(call);
      clock.advance(1);
      call.ack([]);
    }
    await turn();
    clock.advance(5_000);
    await turn();
  }
  expect(error).toMatchObject({ name: 'TimeoutError' });
  expect(driver.pending).toEqual([]);
});

test('data of another format is an error that names the remedy', async () => {
  for (const reply of [new Error('WRONGTYPE Operation against a key'), ['6-1', 0, '', 'rc2:6-1\nx']]) {
    const page = read('a');
    await turn();
    driver.only.ack([reply]);
    await expect(page).rejects.toThrow(ConfigurationError);
    await expect(page).rejects.toThrow('delete the key "rollcall:log:{a}"');
  }
});
