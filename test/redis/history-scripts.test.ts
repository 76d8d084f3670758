import { CommandError, type Discontinuity, type Position, PubSubService } from 'rollcall';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { appendScript } from '../../src/history/append.js';
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
const { stream: log, lastPosition: last, idempotencyKey: once } = historyKeys(CHANNEL);
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

/** Calls append.lua as the publisher does. */
async function append(messages: (string | Message)[], options: Record<string, unknown> = {}) {
  const { size = 100, ttl = 60_000, lastTtl = 600_000, onceTtl = 5_000, nonce = 42, on } = options;
  const keys = [log, last];
  const args: string[] = [];
  for (const message of messages) {
    const { payload, key } = typeof message === 'string' ? { payload: message } : message;
    if (key !== undefined) keys.push(once(key));
    args.push(key === undefined ? '0' : String(keys.length), payload);
  }
  const call = ['EVAL', appendScript.source, keys.length, ...keys, CHANNEL, 'PUBLISH'];
  const all = [...call, size, ttl, lastTtl, onceTtl, nonce, 'rc1:', ...args].map(String);
  const reply = await ((on as RespConnection | undefined) ?? commands).send(all, COMMAND_MS);
  if (reply instanceof Error) throw reply;
  const flat = reply as [string, number, number];
  const outcomes: { position: string; receivers: number; known: number }[] = [];
  for (let at = 0; at < flat.length; at += 3) {
    const [position, receivers, known] = flat.slice(at, at + 3) as [string, number, number];
    outcomes.push({ position, receivers, known });
  }
  return outcomes;
}

interface Read {
  last: string;
  more: number;
  messages: { position: string; previous: string; payload: string }[];
}

/** Calls read.lua as the reader does. */
async function read(options: Record<string, unknown> = {}): Promise<Read> {
  const { after = '-', before = '+', limit = 100, maxBytes = 1_000_000, reverse = '0', on } = options;
  const { originTtl = 0 } = options;
  const call = [
    'EVAL',
    readScript.source,
    2,
    log,
    last,
    after,
    before,
    limit,
    maxBytes,
    reverse,
    1,
    originTtl,
  ];
  const reply = await ((on as RespConnection | undefined) ?? commands).send(call.map(String), COMMAND_MS);
  if (reply instanceof Error) throw reply;
  const [newest, more, identity, ...flat] = reply as [string, number, string, ...string[]];
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
  const messages: Read['messages'] = [];
  for (let at = 0; at < flat.length; at += 4) {
    const [time, nonce, previous, payload] = flat.slice(at, at + 4) as [string, string, string, string];
    messages.push({ position: `${time}-${nonce}`, previous, payload });
  }
  return { last: newest, more, messages };
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

function serviceOn(port = server.port): PubSubService {
  const { client, end } = nodeRedis(port);
  const service = new PubSubService({ redis: client });
  cleanUps.push(end, () => service.close());
  return service;
}

describe('append', () => {
  test('replies, stores and publishes, and every key has a TTL', async () => {
    const before = await redisMicros();
    const [one, two] = await append(['a', { payload: 'b', key: 'k' }]);
    const after = await redisMicros();
    expect([one, two]).toEqual([
      { position: expect.stringMatching(/^\d{16}-42$/), receivers: 1, known: 0 },
      { position: `${timeOf(one!.position) + 1}-42`, receivers: 1, known: 0 },
    ]);
    expect(timeOf(one!.position)).toBeGreaterThanOrEqual(before);
    expect(timeOf(two!.position)).toBeLessThanOrEqual(after + 1);
    expect(await run('XRANGE', log, '-', '+')).toEqual([
      [`${timeOf(one!.position)}-0`, ['n', '42', 'p', '0-0', 'm', 'a']],
      [`${timeOf(two!.position)}-0`, ['n', '42', 'p', one!.position, 'm', 'b']],
    ]);
    expect(await run('GET', last)).toBe(two!.position);
    expect(await run('GET', once('k'))).toBe(two!.position);
    expect(((await run('KEYS', '*')) as string[]).sort()).toEqual([last, log, once('k')].sort());
    for (const [key, ttl] of [
      [log, 60_000],
      [last, 600_000],
      [once('k'), 5_000],
    ] as const) {
      const left = (await run('PTTL', key)) as number;
      expect(left).toBeLessThanOrEqual(ttl);
      expect(left).toBeGreaterThan(ttl - 3_000);
    }
    expect(await fenced()).toEqual([
      `rc1:${one!.position}:0-0\na`,
      `rc1:${two!.position}:${one!.position}\nb`,
    ]);
  });

  test('keeps at most `size` messages, and drops messages older than `ttl`', async () => {
    await append(numbers(0, 10), { size: 4 });
    expect(await run('XLEN', log)).toBe(4);
    expect(payloads(await read())).toEqual(['6', '7', '8', '9']);
    const [newest] = (await read({ reverse: '1', limit: 1 })).messages;
    await waitFor(async () => (await redisMicros()) > timeOf(newest!.position) + 2_000_000, {
      message: 'what is there to be 2 s old',
    });
    await append(['young'], { ttl: 2_000 });
    expect(payloads(await read())).toEqual(['young']);
    expect((await read()).messages[0]?.previous).toBe(newest?.position);
  });

  test('with a known idempotency key returns the first position, and changes nothing', async () => {
    const [first] = await append([{ payload: 'a', key: 'k' }]);
    await append(['b']);
    await fenced();
    const [stored, newest, left] = [await read(), await run('GET', last), await run('PTTL', once('k'))];
    expect(await append([{ payload: 'a', key: 'k' }], { onceTtl: 90_000 })).toEqual([
      { position: first!.position, receivers: 0, known: 1 },
    ]);
    expect([await read(), await run('GET', last)]).toEqual([stored, newest]);
    // Whoever repeats for ever does not keep it for ever.
    expect(await run('PTTL', once('k'))).toBeLessThanOrEqual(left as number);
    expect(await fenced()).toEqual([]);
    // Among others, and twice in one call.
    const mixed = await append([
      'c',
      { payload: 'a', key: 'k' },
      { payload: 'd', key: 'l' },
      { payload: 'd', key: 'l' },
    ]);
    expect(mixed.map(({ known }) => known)).toEqual([0, 1, 0, 1]);
    expect(mixed[3]?.position).toBe(mixed[2]?.position);
    expect(await fenced()).toHaveLength(2);
    expect(payloads(await read())).toEqual(['a', 'b', 'c', 'd']);
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

  test('a clock behind the last id of an empty stream gives a greater position', async () => {
    const future = (await redisMicros()) + HOUR;
    await run('XADD', log, `${future}-0`, 'n', '1', 'p', '0-0', 'm', 'x');
    await run('XTRIM', log, 'MAXLEN', '0');
    const outcomes = await append(['a', 'b']);
    expect(outcomes.map(({ position }) => timeOf(position))).toEqual([future + 1, future + 2]);
    expect((await read()).messages.map(({ previous }) => previous)).toEqual(['0-0', outcomes[0]?.position]);
  });

  test('after an eviction of the last position it is taken from the newest message, also if that is in the future', async () => {
    await run('SET', last, `${(await redisMicros()) + HOUR}-7`);
    const [one] = await append(['a']);
    await run('DEL', last);
    expect((await read()).last).toBe(one?.position);
    const [two] = await append(['b']);
    expect(two?.position).toBe(`${timeOf(one!.position) + 1}-42`);
    expect((await read()).messages[1]?.previous).toBe(one?.position);
    expect(await run('GET', last)).toBe(two?.position);
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
    const heard: Reply[] = [];
    const listening = await RespConnection.open(replica.port, COMMAND_MS, (reply) => heard.push(reply));
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
    await waitFor(() => heard.length > 0, { message: 'the fence' });
    expect(heard).toEqual([['message', CHANNEL, 'fence']]);
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
    const heard: Buffer[] = [];
    driver.attach({
      message: (_kind, _name, _channel, payload) => void heard.push(payload as Buffer),
      connection: () => {},
      dropped: () => {},
    });
    cleanUps.push(end, () => driver.close());
    await driver.connect();
    await driver.subscribe('channel', [CHANNEL], { binary: true });
    const bytes = Buffer.from(Array.from({ length: 512 }, (_, at) => at % 256));
    const args = [CHANNEL, 'PUBLISH', '10', '60000', '60000', '60000', '1', 'rc1:', '0', bytes];
    const [reply] = await driver.execute([{ script: appendScript, keys: [log, last], args }], {
      buffers: true,
    });
    const [position] = reply as [Buffer];
    const reading = {
      script: readScript,
      keys: [log, last],
      args: ['-', '+', '10', '100000', '0', '0', '0'],
    };
    const [page] = await driver.execute([reading], { buffers: true });
    expect((page as Buffer[]).at(-1)).toEqual(bytes);
    await waitFor(() => heard.length === 1, { message: 'the message' });
    expect(heard[0]).toEqual(Buffer.concat([Buffer.from(`rc1:${position}:0-0\n`), bytes]));
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
