import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { type Client, connect } from 'rollcall/client';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { WsClient } from '../shared/ws-fixture.js';
import { period, timeLimit } from '../support/machine.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';
import { WsServer, type WsServerOptions } from '../support/ws-server.js';

// Whatever clients do, the memory of the server stays bounded, and its other users are not affected.

/** A flood keeps the server busy: on a slow machine it may answer later than a client waits by default. */
const patientClock = {
  now: Date.now,
  after: (ms: number, task: () => void) => {
    const timer = setTimeout(task, timeLimit(3 * ms));
    return { cancel: () => clearTimeout(timer) };
  },
};
const MB = 1_048_576;
const PATIENT = { timeout: 30_000 };

let redis: RedisServer;
let server: WsServer;
let good: WellBehavedClients;
let ends: (() => unknown)[] = [];

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());
beforeEach(() => {
  ends = [];
});
afterEach(async () => {
  for (const end of ends) await end();
});

/** Two clients that exchange messages throughout a test, each message after the reply to the one before. */
class WellBehavedClients {
  readonly messages: unknown[] = [];
  readonly troubles: unknown[] = [];
  readonly #clients: Client[];
  #said = 0;
  #talking = true;
  readonly #talk: Promise<void>;

  constructor(url: string) {
    const [ann, bob] = ['ann', 'bob'].map((user) =>
      connect({
        url: `${url}/?user=${user}`,
        WebSocket: WebSocket as never,
        timeout: 30_000,
        clock: patientClock,
      }),
    ) as [Client, Client];
    this.#clients = [ann, bob];
    for (const client of this.#clients) {
      client.on('reconnecting', (info) => void this.troubles.push(info));
      client.on('closed', (info) => void this.troubles.push(info));
      client.on('error', (error) => void this.troubles.push(error));
    }
    const room = bob.join<{ said: number }>('salon');
    room.on('said', (data) => void this.messages.push(data));
    room.onDiscontinuity((gap) => void this.troubles.push(gap));
    this.#talk = this.#talkOn(ann, room.ready);
  }

  /** Number of messages that have arrived. */
  get count(): number {
    return this.messages.length;
  }

  /** Waits until more messages have arrived. */
  async goOn(messages = 20): Promise<void> {
    const before = this.count;
    const far = () => `the next messages: ${this.count - before}; ${JSON.stringify(this.troubles)}`;
    await waitFor(() => this.count >= before + messages, { ...PATIENT, message: far });
  }

  /** Checks that every message has arrived, once and in order, without errors, and disconnects the clients. */
  async end(): Promise<void> {
    this.#talking = false;
    await this.#talk;
    await waitFor(() => this.messages.length >= this.#said, PATIENT);
    expect(this.troubles).toEqual([]);
    expect(this.messages).toEqual(Array.from({ length: this.#said }, (_, at) => at));
    this.close();
  }

  close(): void {
    this.#talking = false;
    for (const client of this.#clients) client.close();
  }

  async #talkOn(ann: Client, ready: Promise<void>): Promise<void> {
    const room = ann.join<{ said: number }>('salon');
    try {
      await Promise.all([ready, room.ready]);
      while (this.#talking) {
        await room.send('said', this.#said);
        this.#said++;
      }
    } catch (error) {
      if (this.#talking) this.troubles.push(error);
    }
  }
}

async function start(options: Partial<WsServerOptions> = {}): Promise<void> {
  server = await WsServer.start({
    port: redis.port,
    prefix: randomUUID(),
    // A flood keeps the server busy: its calls to Redis may take long on a slow machine.
    timeout: timeLimit(15_000),
    ...options,
  });
  ends.push(() => server.kill());
  good = new WellBehavedClients(server.url);
  ends.unshift(() => good.close());
  await good.goOn();
}

/** A misbehaving client. */
function open(user = 'eve', options: object = {}): WsClient {
  const query = user === '' ? '' : `?user=${encodeURIComponent(user)}`;
  const socket = new WebSocket(`${server.url}/${query}`, ['rollcall.1'], {
    perMessageDeflate: false,
    maxPayload: 0,
    ...options,
  });
  ends.unshift(() => socket.terminate());
  return new WsClient(socket);
}

async function welcome(user = 'eve', options: object = {}): Promise<WsClient> {
  const client = open(user, options);
  await client.welcome();
  return client;
}

const userIds = (size: number) => Array.from({ length: size }, (_, at) => `eve${at}`);

/**
 * Misbehaves `rounds` times, the first time as a warm-up. Afterwards the memory of the server is as before, the
 * misbehaving clients are disconnected, and the well-behaved ones had no errors.
 */
async function endures(bad: () => Promise<unknown>, { rounds = 4, grows = 12 } = {}): Promise<void> {
  await bad();
  await gone();
  const before = await server.memory();
  for (let round = 1; round < rounds; round++) {
    await bad();
    await good.goOn();
  }
  await gone();
  expect((await server.memory()) - before).toBeLessThan(grows * MB);
  await good.end();
  expect(await server.errors()).toEqual([]);
}

/** Waits until only the well-behaved clients are connected. */
async function gone(): Promise<void> {
  const seen = async () => {
    const { connections, sockets, rooms } = await server.stats();
    return connections === 2 && sockets === 2 && rooms === 1;
  };
  await waitFor(seen, { ...PATIENT, message: 'the bad to be gone' });
}

/** A TCP connection on which the handshake has been made by hand. */
async function raw(user = 'eve'): Promise<{ socket: Socket; received: () => Buffer }> {
  const { hostname, port } = new URL(server.url);
  const socket = createConnection({ host: hostname, port: Number(port) });
  ends.unshift(() => socket.destroy());
  socket.on('error', () => {});
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  const received = () => Buffer.concat(chunks);
  const lines = [
    `GET /?user=${user} HTTP/1.1`,
    'Host: x',
    'Upgrade: websocket',
    'Connection: Upgrade',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`,
  ];
  socket.write(`${lines.join('\r\n')}\r\n\r\n`);
  await waitFor(() => received().includes('"welcome"'), PATIENT);
  return { socket, received };
}

/** A masked frame, as clients have to send it; whatever first byte and length it claims. */
function frame(first: number, payload: Buffer, claimed = payload.length): Buffer {
  const head = Buffer.alloc(14);
  head[0] = first;
  head[1] = 0x80 | 127;
  head.writeBigUInt64BE(BigInt(claimed), 2);
  return Buffer.concat([head, payload]);
}

test('frames over the limit, whole, in fragments or compressed', async () => {
  await start({ ws: { perMessageDeflate: true } });
  const huge = JSON.stringify({ type: 'ping', pad: 'x'.repeat(4 * MB) });
  const attack = async () => {
    const plain = await welcome();
    plain.write(huge);
    expect((await plain.closed).code).toBe(1009);
    const bomb = await welcome('eve', { perMessageDeflate: true });
    bomb.write(huge);
    expect((await bomb.closed).code).toBe(1009);
    const fragments = await raw();
    fragments.socket.write(frame(0x01, Buffer.alloc(60_000, 'x')));
    for (let at = 0; at < 20; at++) fragments.socket.write(frame(0x00, Buffer.alloc(60_000, 'x')));
    await once(fragments.socket, 'close');
    const liar = await raw();
    liar.socket.write(frame(0x81, Buffer.from('x'), 2 ** 40));
    await once(liar.socket, 'close');
    // Each within the limit, and together a flood out of a few packets.
    const many = await welcome('eve', { perMessageDeflate: { threshold: 0 } });
    const dense = JSON.stringify({ type: 'ping', pad: 'x'.repeat(60_000) });
    for (let at = 0; at < 1_000; at++) many.write(dense);
    many.socket.close(1000);
    await many.closed;
  };
  await endures(attack, { rounds: 3 });
});

test('malformed handshakes, WebSocket frames and JSON', async () => {
  await start();
  await endures(async () => {
    const bytes = [
      // Not masked; a reserved bit; an unknown opcode; a fragment of nothing; a long ping; bad UTF-8; a bad close.
      Buffer.from([0x81, 0x01, 0x7b]),
      frame(0xf1, Buffer.from('{}')),
      frame(0x83, Buffer.from('{}')),
      frame(0x80, Buffer.from('{}')),
      frame(0x89, Buffer.alloc(200)),
      frame(0x81, Buffer.from([0xff, 0xfe, 0xfd])),
      frame(0x88, Buffer.from([0x00])),
      randomBytes(5_000),
    ];
    for (const each of bytes) {
      const { socket } = await raw();
      socket.write(each);
      // What is random may well claim to be the beginning of something.
      if (each.length === 5_000) socket.end();
      await once(socket, 'close');
    }
    for (const text of ['{', '[]', '"x"', '{"type":{}}', '\0', `{"a":${'['.repeat(30_000)}`]) {
      const client = await welcome();
      for (let at = 0; at < 50; at++) client.write(text);
      expect((await client.closed).code).toBe(4400);
      expect(client.errors).toEqual(Array(9).fill('INVALID'));
    }
  });
});

test('flooding with requests', async () => {
  await start();
  await endures(async () => {
    const clients = await Promise.all(userIds(8).map(() => welcome('mallory')));
    for (const client of clients) {
      for (let at = 0; at < 3_000; at++) client.write({ type: 'join', room: `closed${at}` });
    }
    // All of it is answered, in its turn.
    const answered = (client: WsClient) => client.errors.length === 3_000;
    await waitFor(() => clients.every(answered), { ...PATIENT, message: 'all refusals' });
    await Promise.all(clients.map((client) => client.end()));
  });
});

test('flooding beyond the rate limit', async () => {
  await start({ rate: { points: 5_000, duration: 300 } });
  const clients = await Promise.all(userIds(8).map(() => welcome('mallory')));
  for (const client of clients) for (let at = 0; at < 10_000; at++) client.write({ type: 'ping' });
  // The close frame is lost if the client is still sending when the server closes the TCP connection.
  for (const client of clients) expect([4529, 1006]).toContain((await client.closed).code);
  const { limited } = await server.stats();
  expect(limited).toBeGreaterThanOrEqual(800);
  await good.goOn();
  await gone();
  await good.end();
  expect(await server.errors()).toEqual([]);
});

test('flooding without reading the replies', async () => {
  await start();
  const data = 'x'.repeat(30_000);
  await endures(
    async () => {
      const clients = await Promise.all(userIds(8).map((user) => welcome(user)));
      for (const client of clients) {
        client.socket.pause();
        for (let at = 0; at < 400; at++) client.write({ type: 'request', id: at, method: 'echo', data });
      }
      const before = await server.memory();
      await good.goOn();
      expect((await server.memory()) - before).toBeLessThan(8 * 8 * MB);
      // What waits for them is more than is kept for anybody.
      const ended = async () => (await server.stats()).sockets === 2;
      await waitFor(ended, { ...PATIENT, message: 'them to be closed' });
      for (const client of clients) client.socket.terminate();
    },
    { rounds: 3 },
  );
});

test('flooding before authentication', async () => {
  await start({ serve: { heartbeatInterval: period(2_000), pongTimeout: period(1_000) } });
  const text = JSON.stringify({ type: 'send', room: 'x', event: 'x', data: Array(10_000).fill([]) });
  await endures(
    async () => {
      const before = await server.memory();
      const clients = userIds(30).map(() => open('undecided'));
      await Promise.all(clients.map(({ socket }) => once(socket, 'open')));
      for (const client of clients) for (let at = 0; at < 40; at++) client.write(text);
      await good.goOn();
      // 36 MB were sent, and would be many times that as objects.
      expect((await server.memory()) - before).toBeLessThan(30 * MB);
      for (const client of clients) client.socket.terminate();
      await gone();
      // The server no longer reads these connections, so it does not notice that they are gone either.
      expect((await server.errors()).filter((error) => !error.includes('authenticate has not'))).toEqual([]);
    },
    { rounds: 3 },
  );
});

test('unauthorized requests', async () => {
  await start();
  await endures(async () => {
    const nobody = userIds(50).map(() => open(''));
    for (const client of nobody) expect((await client.closed).code).toBe(4401);
    const eve = await welcome();
    for (let at = 0; at < 200; at++) {
      eve.write({ type: 'join', room: `closed${at}` });
      eve.write({ type: 'history', room: 'closed' });
      eve.write({ type: 'watch', users: ['closed'] });
      eve.write({ type: 'send', room: 'salon', event: 'said', data: 'spam' });
      eve.write({ type: 'typing', room: 'salon', on: true });
    }
    await eve.settled();
    expect(eve.errors.filter((code) => code === 'FORBIDDEN')).toHaveLength(600);
    expect(eve.errors.filter((code) => code === 'NOT_JOINED')).toHaveLength(400);
    await eve.end();
  });
});

test('half-open and silent connections', async () => {
  // A client of this process that answers must be in time, also while the machine is busy.
  const pause = period(600);
  await start({ serve: { heartbeatInterval: pause, pongTimeout: pause } });
  await endures(async () => {
    const before = await server.stats();
    const deaf = await Promise.all(userIds(20).map((user) => welcome(user)));
    for (const client of deaf) client.socket.pause();
    const mute = await Promise.all(userIds(20).map((user) => welcome(user, { autoPong: false })));
    const silent = async () => (await server.stats()).silent - before.silent >= 40;
    await waitFor(silent, { ...PATIENT, message: 'them to be given up' });
    await gone();
    for (const client of mute) expect((await client.closed).code).toBe(1006);
    for (const client of deaf) client.socket.terminate();
  });
});

test('slow consumers', async () => {
  await start({ rooms: { maxBufferedBytes: MB / 4 } });
  const data = 'x'.repeat(50_000);
  await endures(
    async () => {
      const before = await server.stats();
      const slow = await Promise.all(userIds(10).map((user) => welcome(user)));
      const reader = await welcome('reader');
      for (const client of [...slow, reader]) await client.get({ type: 'join', room: 'noise' });
      for (const client of slow) client.socket.pause();
      const loud = await welcome('loud');
      await loud.get({ type: 'join', room: 'noise' });
      const memory = await server.memory();
      for (let at = 0; at < 300; at++) {
        await loud.get({ type: 'send', room: 'noise', event: 'noise', data, echo: false, keep: false });
      }
      await reader.until(() => reader.receivedData('noise').length === 300, 'all the noise');
      expect((await server.memory()) - memory).toBeLessThan(20 * MB);
      expect((await server.stats()).closedSlow - before.closedSlow).toBe(10);
      for (const client of slow) {
        client.socket.resume();
        expect([4508, 1006]).toContain((await client.closed).code);
      }
      await Promise.all([reader.end(), loud.end()]);
    },
    { rounds: 3 },
  );
});

test('joining and leaving rooms rapidly', async () => {
  await start({ serve: { maxRooms: 20 } });
  await endures(async () => {
    const clients = await Promise.all(userIds(5).map((user) => welcome(user)));
    for (const client of clients) {
      for (let at = 0; at < 400; at++) {
        client.write({ type: 'join', room: `hop${at}`, members: at % 2 === 0 });
        client.write({ type: 'typing', room: `hop${at}`, on: true });
        client.write({ type: 'leave', room: `hop${at}` });
      }
      for (let at = 0; at < 100; at++) client.write({ type: 'join', room: `stay${at}` });
    }
    await Promise.all(clients.map((client) => client.until(() => client.errors.length >= 80, 'refusals')));
    await Promise.all(clients.map((client) => client.settled()));
    for (const client of clients) expect(client.errors.slice(-80)).toEqual(Array(80).fill('LIMIT'));
    // What was left last may take a moment to be gone.
    await waitFor(async () => (await server.stats()).rooms <= 21, PATIENT);
    await Promise.all(clients.map((client) => client.end()));
  });
});

test('attempts at prototype pollution', async () => {
  await start();
  const own = (await server.pollution()).sort();
  const poisons = [
    '{"__proto__":{"polluted":1}}',
    '{"constructor":{"prototype":{"polluted":1}}}',
    '{"toJSON":"x","toString":1,"then":{}}',
    '[{"__proto__":{"polluted":1}}]',
  ];
  await endures(async () => {
    const eve = await welcome();
    await eve.get({ type: 'join', room: '__proto__', members: true });
    for (const poison of poisons) {
      eve.write(`{"type":"join","room":"constructor","info":${poison},"members":true}`);
      eve.write(`{"type":"update","room":"__proto__","info":${poison}}`);
      eve.write(`{"type":"send","room":"__proto__","event":"__proto__","data":${poison}}`);
      eve.write(`{"id":7,"type":"request","method":"merge","data":${poison}}`);
      eve.write(`{"type":"request","method":"__proto__","data":${poison}}`);
      eve.write(`{"__proto__":{"type":"ping","room":"x"},"type":"join"}`);
      eve.write(`{"type":"__proto__"}`);
      eve.write(`{"type":"constructor","__proto__":${poison}}`);
    }
    eve.write({ type: 'watch', users: ['__proto__', 'constructor', 'hasOwnProperty'] });
    await eve.settled();
    await eve.until(() => eve.receivedData('__proto__').length >= poisons.length, 'what was said');
    expect((await server.pollution()).sort()).toEqual(own);
    const proto = await welcome('__proto__');
    expect(proto.of('welcome')[0]?.user).toBe('__proto__');
    await Promise.all([eve.end(), proto.end()]);
  });
});

test('attempts to inject patterns', async () => {
  await start();
  const names = [
    '*',
    '?',
    'salo?',
    's*',
    '[s]alon',
    '{salon}',
    '}*{',
    'salon\r\nFLUSHALL',
    'salon\0',
    '\\*',
    ':*',
  ];
  const users = ['*', 'an?', '[a]nn', 'x}:*', 'ann\r\n'];
  await endures(async () => {
    const eve = await welcome('*');
    for (const room of names) {
      expect(await eve.get({ type: 'join', room, members: true, last: 100 })).toHaveProperty('position');
      await eve.get({ type: 'send', room, event: '*', data: room });
      expect(await eve.get({ type: 'history', room, limit: 5 })).toMatchObject({
        events: expect.arrayContaining([expect.objectContaining({ data: room })]),
      });
    }
    await eve.get({ type: 'watch', users });
    await good.goOn();
    await eve.settled();
    const rooms = new Set(eve.of('event').map(({ room, data }) => [room, data].join('=')));
    expect(rooms).toEqual(new Set(names.map((name) => `${name}=${name}`)));
    const members = eve.of('members').flatMap((each) => each.members.map(({ user }) => user));
    expect(new Set(members)).toEqual(new Set(['*']));
    const seen = eve.of('presence').flatMap((each) => each.users.map(({ user }) => user));
    expect(seen.every((user) => users.includes(user))).toBe(true);
    await eve.end();
  });
});
