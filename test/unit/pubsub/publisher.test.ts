import { beforeEach, describe, expect, test } from 'vitest';
import { appendScript } from '../../../src/history/append.js';
import { historyKeys } from '../../../src/history/keys.js';
import {
  ClosedError,
  CommandError,
  ConfigurationError,
  ConnectionError,
  TimeoutError,
} from '../../../src/internal/errors.js';
import { Publisher, type PublisherResult, type PublishRequest } from '../../../src/pubsub/publisher.js';
import { ClientHandle, SharedClient } from '../../../src/redis/client-handle.js';
import { type Command, isScriptCall, type PlainCommand, type ScriptCall } from '../../../src/redis/driver.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { FakeDriver } from '../../support/fake-driver.js';

const TIMEOUT = 800;

let driver: FakeDriver;
let clock: FakeClock;
let link: ClientHandle;
let publisher: Publisher;

function set(capabilities?: ConstructorParameters<typeof FakeDriver>[0]): void {
  driver = new FakeDriver(capabilities);
  clock = new FakeClock();
  link = new ClientHandle('PubSubService', new SharedClient(driver, () => {}), TIMEOUT, clock);
  publisher = new Publisher(link);
}
beforeEach(() => set());

/** Publishes. The returned object receives the result or the error. */
function publish(payload: string, more: Partial<PublishRequest> = {}) {
  const one: Partial<PublisherResult> & { error?: unknown } = {};
  publisher.publish({ channel: 'x', sharded: false, payload, ...more }).then(
    (outcome) => {
      Object.assign(one, outcome);
    },
    (error) => {
      one.error = error;
    },
  );
  return one;
}

const sent = () =>
  driver.calls
    .filter(({ method }) => method === 'execute')
    .map(({ commands }) => commands.map((command) => (command as PlainCommand)[2]));

/** Breaks the connection; the client keeps reconnecting. */
async function offline() {
  driver.connection('lost', new Error('ECONNRESET'));
  await turn();
}

test('messages of one tick are sent in one pipeline, in order, not in a transaction', async () => {
  const all = ['a', 'b', 'c'].map((payload) => publish(payload));
  await Promise.resolve();
  all.push(publish('d'));
  await turn();
  expect(sent()).toEqual([['a', 'b', 'c', 'd']]);
  expect(driver.only.options?.atomic ?? false).toBe(false);
  driver.only.ack([1, 0, 3, 2]);
  await turn();
  expect(all).toEqual([1, 0, 3, 2].map((receivers) => ({ receivers })));
});

test('the next tick does not wait for the reply to the previous one', async () => {
  publish('a');
  await turn();
  publish('b');
  await turn();
  expect(sent()).toEqual([['a'], ['b']]);
});

test('a refused message rejects with a CommandError, and the others of its pipeline resolve', async () => {
  const [a, b] = [publish('a'), publish('b')];
  await turn();
  driver.only.ack([new Error('NOPERM no'), 4]);
  await turn();
  expect(a.error).toBeInstanceOf(CommandError);
  expect((a.error as Error).cause).toBeInstanceOf(Error);
  expect(b.receivers).toBe(4);
});

describe('without a connection', () => {
  test('messages wait, and are sent in order after the reconnect', async () => {
    await offline();
    const one = publish('a');
    await turn();
    publish('b');
    await turn();
    expect(publisher.queued).toBe(2);
    expect(sent()).toEqual([]);
    driver.connection('ready');
    await turn();
    expect(sent()).toEqual([['a', 'b']]);
    driver.pending.at(-1)!.ack([1, 1]);
    await turn();
    expect(one.receivers).toBe(1);
    expect(publisher.queued).toBe(0);
  });

  test('a message fails at its deadline, and is never sent', async () => {
    await offline();
    const one = publish('a');
    await turn();
    clock.advance(TIMEOUT * 1.2);
    await turn();
    expect(one.error).toBeInstanceOf(TimeoutError);
    expect(one.error).toMatchObject({ outcome: 'failed', cause: { message: 'ECONNRESET' } });
    const two = publish('b');
    driver.connection('ready');
    await turn();
    expect(sent()).toEqual([['b']]);
    driver.pending.at(-1)!.ack([1]);
    await turn();
    expect(two.receivers).toBe(1);
  });

  test('a message fails at once when the client stops reconnecting', async () => {
    await offline();
    const one = publish('a');
    await turn();
    driver.connection('ended', new Error('no more'));
    await turn();
    expect(one.error).toBeInstanceOf(ConnectionError);
    expect(one.error).toMatchObject({ outcome: 'failed' });
    expect(publisher.queued).toBe(0);
  });

  test('messages that the driver could not send are queued again, before later ones', async () => {
    const one = publish('a');
    await turn();
    const call = driver.only;
    await offline();
    publish('b');
    await turn();
    call.interrupt('failed');
    await turn();
    expect(publisher.queued).toBe(2);
    driver.connection('ready');
    await turn();
    expect(sent()).toEqual([['a'], ['a', 'b']]);
    driver.pending.at(-1)!.ack([1, 1]);
    await turn();
    expect(one.receivers).toBe(1);
  });

  test('a message queued again keeps its deadline', async () => {
    const one = publish('a');
    await turn();
    const call = driver.only;
    clock.advance(TIMEOUT / 2);
    await offline();
    call.interrupt('failed');
    await turn();
    clock.advance(TIMEOUT * 0.7);
    await turn();
    expect(one.error).toMatchObject({ name: 'TimeoutError', outcome: 'failed' });
  });

  test('a message whose deadline passed in flight is not queued again', async () => {
    const one = publish('a');
    await turn();
    const call = driver.only;
    clock.advance(TIMEOUT * 1.2);
    await turn();
    expect(one.error).toMatchObject({ name: 'TimeoutError', outcome: 'unknown' });
    await offline();
    call.interrupt('failed');
    await turn();
    expect(publisher.queued).toBe(0);
    driver.connection('ready');
    await turn();
    expect(sent()).toEqual([['a']]);
  });
});

test('a message in flight when the connection breaks has an unknown outcome, and is not sent again', async () => {
  const one = publish('a');
  await turn();
  driver.only.interrupt('unknown');
  await turn();
  expect(one.error).toBeInstanceOf(ConnectionError);
  expect(one.error).toMatchObject({ outcome: 'unknown' });
  driver.connection('ready');
  await turn();
  expect(sent()).toEqual([['a']]);
});

test('the deadline is accurate to an eighth, and a reply in time cancels it', async () => {
  const [late, done] = [publish('a'), publish('b')];
  await turn();
  clock.advance(TIMEOUT - 1);
  await turn();
  expect(late.error).toBeUndefined();
  const call = driver.only;
  clock.advance(TIMEOUT / 8 + 1);
  await turn();
  expect(late.error).toMatchObject({ name: 'TimeoutError', outcome: 'unknown' });
  call.ack([1, 1]);
  await turn();
  expect(done.error).toBeDefined();
  expect(late.receivers).toBeUndefined();
  const third = publish('c');
  await turn();
  driver.only.ack([1]);
  await turn();
  clock.advance(TIMEOUT * 2);
  await turn();
  expect(third).toEqual({ receivers: 1 });
  expect(clock.timers).toBe(0);
});

describe('close', () => {
  test('fails unsent messages at once', async () => {
    await offline();
    const one = publish('a');
    await turn();
    publisher.close();
    await turn();
    expect(one.error).toBeInstanceOf(ClosedError);
    driver.connection('ready');
    await turn();
    expect(sent()).toEqual([]);
    clock.advance(TIMEOUT * 2);
    expect(clock.timers).toBe(0);
  });

  test('nothing is queued again', async () => {
    const one = publish('a');
    await turn();
    publisher.close();
    const call = driver.only;
    await offline();
    call.interrupt('failed');
    await turn();
    expect(one.error).toBeInstanceOf(ClosedError);
    driver.connection('ready');
    await turn();
    expect(sent()).toEqual([['a']]);
  });
});

describe('with history', () => {
  const history = { size: 10, ttl: 1_000, positionTtl: 60_000 };
  const append = (payload: string, more: Partial<PublishRequest> = {}) =>
    publish(payload, { history, ...more });

  /** What a command carries: for each channel its name and payloads, with marks for history and keys. */
  function shown(command: Command): string {
    if (!isScriptCall(command)) return `${command[1]} ${command[2]}`;
    expect(command.script).toBe(appendScript);
    const args = command.args.map(String);
    const channels: string[] = [];
    for (let at = 8, channel = 0; at < args.length; channel++) {
      const name = args[at++];
      const single = channel < Number(args[7]);
      const count = single ? 1 : Number(args[at++]);
      const keyed = single ? false : args[at++] === '1';
      const payloads: string[] = [];
      for (let message = 0; message < count; message++) {
        const key = keyed ? args[at++] : '';
        payloads.push(`${args[at++]}${key === '' ? '' : '*'}`);
      }
      channels.push(`${name} [${payloads.join(' ')}]`);
    }
    return channels.join(' + ');
  }
  const batches = () =>
    driver.calls.filter(({ method }) => method === 'execute').map(({ commands }) => commands.map(shown));

  /** What append.lua answers for `count` messages of one channel. */
  const appended = (first: number, count: number) => [
    `${first}-1`,
    ...Array.from({ length: count }, () => 2),
  ];

  test('messages of one channel are sent in one call, in order, each with its own result', async () => {
    const all = ['a', 'b', 'c'].map((payload) => append(payload));
    await turn();
    expect(batches()).toEqual([['x [a b c]']]);
    driver.only.ack([appended(5, 3)]);
    await turn();
    expect(all).toEqual([5, 6, 7].map((at) => ({ position: `${at}-1`, receivers: 2, duplicate: false })));
  });

  test('the call has the keys and arguments of the script', async () => {
    append('a', { idempotencyKey: 'k' });
    append('b', { sharded: false });
    append('c', { channel: 'y' });
    await turn();
    const [x, y] = [historyKeys('x'), historyKeys('y')];
    const options = ['PUBLISH', '10', '1000', '60000', '600000', '500000', 'rc1:'];
    expect(driver.only.commands).toEqual([
      {
        script: appendScript,
        keys: [y.messages, y.lastPosition, x.messages, x.lastPosition, ...x.idempotencyKeys],
        args: [...options, '1', 'y', 'c', 'x', '2', '1', ':k', 'a', '', 'b'],
      },
    ]);
  });

  test('many channels share a call; each keeps its order', async () => {
    const all = [
      ['a', 'x'],
      ['b', 'y'],
      ['c', 'x'],
      ['d', 'z'],
      ['e', 'y'],
    ].map(([payload = '', channel = '']) => append(payload, { channel }));
    await turn();
    expect(batches()).toEqual([['z [d] + x [a c] + y [b e]']]);
    driver.only.ack([[...appended(9, 1), ...appended(1, 2), ...appended(5, 2)]]);
    await turn();
    expect(all.map(({ position }) => position)).toEqual(['1-1', '5-1', '2-1', '9-1', '6-1']);
  });

  test('on a Cluster each channel has a call of its own', async () => {
    set({ cluster: true });
    for (const channel of ['x', 'y', 'x']) append('m', { channel });
    await turn();
    expect(batches()).toEqual([['x [m m]', 'y [m]']]);
  });

  test('a message without history waits for earlier ones of its channel that have one, and for no other', async () => {
    const all = [
      append('a'),
      append('b', { channel: 'y' }),
      publish('c'),
      append('d'),
      append('e', { channel: 'y' }),
      publish('f', { channel: 'z' }),
    ];
    await turn();
    expect(batches()).toEqual([['z f', 'x [a] + y [b e]']]);
    driver.only.ack([8, [...appended(1, 1), ...appended(10, 2)]]);
    await turn();
    expect(batches().slice(1)).toEqual([['x c', 'x [d]']]);
    driver.only.ack([7, appended(2, 1)]);
    await turn();
    expect(all.map(({ position, receivers }) => position ?? receivers)).toEqual([
      '1-1',
      '10-1',
      7,
      '2-1',
      '11-1',
      8,
    ]);
  });

  test('other history options, or sharded channels, have a call of their own', async () => {
    append('a');
    append('b', { history: { ...history } });
    append('c', { history: { ...history, size: 11 } });
    append('d', { history: { ...history, ttl: 11 } });
    append('e', { history: { ...history, positionTtl: 11 } });
    append('f', { sharded: true, history: { ...history, positionTtl: 11 } });
    await turn();
    expect(batches()).toEqual([['x [a b]', 'x [c]', 'x [d]', 'x [e]', 'x [f]']]);
    expect((driver.only.commands[4] as ScriptCall).args[0]).toBe('SPUBLISH');
  });

  test('no message is sent in a call before the one of an earlier message of its channel', async () => {
    const other = { ...history, size: 11 };
    append('a', { channel: 'y', history: other });
    append('b');
    append('c', { history: other });
    append('d');
    append('e', { channel: 'y' });
    await turn();
    expect(batches()).toEqual([['y [a]', 'x [b] + y [e]', 'x [c]', 'x [d]']]);
  });

  test('a call is bounded in messages and in bytes', async () => {
    for (let at = 0; at < 250; at++) append('m');
    const big = 'b'.repeat(600_000);
    for (let at = 0; at < 3; at++) append(big, { channel: 'y' });
    await turn();
    const counts = batches()[0]?.map((call) => call.replaceAll(big, 'b').match(/\b[mb]\b/g)?.length);
    // One large message fits after the 50 small ones.
    expect(counts).toEqual([100, 100, 51, 1, 1]);
  });

  test('an error in the reply concerns the messages of its channel', async () => {
    const [a, b, c, d] = [
      append('a'),
      append('b'),
      append('c', { channel: 'y' }),
      append('d', { channel: 'z' }),
    ];
    await turn();
    expect(batches()).toEqual([['y [c] + z [d] + x [a b]']]);
    driver.only.ack([['', '-NOPERM no permission', ...appended(1, 1), '', '-WRONGTYPE x', '-WRONGTYPE x']]);
    await turn();
    for (const one of [a, b]) {
      expect(one.error).toBeInstanceOf(ConfigurationError);
      expect(one.error).toMatchObject({ outcome: 'failed' });
      expect((one.error as Error).message).toContain('"rollcall:log:{x}"');
    }
    expect(c.error).toBeInstanceOf(CommandError);
    expect(c.error).toMatchObject({ outcome: 'failed' });
    expect(d.position).toBe('1-1');
  });

  test('a refused call fails its messages', async () => {
    const all = [append('a'), append('b'), append('c', { channel: 'y' })];
    await turn();
    driver.only.ack([new Error('OOM no memory')]);
    await turn();
    for (const one of all) expect(one.error).toMatchObject({ name: 'CommandError', outcome: 'failed' });
  });

  test('if the keys of one channel are forbidden, the others are sent without it, before later messages', async () => {
    const [a, b] = [append('a'), append('b', { channel: 'y' })];
    await turn();
    driver.only.ack([new Error('NOPERM no permission to access a key')]);
    const later = append('c', { channel: 'y' });
    await turn();
    expect(batches().slice(1)).toEqual([['x [a]', 'y [b]']]);
    driver.only.ack([new Error('NOPERM no permission to access a key'), appended(1, 1)]);
    await turn();
    expect(a.error).toMatchObject({ name: 'CommandError', outcome: 'failed' });
    expect(b.position).toBe('1-1');
    expect(batches().slice(2)).toEqual([['y [c]']]);
    driver.only.ack([appended(2, 1)]);
    await turn();
    expect(later.position).toBe('2-1');
  });

  test('while messages with history are in flight, those that must not overtake them wait', async () => {
    const all = [append('a')];
    await turn();
    const waiting = [publish('b'), append('c', { channel: 'y' }), publish('d', { channel: 'y' })];
    const free = publish('e', { channel: 'z' });
    await turn();
    expect(batches()).toEqual([['x [a]'], ['z e']]);
    expect(publisher.queued).toBe(3);
    driver.pending.at(-1)!.ack([4]);
    await turn();
    expect(free).toEqual({ receivers: 4 });
    // Also in later ticks: a message without history must not overtake one that waits.
    waiting.push(publish('f', { channel: 'y' }), publish('g'));
    await turn();
    expect(publisher.queued).toBe(5);
    driver.only.ack([appended(1, 1)]);
    await turn();
    expect(all[0]?.position).toBe('1-1');
    expect(batches().slice(2)).toEqual([['x b', 'x g', 'y [c]']]);
    driver.only.ack([1, 2, appended(2, 1)]);
    await turn();
    expect(batches().slice(3)).toEqual([['y d', 'y f']]);
    driver.only.ack([1, 2]);
    await turn();
    expect(
      waiting.every(({ receivers, position }) => receivers !== undefined || position !== undefined),
    ).toBe(true);
  });

  test('messages that wait expire, and fail at close', async () => {
    append('a');
    await turn();
    const waiting = publish('b');
    await turn();
    clock.advance(TIMEOUT * 1.2);
    await turn();
    expect(waiting.error).toMatchObject({ name: 'TimeoutError', outcome: 'failed' });
    const closed = publish('c');
    await turn();
    publisher.close();
    await turn();
    expect(closed.error).toBeInstanceOf(ClosedError);
    driver.only.ack([appended(1, 1)]);
    await turn();
    expect(batches()).toEqual([['x [a]']]);
  });

  test('a known idempotency key returns the earlier message', async () => {
    const one = append('a', { idempotencyKey: 'k' });
    await turn();
    expect(batches()).toEqual([['x [a*]']]);
    driver.only.ack([['', '3-1']]);
    await turn();
    expect(one).toEqual({ position: '3-1', receivers: 0, duplicate: true });
  });

  describe('when the connection breaks under it', () => {
    /** Sends `a` without and `b` with a key, and cuts the connection. */
    async function cut() {
      const [plain, keyed] = [append('a'), append('b', { idempotencyKey: 'k' })];
      await turn();
      const call = driver.pending.at(-1)!;
      await offline();
      call.interrupt('unknown');
      await turn();
      return { plain, keyed };
    }

    test('only messages with an idempotency key are sent again, before later ones', async () => {
      const { plain, keyed } = await cut();
      expect(plain.error).toMatchObject({ name: 'ConnectionError', outcome: 'unknown' });
      expect(keyed.error).toBeUndefined();
      append('c');
      await turn();
      expect(publisher.queued).toBe(2);
      driver.connection('ready');
      await turn();
      expect(batches()).toEqual([['x [a b*]'], ['x [b* c]']]);
      driver.pending.at(-1)!.ack([['2-1', '1-1', 2]]);
      await turn();
      expect(keyed).toEqual({ position: '1-1', receivers: 0, duplicate: true });
    });

    test('a message with a key is retried until its deadline', async () => {
      const { keyed } = await cut();
      for (let round = 0; round < 3; round++) {
        driver.connection('ready');
        await turn();
        const call = driver.pending.at(-1)!;
        await offline();
        call.interrupt('unknown');
        await turn();
      }
      expect(batches().slice(1)).toEqual([['x [b*]'], ['x [b*]'], ['x [b*]']]);
      clock.advance(TIMEOUT * 1.2);
      await turn();
      expect(keyed.error).toBeInstanceOf(TimeoutError);
      driver.connection('ready');
      await turn();
      expect(batches()).toHaveLength(4);
    });

    test('any error after a retry has an unknown outcome', async () => {
      const timed = (await cut()).keyed;
      clock.advance(TIMEOUT * 1.2);
      await turn();
      expect(timed.error).toMatchObject({ name: 'TimeoutError', outcome: 'unknown' });
      driver.connection('ready');
      const refused = (await cut()).keyed;
      driver.connection('ready');
      await turn();
      driver.pending.at(-1)!.ack([new Error('NOPERM no permission')]);
      await turn();
      expect(refused.error).toMatchObject({ outcome: 'unknown', cause: { name: 'CommandError' } });
      const ended = (await cut()).keyed;
      driver.connection('ended', new Error('no more'));
      await turn();
      expect(ended.error).toMatchObject({ outcome: 'unknown' });
      driver.connection('ready');
      const closed = (await cut()).keyed;
      publisher.close();
      await turn();
      expect(closed.error).toMatchObject({ outcome: 'unknown', cause: { name: 'ClosedError' } });
    });

    test('a message that was never sent has failed, with a key or without', async () => {
      await offline();
      const [plain, keyed] = [append('a'), append('b', { idempotencyKey: 'k' })];
      await turn();
      clock.advance(TIMEOUT * 1.2);
      await turn();
      for (const { error } of [plain, keyed])
        expect(error).toMatchObject({ name: 'TimeoutError', outcome: 'failed' });
    });

    test('a message that the driver could not send is sent again, with or without a key, and fails otherwise', async () => {
      const [plain, keyed] = [append('a'), append('b', { idempotencyKey: 'k' })];
      await turn();
      const call = driver.only;
      await offline();
      call.interrupt('failed');
      await turn();
      expect(publisher.queued).toBe(2);
      driver.connection('ended', new Error('no more'));
      await turn();
      for (const { error } of [plain, keyed]) {
        expect(error).toMatchObject({ name: 'ConnectionError', outcome: 'failed' });
      }
    });
  });
});
