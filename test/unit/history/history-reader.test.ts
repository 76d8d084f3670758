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

type Page = [last: string, more: number, ...messages: string[]];

/** Channels read by each call of the script, and whether it asks for the identity of the server. */
function calls(): { channels: number; identifies: boolean }[] {
  return (driver.only.commands as readonly ScriptCall[]).map(({ keys, args }) => {
    return { channels: keys.length / 2, identifies: args[0] === '1' };
  });
}

/** Answers the calls in flight with an empty page for each channel. */
async function answer(server: string, last = '0-0'): Promise<ReturnType<typeof calls>> {
  await turn();
  const made = calls();
  const pages = (channels: number) => Array.from({ length: channels }, (): Page => [last, 0]);
  driver.only.ack(made.map(({ channels, identifies }) => [identifies ? server : '', ...pages(channels)]));
  return made;
}

test('the server is asked for its identity once per connection, for any number of channels', async () => {
  const first = Promise.all(['a', 'b', 'c'].map((channel) => read(channel, 'cached')));
  expect(await answer('one')).toEqual([{ channels: 3, identifies: true }]);
  expect((await first).map(({ server }) => server)).toEqual(['one', 'one', 'one']);
  const second = read('d', 'cached');
  expect(await answer('two')).toEqual([{ channels: 1, identifies: false }]);
  expect((await second).server).toBe('one');
  expect(await reader.identify('e')).toBe('one');
  driver.connection('lost');
  driver.connection('ready');
  const third = read('f', 'cached');
  expect(await answer('two')).toEqual([{ channels: 1, identifies: true }]);
  expect((await third).server).toBe('two');
});

test('after a gap the server is asked for its identity again, once per round trip', async () => {
  const first = read('a', 'cached');
  await answer('one');
  await first;
  const second = Promise.all([read('a', 'now'), read('b', 'cached'), read('c')]);
  expect(await answer('two')).toEqual([{ channels: 3, identifies: true }]);
  expect((await second).map(({ server }) => server)).toEqual(['two', 'two', undefined]);
});

test('a page requested by a user does not ask for the identity of the server', async () => {
  const page = read('a');
  expect(await answer('')).toEqual([{ channels: 1, identifies: false }]);
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
  expect((await answer('one')).filter(({ identifies }) => identifies)).toHaveLength(2);
  expect((await pages).map(({ server }) => server)).toEqual(['one', 'one', undefined]);
});

describe('many channels', () => {
  const names = Array.from({ length: 80 }, (_, at) => `c${at}`);
  const readAfter = (channel: string, identify?: 'now') =>
    reader.readWithRetry(
      { channel, limit: 10, after: '5-1', ...(identify === undefined ? {} : { identify }) },
      () => false,
    );
  /** MGET with the number of keys, or the channels that a call of the script reads. */
  const shown = () =>
    driver.only.commands.map((command) => {
      if (!isScriptCall(command)) return `${command[0]} ${command.length - 1}`;
      const logs = command.keys.filter((_, at) => at % 2 === 0);
      return logs.map((key) => /\{(.*)\}/.exec(key)?.[1]).join(' ');
    });

  test('are read by one call of the script, up to 64 in a round trip', async () => {
    const pages = Promise.all(names.map((name) => read(name)));
    expect(await answer('')).toEqual([{ channels: 64, identifies: false }]);
    expect(await answer('')).toEqual([{ channels: 16, identifies: false }]);
    expect(await pages).toHaveLength(80);
  });

  test('whose pages together were too large are read by another call', async () => {
    const pages = Promise.all(['a', 'b', 'c'].map((name) => read(name)));
    await turn();
    expect(shown()).toEqual(['a b c']);
    driver.only.ack([['', ['6-1', 0, 'rc1:6-1:5-1\nx']]]);
    await turn();
    expect(shown()).toEqual(['b c']);
    driver.only.ack([['', ['7-1', 0], ['8-1', 0]]]);
    expect((await pages).map(({ last }) => last)).toEqual(['6-1', '7-1', '8-1']);
  });

  test('one that Redis refuses to read does not affect the others', async () => {
    const pages = Promise.allSettled(['a', 'b', 'c'].map((name) => read(name, 'cached')));
    await turn();
    driver.only.ack([new Error('WRONGTYPE Operation against a key')]);
    await turn();
    expect(shown()).toEqual(['a', 'b', 'c']);
    const [first, ...others] = calls();
    expect([first, ...others].filter((call) => call?.identifies)).toHaveLength(1);
    const pageOf = (call: (typeof others)[0]) => [call.identifies ? 'one' : '', ['6-1', 0]];
    driver.only.ack([new Error('WRONGTYPE Operation against a key'), ...others.map(pageOf)]);
    const [refused, ...read2] = await pages;
    expect(refused).toMatchObject({ reason: { name: 'ConfigurationError' } });
    expect(read2).toMatchObject([{ value: { server: 'one' } }, { value: { server: 'one' } }]);
  });

  test('after a gap the last positions of more channels than a call reads are read at once, and only channels with new messages are read', async () => {
    const pages = Promise.all(names.map((name) => readAfter(name)));
    await turn();
    expect(shown()).toEqual(['MGET 80']);
    const positions: Reply[] = names.map(() => '5-1:0:9');
    positions[3] = null;
    positions[7] = '6-1:0:9';
    positions[8] = '5-1';
    driver.only.ack([positions]);
    await turn();
    expect(shown()).toEqual(['c3 c7']);
    driver.only.ack([['', ['7-0', 0], ['6-1', 0, 'rc1:6-1:5-1\nx']]]);
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
    expect(shown()).toEqual(['MGET 80', expect.stringMatching(/^c\d+$/)]);
    driver.only.ack([names.map(() => '5-1'), ['one', ['5-1', 0]]]);
    expect((await pages).map(({ server }) => server)).toEqual(names.map(() => 'one'));
    expect(driver.pending).toEqual([]);
  });

  test('one MGET reads up to 1,000 positions', async () => {
    const all = Array.from({ length: 1_001 }, (_, at) => `c${at}`);
    const pages = Promise.all(all.map((name) => readAfter(name)));
    await turn();
    expect(shown()).toEqual(['MGET 1000']);
    driver.only.ack([all.slice(1).map((_, at) => (at < 65 ? '6-1:0:9' : '5-1'))]);
    await turn();
    expect(shown()).toEqual(['MGET 1']);
    driver.only.ack([['5-1']]);
    for (const channels of [64, 1]) expect(await answer('', '6-1')).toMatchObject([{ channels }]);
    expect(await pages).toHaveLength(1_001);
  });

  test('without permission for MGET each channel is read, and MGET is not tried again', async () => {
    for (const expected of [['MGET 80'], []]) {
      const pages = Promise.all(names.map((name) => readAfter(name)));
      await turn();
      if (expected.length > 0) {
        expect(shown()).toEqual(expected);
        driver.only.ack([new Error('NOPERM no permission')]);
      }
      for (const channels of [64, 16]) expect(await answer('', '5-1')).toMatchObject([{ channels }]);
      expect(await pages).toHaveLength(80);
    }
  });

  test('few channels are read by the script at once; on a Cluster each by its own call', async () => {
    void Promise.all(names.slice(0, 64).map((name) => readAfter(name)));
    expect(await answer('', '5-1')).toMatchObject([{ channels: 64 }]);
    set({ cluster: true });
    void Promise.all(names.map((name) => readAfter(name)));
    const made = await answer('', '5-1');
    expect(made).toHaveLength(64);
    expect(new Set(made.map(({ channels }) => channels))).toEqual(new Set([1]));
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
  for (const reply of [new Error('WRONGTYPE Operation against a key'), ['', ['6-1', 0, 'rc2:6-1\nx']]]) {
    const page = read('a');
    await turn();
    driver.only.ack([reply]);
    await expect(page).rejects.toThrow(ConfigurationError);
    await expect(page).rejects.toThrow('delete the key "rollcall:log:{a}"');
  }
});
