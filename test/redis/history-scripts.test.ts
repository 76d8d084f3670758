import { CommandError, ConfigurationError, type Discontinuity, type Position, PubSubService } from 'rollcall';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { AppendBatch } from '../../src/history/append.js';
import { unwrapStored } from '../../src/history/envelope.js';
import { readScript } from '../../src/history/history-reader.js';
import { historyKeys } from '../../src/history/keys.js';
import { driverFor } from '../../src/redis/detect.js';
import { ioredis, nodeRedis } from '../shared/redis-clients.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { type Reply, RespConnection } from '../support/resp.js';
import { waitFor } from '../support/wait.js';

// The two scripts of histories: what they answer, and what is in Redis afterwards.

const COMMAND_MS = 5_000;
const CHANNEL = 'news';
const { messages: log, lastPosition: last, idempotencyKeys: once } = historyKeys(CHANNEL);
const HOUR = 3_600_000_000;

let server: RedisServer;
let commands: RespConnection;
let published: string[];
let cleanUps: (() => unknown)[];

beforeAll(async () => {
  server = await startRedis();
  commands = await RespConnection.open(server.port, COMMAND_MS);
  const listening = await RespConnection.open(server.port, COMMAND_MS, (reply) => {
    published.push((reply as string[]).at(-1) as string);
  });
  await listening.send(['SUBSCRIBE', CHANNEL], COMMAND_MS);
});
afterAll(() => server.stop());
beforeEach(async () => {
  await run('FLUSHALL');
  published = [];
  cleanUps = [];
});
afterEach(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp();
});

const run = (...args: (string | number)[]) => commands.send(args.map(String), COMMAND_MS);

interface Message {
  payload: string;
  key?: string;
}

interface Outcome {
  position: string;
  receivers: number;
  known: number;
}

/** Calls append.lua as the publisher does, for one channel. */
async function append(messages: (string | Message)[], options: Record<string, unknown> = {}) {
  return (await appendTo([[CHANNEL, messages]], options)).map((outcome) => {
    if (typeof outcome === 'string') throw new Error(outcome);
    return outcome;
  });
}

/** Calls append.lua as the publisher does. Returns the outcome of each message, or the text of an error. */
async function appendTo(
  channels: [channel: string, messages: (string | Message)[]][],
  options: Record<string, unknown> = {},
): Promise<(Outcome | string)[]> {
  const { size = 100, ttl = 60_000, lastTtl = 600_000, period = 5_000, random = 41 / 999_999, on } = options;
  const history = { size: size as number, ttl: ttl as number, positionTtl: lastTtl as number };
  const requests = channels.flatMap(([channel, messages]) =>
    messages.map((message) => {
      const { payload, key } = typeof message === 'string' ? { payload: message } : message;
      return { channel, sharded: false, payload, history, idempotencyKey: key, item: undefined };
    }),
  );
  const batch = new AppendBatch(requests[0]!);
  for (const request of requests) batch.add(request);
  const { script, keys, args } = batch.toScriptCall(random as number);
  const argv = args.with(4, String(period));
  const all = ['EVAL', script.source, String(keys.length), ...keys, ...argv.map(String)];
  const reply = await ((on as RespConnection | undefined) ?? commands).send(all, COMMAND_MS);
  if (reply instanceof Error) throw reply;
  return batch.parseReply(reply as Reply[]).map((result) => {
    if (typeof result === 'string') return result;
    const { position, receivers, duplicate } = result;
    return { position, receivers, known: duplicate ? 1 : 0 };
  });
}

/** The last position as stored, and what is stored behind it, in s. */
async function storedPosition() {
  const stored = (await run('GET', last)) as string | null;
  const [position, oldest, expiry] = stored?.split(':') ?? [];
  return { position, oldest: Number(oldest), expiry: Number(expiry) };
}

interface Read {
  last: string;
  more: number;
  messages: { position: string; previous: string; payload: string }[];
}

/** Calls read.lua as the reader does. */
async function read(options: Record<string, unknown> = {}): Promise<Read> {
  const { after = '-', before = '+', limit = 100, maxBytes = 1_000_000, reverse = '0', on } = options;
  const { originTtl = 0, maxTotal = 1_000_000 } = options;
  const call = [
    'EVAL',
    readScript.source,
    2,
    log,
    last,
    1,
    maxTotal,
    after,
    before,
    limit,
    maxBytes,
    reverse,
    originTtl,
  ];
  const reply = await ((on as RespConnection | undefined) ?? commands).send(call.map(String), COMMAND_MS);
  if (reply instanceof Error) throw reply;
  const [identity, [newest, more, ...flat]] = reply as [string, [string, number, ...string[]]];
  const [runId, replicationId, previousId] = identity.split(':');
  // A replica has ids of its own.
  if (on === undefined) {
    const info = String(await run('INFO'));
    for (const line of [
      `run_id:${runId}`,
      `master_replid:${replicationId}`,
      `master_replid2:${previousId}`,
    ]) {
      expect(info).toContain(line);
    }
  }
  return {
    last: newest,
    more,
    messages: flat.map((message) => unwrapStored(message) as Read['messages'][0]),
  };
}

const payloads = ({ messages }: Read) => messages.map(({ payload }) => payload);
const timeOf = (position: Position) => Number(position.split('-')[0]);
const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, at) => String(from + at));

async function redisMicros(): Promise<number> {
  const [seconds, micros] = (await run('TIME')) as [string, string];
  return Number(seconds) * 1_000_000 + Number(micros);
}

/** Everything published before has been seen. */
async function fenced(): Promise<string[]> {
  await run('PUBLISH', CHANNEL, 'fence');
  await waitFor(() => published.includes('fence'), { message: 'the fence' });
  return published.splice(0).filter((payload) => payload !== 'fence');
}

/** So that what follows is within one period, of idempotency keys. */
async function awayFromPeriodEnd(period = 5_000): Promise<void> {
  await waitFor(async () => ((await redisMicros()) / 1_000) % period < period - 2_500, {
    message: 'the next period',
  });
}

function serviceOn(port = server.port): PubSubService {
  const { client, end } = nodeRedis(port);
  const service = new PubSubService({ redis: client });
  cleanUps.push(end, () => service.close());
  return service;
}

describe('append', () => {
  test('replies, stores and publishes, and every key has a TTL', async () => {
    await awayFromPeriodEnd();
    const before = await redisMicros();
    const [one, two] = await append(['a', { payload: 'b', key: 'k' }]);
    const after = await redisMicros();
    expect([one, two]).toEqual([
      { position: expect.stringMatching(/^\d{16}-42$/), receivers: 1, known: 0 },
      { position: `${timeOf(one!.position) + 1}-42`, receivers: 1, known: 0 },
    ]);
    expect(timeOf(one!.position)).toBeGreaterThanOrEqual(before);
    expect(timeOf(two!.position)).toBeLessThanOrEqual(after + 1);
    expect(await run('LRANGE', log, 0, -1)).toEqual([
      `rc1:${one!.position}:0-0\na`,
      `rc1:${two!.position}:${one!.position}\nb`,
    ]);
    const stored = await storedPosition();
    expect(stored.position).toBe(two!.position);
    expect(stored.oldest * 1_000_000).toBeLessThanOrEqual(timeOf(one!.position));
    expect(stored.oldest * 1_000_000).toBeGreaterThan(timeOf(one!.position) - 1_000_000);
    const current = once[Math.floor(timeOf(one!.position) / 5_000_000) % 2]!;
    expect(await run('HGETALL', current)).toEqual([':k', two!.position]);
    expect(((await run('KEYS', '*')) as string[]).sort()).toEqual([last, log, current].sort());
    for (const [key, least, most] of [
      [log, 60_000, 67_500],
      [last, 600_000, 675_000],
      [current, 5_000, 10_000],
    ] as const) {
      const left = (await run('PTTL', key)) as number;
      expect(left).toBeLessThanOrEqual(most);
      expect(left).toBeGreaterThan(least - 3_000);
    }
    // The list never expires before the time that is stored.
    const expires = ((await redisMicros()) / 1_000 + ((await run('PTTL', log)) as number)) / 1_000;
    expect(stored.expiry).toBeLessThanOrEqual(expires + 0.01);
    expect(await fenced()).toEqual([
      `rc1:${one!.position}:0-0\na`,
      `rc1:${two!.position}:${one!.position}\nb`,
    ]);
  });

  test('keeps at most `size` messages, and drops messages older than `ttl`', async () => {
    await append(numbers(0, 10), { size: 4 });
    expect(await run('LLEN', log)).toBe(4);
    expect(payloads(await read())).toEqual(['6', '7', '8', '9']);
    const [newest] = (await read({ reverse: '1', limit: 1 })).messages;
    await waitFor(async () => (await redisMicros()) > timeOf(newest!.position) + 2_000_000, {
      message: 'what is there to be 2 s old',
    });
    await append(['young'], { ttl: 2_000 });
    expect(payloads(await read())).toEqual(['young']);
    expect((await read()).messages[0]?.previous).toBe(newest?.position);
  });

  test('keeps at most a sixteenth more than its size, which readers never see', async () => {
    let most = 0;
    for (let at = 0; at < 100; at++) {
      await append([String(at)], { size: 32 });
      const length = (await run('LLEN', log)) as number;
      if (at >= 32) expect(length).toBeGreaterThanOrEqual(32);
      most = Math.max(most, length);
    }
    expect(most).toBe(34);
    expect(await run('LLEN', log)).toBe(34);
    for (const options of [{}, { after: '1' }, { reverse: '1' }, { before: '9999999999999999' }]) {
      const page = await read(options);
      expect(payloads(page).sort()).toEqual(numbers(68, 100).sort());
      expect(page.more).toBe(0);
    }
    // Trimmed messages are not in the way of the position.
    expect((await read()).messages[0]?.previous).toBe(
      unwrapStored((await run('LINDEX', log, 1)) as string)?.position,
    );
  });

  test('drops exactly what is older than its ttl, whatever its length', async () => {
    for (const old of [1, 2, 3, 7, 31, 64]) {
      await run('FLUSHALL');
      const start = await redisMicros();
      const positions = [
        '0-0',
        ...numbers(0, old + 5).map((at) => `${start - (old + 5 - Number(at)) * 1_000_000}-7`),
      ];
      for (let at = 1; at < positions.length; at++) {
        await run('RPUSH', log, `rc1:${positions[at]}:${positions[at - 1]}\n${at - 1}`);
      }
      await run('SET', last, positions.at(-1)!);
      // Between the ages of two messages, so that a slow machine does not matter: 5.5 s, or up to a second more.
      const age = (await redisMicros()) - timeOf(positions[old + 1]!);
      await append(['new'], { ttl: Math.floor(age / 1_000) + 400 });
      expect([old, payloads(await read())]).toEqual([old, [...numbers(old, old + 5), 'new']]);
    }
  });

  test('the list lives as long as its messages must, though its expiry is not renewed by each', async () => {
    await append(['a'], { ttl: 600_000 });
    const [first, expiry] = [await run('PEXPIRETIME', log), (await storedPosition()).expiry];
    expect(first as number).toBeGreaterThan((await redisMicros()) / 1_000 + 600_000);
    await append(['b'], { ttl: 600_000 });
    expect(await run('PEXPIRETIME', log)).toBe(first);
    expect((await storedPosition()).expiry).toBe(expiry);
    // A longer ttl needs a later expiry; a shorter one does not shorten it.
    await append(['c'], { ttl: 6_000_000 });
    const second = (await run('PEXPIRETIME', log)) as number;
    expect(second).toBeGreaterThan(first as number);
    await append(['d'], { ttl: 20_000 });
    expect(await run('PEXPIRETIME', log)).toBe(second);
    // Evicted and written again, it has an expiry of its own.
    await run('DEL', log);
    await append(['e'], { ttl: 20_000 });
    expect((await run('PTTL', log)) as number).toBeLessThanOrEqual(22_500);
    expect((await run('PTTL', log)) as number).toBeGreaterThan(15_000);
  });

  test('the last position lives as long as it must, though its expiry is not renewed by each message', async () => {
    const expiry = async () => (await run('PEXPIRETIME', last)) as number;
    await append(['a'], { lastTtl: 600_000 });
    const first = await expiry();
    expect(first).toBeGreaterThan((await redisMicros()) / 1_000 + 600_000);
    await append(['b'], { lastTtl: 600_000 });
    expect(await expiry()).toBe(first);
    await append(['c'], { lastTtl: 6_000_000 });
    const second = await expiry();
    expect(second).toBeGreaterThan((await redisMicros()) / 1_000 + 6_000_000);
    await append(['d'], { lastTtl: 600_000 });
    expect(await expiry()).toBe(second);
    // As an earlier release writes it, without its own expiry.
    await run('SET', last, ((await run('GET', last)) as string).replace(/:\d+$/, ''), 'PX', 5_000);
    await append(['e'], { lastTtl: 600_000 });
    expect(await expiry()).toBeGreaterThan((await redisMicros()) / 1_000 + 600_000);
  });

  test('with a known idempotency key returns the first position, and changes nothing', async () => {
    const period = 600_000;
    await awayFromPeriodEnd(period);
    const [first] = await append([{ payload: 'a', key: 'k' }], { period });
    await append(['b'], { period });
    await fenced();
    const stored = [await read(), await run('GET', last)];
    expect(await append([{ payload: 'a', key: 'k' }], { period })).toEqual([
      { position: first!.position, receivers: 0, known: 1 },
    ]);
    expect([await read(), await run('GET', last)]).toEqual(stored);
    expect(await fenced()).toEqual([]);
    // Among others, and twice in one call.
    const mixed = await append(
      ['c', { payload: 'a', key: 'k' }, { payload: 'd', key: 'l' }, { payload: 'd', key: 'l' }],
      { period },
    );
    expect(mixed.map(({ known }) => known)).toEqual([0, 1, 0, 1]);
    expect(mixed[3]?.position).toBe(mixed[2]?.position);
    expect(timeOf(mixed[2]!.position)).toBe(timeOf(mixed[0]!.position) + 1);
    expect(await fenced()).toHaveLength(2);
    expect(payloads(await read())).toEqual(['a', 'b', 'c', 'd']);
    // One key for all of them, also when their messages are trimmed.
    await append(numbers(0, 4), { size: 2, period });
    expect(await append([{ payload: 'a', key: 'k' }], { period })).toMatchObject([{ known: 1 }]);
    expect(await run('DBSIZE')).toBe(3);
  });

  test('an idempotency key is known in its period and the next one', async () => {
    const period = 1_500;
    const periodOf = async () => Math.floor((await redisMicros()) / 1_000 / period);
    const [first] = await append([{ payload: 'a', key: 'k' }], { period });
    const began = Math.floor(timeOf(first!.position) / 1_000 / period);
    await waitFor(async () => (await periodOf()) > began, { message: 'the next period' });
    const [again] = await append([{ payload: 'a', key: 'k' }], { period });
    // Unless this machine slept through the next period.
    if ((await periodOf()) === began + 1)
      expect(again).toMatchObject({ known: 1, position: first!.position });
    // After such a sleep it was stored again, in a later period.
    const stored = Math.floor(timeOf(again!.position) / 1_000 / period);
    // Redis keeps a key in the whole millisecond in which it expires.
    const expired = ((stored + 2) * period + 1) * 1_000;
    await waitFor(async () => (await redisMicros()) >= expired, { message: 'the one after' });
    expect(await append([{ payload: 'a', key: 'k' }], { period })).toMatchObject([{ known: 0 }]);
  });

  test('many channels in one call: each has its own chain, keys and errors', async () => {
    await run('SET', historyKeys('wrong').messages, 'a string');
    const messages: [string, (string | Message)[]][] = [
      ['one', ['a']],
      ['two', ['b', 'c']],
      ['wrong', ['d', 'e']],
      ['three', ['f', { payload: 'g', key: 'k' }, { payload: 'g', key: 'k' }]],
      ['four', ['h']],
    ];
    const outcomes = await appendTo(messages);
    // Channels with one message come first.
    const wrong = expect.stringContaining('WRONGTYPE');
    expect(outcomes.map((outcome) => (typeof outcome === 'string' ? outcome : outcome.known))).toEqual([
      0,
      0,
      0,
      0,
      wrong,
      wrong,
      0,
      0,
      1,
    ]);
    for (const [channel, payloads] of [
      ['one', ['a']],
      ['two', ['b', 'c']],
      ['three', ['f', 'g']],
      ['four', ['h']],
    ] as const) {
      const stored = (await run('LRANGE', historyKeys(channel).messages, 0, -1)) as string[];
      const links = stored.map((message) => unwrapStored(message)!);
      expect(links.map(({ payload }) => payload)).toEqual(payloads);
      expect(links.map(({ previous }) => previous)).toEqual(
        ['0-0', links[0]?.position].slice(0, links.length),
      );
    }
    expect(await run('EXISTS', historyKeys('wrong').lastPosition)).toBe(0);
  });

  test('positions grow while the clock is stopped, and when it is behind', async () => {
    const future = `${(await redisMicros()) + HOUR}-7`;
    await run('SET', last, future);
    const outcomes = [...(await append(['a', 'b'])), ...(await append(['c']))];
    expect(outcomes.map(({ position }) => position)).toEqual(
      [1, 2, 3].map((step) => `${timeOf(future) + step}-42`),
    );
    const { messages } = await read();
    expect(messages.map(({ previous }) => previous)).toEqual([
      future,
      outcomes[0]?.position,
      outcomes[1]?.position,
    ]);
    // A hundred of one microsecond.
    const many = await append(numbers(0, 100));
    for (let at = 1; at < 100; at++) {
      expect(timeOf(many[at]!.position)).toBe(timeOf(many[at - 1]!.position) + 1);
    }
  });

  test('after an eviction of the last position it is taken from the newest message, also if that is in the future', async () => {
    await run('SET', last, `${(await redisMicros()) + HOUR}-7`);
    const [one] = await append(['a']);
    await run('DEL', last);
    expect((await read()).last).toBe(one?.position);
    const [two] = await append(['b']);
    expect(two?.position).toBe(`${timeOf(one!.position) + 1}-42`);
    expect((await read()).messages[1]?.previous).toBe(one?.position);
    expect((await storedPosition()).position).toBe(two?.position);
  });

  test('after an eviction of the messages the chain continues', async () => {
    const [one] = await append(['a']);
    await run('DEL', log);
    expect(await read()).toEqual({ last: one?.position, more: 0, messages: [] });
    await append(['b']);
    expect((await read()).messages).toEqual([
      { position: expect.any(String), previous: one?.position, payload: 'b' },
    ]);
    await run('FLUSHALL');
    await append(['c']);
    expect((await read()).messages[0]?.previous).toBe('0-0');
  });

  test('on a replica is rejected, and publishes nothing', async () => {
    const replica = await startRedis({ args: ['--replicaof', '127.0.0.1', String(server.port)] });
    cleanUps.push(() => replica.stop());
    await append([{ payload: 'before', key: 'before' }]);
    const received: Reply[] = [];
    const listening = await RespConnection.open(replica.port, COMMAND_MS, (reply) => received.push(reply));
    const on = await RespConnection.open(replica.port, COMMAND_MS);
    cleanUps.push(
      () => listening.close(),
      () => on.close(),
    );
    // Subscribed afterwards, because the replica also receives what its master publishes.
    await waitFor(async () => (await read({ on })).messages.length === 1, { message: 'the replica' });
    await listening.send(['SUBSCRIBE', CHANNEL], COMMAND_MS);
    await expect(append(['a'], { on })).rejects.toThrow('READONLY');
    await expect(append(['a', { payload: 'b', key: 'k' }], { on })).rejects.toThrow('READONLY');
    await expect(append([{ payload: 'before', key: 'before' }], { on })).rejects.toThrow('READONLY');
    await expect(
      serviceOn(replica.port).publish(CHANNEL, 1, { history: { size: 1, ttl: 1 } }),
    ).rejects.toThrow('the server is a replica');
    await on.send(['PUBLISH', CHANNEL, 'fence'], COMMAND_MS);
    await waitFor(() => received.length > 0, { message: 'the fence' });
    expect(received).toEqual([['message', CHANNEL, 'fence']]);
    expect(payloads(await read({ on }))).toEqual(['before']);
  });

  test('on a full server is rejected: nothing is published or stored', async () => {
    const service = serviceOn();
    await service.connect();
    await append(['before']);
    const stored = await read();
    await fenced();
    cleanUps.push(() => run('CONFIG', 'SET', 'maxmemory', '0'));
    await run('CONFIG', 'SET', 'maxmemory', '100kb');
    await expect(append(['a', { payload: 'b', key: 'k' }])).rejects.toThrow('OOM');
    const history = { size: 10, ttl: 60_000 };
    await expect(service.publish(CHANNEL, 1, { history })).rejects.toBeInstanceOf(CommandError);
    expect(await run('DBSIZE')).toBe(2);
    expect(await read()).toEqual(stored);
    expect(await fenced()).toEqual([]);
    await run('CONFIG', 'SET', 'maxmemory', '0');
    await service.publish(CHANNEL, 1, { history });
    // Only what was kept is a link of the chain.
    expect((await read()).messages.at(-1)?.previous).toBe(stored.last);
  });

  test('a client without permission to publish stores nothing', async () => {
    await append(['before']);
    const stored = await read();
    await run('ACL', 'SETUSER', 'mute', 'on', '>p', '~*', '+@all', 'resetchannels');
    const mute = await RespConnection.open(server.port, COMMAND_MS);
    cleanUps.push(() => mute.close());
    await mute.send(['AUTH', 'mute', 'p'], COMMAND_MS);
    await expect(append([{ payload: 'a', key: 'k' }], { on: mute })).rejects.toThrow(
      /NOPERM|can't publish|No permissions/,
    );
    expect(await run('DBSIZE')).toBe(2);
    expect(await read()).toEqual(stored);
    await append(['after']);
    expect((await read()).messages.at(-1)?.previous).toBe(stored.last);
  });

  test('after SCRIPT FLUSH under load messages keep the order of the calls', async () => {
    const service = serviceOn();
    const history = { size: 1_000, ttl: 60_000 };
    const sent: Promise<unknown>[] = [];
    for (let at = 0; at < 600; at++) {
      sent.push(service.publish(CHANNEL, at, { history }));
      if (at % 50 === 0) void run('SCRIPT', 'FLUSH');
      // A tick of its own for some of them, without waiting for any answer.
      if (at % 3 === 0) await new Promise<void>((resolve) => setImmediate(resolve));
    }
    await Promise.all(sent);
    expect(payloads(await read({ limit: 1_000 }))).toEqual(numbers(0, 600));
  });

  test('scripts are sent again after SCRIPT FLUSH, and each message is stored once', async () => {
    const service = serviceOn();
    const history = { size: 1_000, ttl: 60_000 };
    const sent: Promise<unknown>[] = [];
    for (let at = 0; at < 200; at++) {
      sent.push(service.publish(CHANNEL, at, { history }));
      if (at % 20 === 0) await Promise.all([run('SCRIPT', 'FLUSH'), sent.at(-1)]);
    }
    await Promise.all(sent);
    expect(payloads(await read({ limit: 1_000 }))).toEqual(numbers(0, 200));
    await run('SCRIPT', 'FLUSH');
    expect((await service.history(CHANNEL, { limit: 1_000 })).messages).toHaveLength(200);
  });

  test.each([
    ['node-redis', nodeRedis],
    ['ioredis', ioredis],
  ])('payloads of any bytes, through %s', async (_, make) => {
    const { client, end } = make(server.port);
    const driver = driverFor(client);
    const received: Buffer[] = [];
    driver.attach({
      message: (_kind, _name, _channel, payload) => void received.push(payload as Buffer),
      connection: () => {},
      dropped: () => {},
    });
    cleanUps.push(end, () => driver.close());
    await driver.connect();
    await driver.subscribe('channel', [CHANNEL], { binary: true });
    const bytes = Buffer.from(Array.from({ length: 512 }, (_, at) => at % 256));
    const history = { size: 10, ttl: 60_000, positionTtl: 60_000 };
    const request = { channel: CHANNEL, sharded: false, payload: bytes, history, item: undefined };
    const batch = new AppendBatch(request);
    batch.add(request);
    const [reply] = await driver.execute([batch.toScriptCall(0)], { buffers: true });
    const [position] = reply as [Buffer];
    const reading = {
      script: readScript,
      keys: [log, last],
      args: ['0', '100000', '-', '+', '10', '100000', '0', '0'],
    };
    const [page] = await driver.execute([reading], { buffers: true });
    expect(unwrapStored((page as Buffer[][])[1]?.at(-1) as Buffer)?.payload).toEqual(bytes);
    await waitFor(() => received.length === 1, { message: 'the message' });
    expect(received[0]).toEqual(Buffer.concat([Buffer.from(`rc1:${position}:0-0\n`), bytes]));
  });
});

describe('read', () => {
  test('replies with the last position, whether there is more, and the messages', async () => {
    expect(await read()).toEqual({ last: '0-0', more: 0, messages: [] });
    const [one, two] = await append(['a', 'b']);
    expect(await read()).toEqual({
      last: two?.position,
      more: 0,
      messages: [
        { position: one?.position, previous: '0-0', payload: 'a' },
        { position: two?.position, previous: one?.position, payload: 'b' },
      ],
    });
  });

  test('reads channels until their pages have more bytes than permitted, and at least one', async () => {
    await append(['12345']);
    const other = historyKeys('other');
    const empty = [other.messages, other.lastPosition];
    const page = ['-', '+', 10, 1_000, '0', 0];
    const pagesWithin = async (bytes: number, ...keys: string[]) => {
      const channels = keys.length / 2;
      const args = Array.from({ length: channels }, () => page).flat();
      const reply = await run('EVAL', readScript.source, keys.length, ...keys, '0', bytes, ...args);
      const [identity, ...pages] = reply as [string, ...string[][]];
      expect(identity).toBe('');
      return pages.map(([, , ...stored]) => stored.map((text) => unwrapStored(text)?.payload));
    };
    const filled = [log, last];
    expect(await pagesWithin(4, ...filled, ...empty)).toEqual([['12345']]);
    expect(await pagesWithin(4, ...empty, ...filled, ...filled)).toEqual([[], ['12345']]);
    expect(await pagesWithin(9, ...filled, ...filled, ...filled)).toEqual([['12345'], ['12345']]);
    expect(await pagesWithin(1_000, ...empty, ...filled, ...filled)).toEqual([[], ['12345'], ['12345']]);
  });

  test('stops at its limit, at any position', async () => {
    const outcomes = await append(numbers(0, 70));
    for (const limit of [0, 1, 31, 32, 33, 63, 64, 65, 69, 70, 71, 1_000]) {
      const forward = await read({ limit });
      expect(payloads(forward)).toEqual(numbers(0, 70).slice(0, limit));
      expect(forward.more).toBe(limit < 70 ? 1 : 0);
      const backward = await read({ limit, reverse: '1' });
      expect(payloads(backward)).toEqual(numbers(0, 70).reverse().slice(0, limit));
      expect(backward.more).toBe(limit < 70 ? 1 : 0);
    }
    const time = (at: number) => timeOf(outcomes[at]!.position);
    const between = { after: time(9), before: time(60) };
    expect(await read({ ...between, limit: 50 })).toMatchObject({ more: 0 });
    expect(payloads(await read({ ...between, limit: 50 }))).toEqual(numbers(10, 60));
    expect(payloads(await read({ ...between, limit: 50, reverse: '1' }))).toEqual(numbers(10, 60).reverse());
    expect(await read({ ...between, limit: 49 })).toMatchObject({ more: 1 });
    expect(await read({ after: time(69) })).toMatchObject({ more: 0, messages: [] });
    expect(await read({ before: time(0), reverse: '1' })).toMatchObject({ more: 0, messages: [] });
  });

  test('stops before the message that would be too many bytes, but not before the first', async () => {
    await append(Array.from({ length: 50 }, (_, at) => String(at).padStart(1_000, '.')));
    const count = async (options: Record<string, unknown>) => {
      const page = await read(options);
      return [page.messages.length, page.more];
    };
    expect(await count({ maxBytes: 1 })).toEqual([1, 1]);
    expect(await count({ maxBytes: 999, reverse: '1' })).toEqual([1, 1]);
    expect(await count({ maxBytes: 2_999 })).toEqual([2, 1]);
    expect(await count({ maxBytes: 3_000 })).toEqual([3, 1]);
    expect(await count({ maxBytes: 40_000 })).toEqual([40, 1]);
    expect(await count({ maxBytes: 49_999 })).toEqual([49, 1]);
    expect(await count({ maxBytes: 50_000 })).toEqual([50, 0]);
  });

  test('creates a position for an empty channel if requested, and only then', async () => {
    expect((await read()).last).toBe('0-0');
    const { last: origin } = await read({ originTtl: 60_000 });
    expect(origin).toMatch(/^\d{16}-0$/);
    expect(await read()).toEqual({ last: origin, more: 0, messages: [] });
    expect((await read({ originTtl: 60_000 })).last).toBe(origin);
    expect(await run('PTTL', last)).toBeGreaterThan(50_000);
    const [one] = await append(['a']);
    expect(timeOf(one!.position)).toBeGreaterThan(timeOf(origin));
    expect((await read({ originTtl: 60_000 })).messages).toMatchObject([{ previous: origin }]);
  });

  test('creates no position where the server refuses writes', async () => {
    cleanUps.push(() => run('CONFIG', 'SET', 'maxmemory', '0'));
    await run('CONFIG', 'SET', 'maxmemory', '100kb');
    expect((await read({ originTtl: 60_000 })).last).toBe('0-0');
  });

  test('before the first position and after a future one there are no messages', async () => {
    const [one] = await append(['a']);
    for (const reverse of ['0', '1']) {
      for (const range of [{ before: '0' }, { before: '1' }, { after: '9999999999999999' }]) {
        expect(await read({ ...range, reverse })).toEqual({ last: one?.position, more: 0, messages: [] });
      }
    }
  });

  test('changes nothing', async () => {
    await append(['a', { payload: 'b', key: 'k' }]);
    const [dirty] = /rdb_changes_since_last_save:\d+/.exec(String(await run('INFO', 'persistence'))) ?? [];
    await read();
    await read({ reverse: '1', limit: 1 });
    expect(String(await run('INFO', 'persistence'))).toContain(dirty);
  });
});

test('a master that was replaced and is master again is reported as a failover', async () => {
  const replica = await startRedis({ args: ['--replicaof', '127.0.0.1', String(server.port)] });
  cleanUps.push(() => replica.stop());
  const onReplica = await RespConnection.open(replica.port, COMMAND_MS);
  cleanUps.push(() => onReplica.close());
  const service = serviceOn();
  const got: unknown[] = [];
  const gaps: Discontinuity[] = [];
  await service.subscribe(CHANNEL, (message) => got.push(message), {
    since: 'latest',
    onDiscontinuity: (gap) => void gaps.push(gap),
  });
  const history = { size: 100, ttl: 60_000 };
  await service.publish(CHANNEL, 1, { history });
  await waitFor(() => got.length === 1, { message: 'message 1' });
  const linked = async (on: RespConnection) =>
    String(await on.send(['INFO', 'replication'], COMMAND_MS)).includes('master_link_status:up');
  await waitFor(() => linked(onReplica), { message: 'the replica' });
  await onReplica.send(['REPLICAOF', 'NO', 'ONE'], COMMAND_MS);
  await run('REPLICAOF', '127.0.0.1', replica.port);
  await waitFor(() => linked(commands), { message: 'the demoted master' });
  await run('REPLICAOF', 'NO', 'ONE');
  await run('CLIENT', 'KILL', 'TYPE', 'pubsub');
  await run('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  await waitFor(() => gaps.length > 0, { message: 'the gap' });
  await service.publish(CHANNEL, 2, { history });
  await waitFor(() => got.includes(2), { message: 'message 2' });
  expect(gaps[0]).toMatchObject({ reason: 'failover', recovered: false });
  expect(got).toEqual([1, 2]);
});

describe('after a loss on the server', () => {
  const history = { size: 100, ttl: 60_000 };

  async function fixture() {
    const service = serviceOn();
    const got: unknown[] = [];
    const gaps: Discontinuity[] = [];
    await service.subscribe(CHANNEL, (message) => got.push(message), {
      since: 'latest',
      onDiscontinuity: (gap) => void gaps.push(gap),
    });
    const positions: Position[] = [];
    const publish = async (message: unknown) => {
      const { position } = await service.publish(CHANNEL, message, { history });
      positions.push(position as Position);
      await waitFor(() => got.at(-1) === message, { message: `message ${message}` });
    };
    for (const message of [1, 2, 3]) await publish(message);
    const recover = async () => {
      const { channels } = await service.recover({ channels: { [CHANNEL]: positions[0]! } });
      const { messages, recovered, reason } = channels.get(CHANNEL)!;
      return [messages.map(({ message }) => message), recovered, reason];
    };
    return { got, gaps, publish, recover };
  }

  test('of the last position alone subscribers receive everything', async () => {
    const { got, gaps, publish, recover } = await fixture();
    await run('DEL', last);
    expect(await recover()).toEqual([[2, 3], true, undefined]);
    await publish(4);
    expect(await recover()).toEqual([[2, 3, 4], true, undefined]);
    expect([got, gaps]).toEqual([[1, 2, 3, 4], []]);
  });

  test('of the messages alone recovery reports "trimmed", and subscribers receive everything', async () => {
    const { got, gaps, publish, recover } = await fixture();
    await run('DEL', log);
    expect(await recover()).toEqual([[], false, 'trimmed']);
    await publish(4);
    expect(await recover()).toEqual([[4], false, 'trimmed']);
    expect([got, gaps]).toEqual([[1, 2, 3, 4], []]);
  });

  test('of both every subscriber gets "wiped", once', async () => {
    const { got, gaps, publish, recover } = await fixture();
    await run('DEL', log, last);
    expect(await recover()).toEqual([[], false, 'wiped']);
    await publish(4);
    await publish(5);
    expect(await recover()).toEqual([[4, 5], false, 'wiped']);
    expect(got).toEqual([1, 2, 3, 4, 5]);
    expect(gaps.map(({ reason, recovered }) => [reason, recovered])).toEqual([['wiped', false]]);
  });
});

describe('a history in the format of an earlier release, a stream', () => {
  const history = { size: 100, ttl: 60_000 };

  test('is refused with an error that says what to do, and other channels go on', async () => {
    await run('XADD', log, '1795319308000409-0', 'n', '42', 'p', '0-0', 'm', '"old"');
    await run('SET', last, '1795319308000409-42');
    const service = serviceOn();
    const [refused, other] = await Promise.allSettled([
      service.publish(CHANNEL, 'new', { history }),
      service.publish('other', 'new', { history }),
    ]);
    expect(other.status).toBe('fulfilled');
    expect(refused).toMatchObject({ reason: { name: 'ConfigurationError', outcome: 'failed' } });
    const errors = [refused.status === 'rejected' && refused.reason];
    errors.push(await service.history(CHANNEL).catch((error) => error));
    errors.push(
      await service.recover({ channels: { [CHANNEL]: '1795319308000409-42' } }).catch((error) => error),
    );
    for (const error of errors) {
      expect(error).toBeInstanceOf(ConfigurationError);
      expect(error.message).toContain(`delete the key "${log}"`);
    }
    // Nothing was written.
    expect(await run('XLEN', log)).toBe(1);
    expect(await run('GET', last)).toBe('1795319308000409-42');
  });

  test('a subscriber gets a discontinuity, and receives live messages', async () => {
    await run('XADD', log, '1795319308000409-0', 'n', '42', 'p', '0-0', 'm', '"old"');
    await run('SET', last, '1795319308000409-42');
    const errors: unknown[] = [];
    const { client, end } = nodeRedis(server.port);
    const service = new PubSubService({ redis: client, onError: (error) => errors.push(error) });
    cleanUps.push(end, () => service.close());
    const got: unknown[] = [];
    await service.subscribe(CHANNEL, (message) => got.push(message), {
      since: 'earliest',
      onDiscontinuity: ({ reason, recovered }) => got.push([reason, recovered]),
    });
    await waitFor(() => got.length === 1, { message: 'the discontinuity' });
    // A process of the earlier release publishes.
    await run('PUBLISH', CHANNEL, 'rc1:1795319308000410-43:1795319308000409-42\n"live"');
    await waitFor(() => got.length === 2, { message: 'the message' });
    expect(got).toEqual([['unavailable', false], 'live']);
    expect(errors).toEqual([expect.any(ConfigurationError)]);
  });

  test('an earlier release cannot append to a list', async () => {
    await append(['a']);
    expect(await run('XADD', log, '*', 'n', '1', 'p', '0-0', 'm', 'x')).toMatchObject({
      message: expect.stringContaining('WRONGTYPE'),
    });
  });
});
