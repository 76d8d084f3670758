import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net';
import { type Client, connect } from 'rollcall/client';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { WsClient } from '../shared/ws-fixture.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';
import { WsServer, type WsServerOptions } from '../support/ws-server.js';

const PATIENT = { timeout: 30_000 };

let redis: RedisServer;
let prefix: string;
let ends: (() => unknown)[];

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());
beforeEach(() => {
  prefix = randomUUID();
  ends = [];
});
afterEach(async () => {
  for (const end of ends) await end();
});

async function serve(options: Partial<WsServerOptions> = {}): Promise<WsServer> {
  const server = await WsServer.start({ port: redis.port, prefix, ...options });
  ends.push(() => server.kill());
  return server;
}

async function raw(url: string, user: string): Promise<WsClient> {
  const socket = new WebSocket(`${url}/?user=${user}`, ['rollcall.1']);
  ends.unshift(() => socket.terminate());
  const client = new WsClient(socket);
  await client.welcome();
  return client;
}

/** A client that tries one server after the other. */
function roaming(user: string, ...servers: WsServer[]): Client {
  let attempt = 0;
  const client = connect({
    url: () => `${servers[attempt++ % servers.length]?.url}/?user=${user}`,
    WebSocket: WebSocket as never,
    backoff: { first: 50, max: 300 },
    timeout: 20_000,
  });
  ends.unshift(() => client.close());
  return client;
}

const numbers = (count: number) => Array.from({ length: count }, (_, at) => at);

/** A way to a server that can be made to swallow everything, in both directions, without closing anything. */
async function swallowing(url: string): Promise<{ url: string; swallow: () => void }> {
  const wires: Socket[] = [];
  let swallows = false;
  const proxy = createServer((near) => {
    const far = createConnection(Number(new URL(url).port), '127.0.0.1');
    wires.push(near, far);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('error', () => {});
      from.on('data', (chunk) => swallows || to.write(chunk));
    }
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  ends.unshift(() => {
    for (const wire of wires) wire.destroy();
    proxy.close();
  });
  return {
    url: `ws://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    swallow: () => {
      swallows = true;
    },
  };
}

test('no client misses a message when a server is killed during a conversation', async () => {
  const [one, two] = [await serve(), await serve()];
  const [ann, bob] = [roaming('ann', one, two), roaming('bob', two, one)];
  const received: Record<string, unknown[]> = { ann: [], bob: [] };
  const rooms = Object.entries({ ann, bob }).map(([user, client]) => {
    const room = client.join<{ said: string }>('lobby');
    room.on('said', (data) => void received[user]?.push(data));
    room.onDiscontinuity((gap) => void (gap.recovered || received[user]?.push(gap)));
    return room;
  });
  await Promise.all(rooms.map(({ ready }) => ready));
  const talk = (['ann', 'bob'] as const).map(async (user, at) => {
    for (const number of numbers(60)) {
      await rooms[at]?.send('said', `${user} ${number}`);
      if (user === 'bob' && number === 30) await one.kill();
    }
  });
  await Promise.all(talk);
  await waitFor(() => [received['ann'], received['bob']].every((each) => each?.length === 120), {
    ...PATIENT,
    message: () => `120 messages each: ${received['ann']?.length}, ${received['bob']?.length}`,
  });
  expect(received['ann']).toEqual(received['bob']);
  for (const user of ['ann', 'bob']) {
    const own = received['ann']?.filter((each) => String(each).startsWith(user));
    expect(own).toEqual(numbers(60).map((number) => `${user} ${number}`));
  }
  // Who was on the dead server is a member once, of the living.
  const cat = await raw(two.url, 'cat');
  await cat.get({ type: 'join', room: 'lobby', members: true });
  await cat.until(() => cat.of('members')[0]?.members.length === 3, 'three members');
});

test('a server that was frozen for longer than the pong timeout disconnects no client for it', async () => {
  const server = await serve({ serve: { heartbeatInterval: 400, pongTimeout: 400 } });
  const clients = await Promise.all(numbers(10).map((at) => raw(server.url, `user${at}`)));
  // Most are to have an unanswered ping when it stops.
  await new Promise((resolve) => clients[0]?.socket.once('ping', resolve));
  server.freeze();
  for (const client of clients) client.write({ type: 'ping' });
  // The test cannot see for how long the process is stopped.
  const since = performance.now();
  await waitFor(() => performance.now() - since > 1_500);
  server.thaw();
  // They have been through three more heartbeats since.
  for (let round = 0; round < 3; round++) {
    await Promise.all(clients.map(({ socket }) => once(socket, 'ping')));
  }
  await Promise.all(clients.map((client) => client.settled()));
  expect(await server.stats()).toMatchObject({ silent: 0, sockets: 10 });
});

test('a client whose network drops everything is disconnected, and others see the user leave', async () => {
  const server = await serve({ serve: { heartbeatInterval: 300, pongTimeout: 300 } });
  const way = await swallowing(server.url);
  const bob = await raw(server.url, 'bob');
  const ann = await raw(way.url, 'ann');
  await ann.get({ type: 'join', room: 'lobby' });
  await bob.get({ type: 'join', room: 'lobby', members: true });
  await bob.get({ type: 'watch', users: ['ann'] });
  await bob.until(() => bob.of('presence')[0]?.users[0]?.status === 'online', 'ann');
  way.swallow();
  await bob.until(() => bob.of('presence').at(-1)?.users[0]?.status === 'offline', 'no ann');
  await bob.until(
    () =>
      bob
        .of('members')
        .at(-1)
        ?.members.some(({ user, sockets }) => user === 'ann' && sockets === 0),
    'ann to leave the room',
  );
  expect(await server.stats()).toMatchObject({ silent: 1, sockets: 1, connections: 1 });
});

test('in a rolling deploy drained clients reconnect elsewhere, miss nothing and are never reported offline', async () => {
  const [one, two] = [await serve(), await serve()];
  const watcher = await raw(two.url, 'watcher');
  await watcher.get({ type: 'join', room: 'lobby' });
  const users = numbers(12).map((at) => `user${at}`);
  await watcher.get({ type: 'watch', users });
  const received = new Map<string, unknown[]>(users.map((user) => [user, []]));
  const clients = users.map((user) => roaming(user, one, two));
  const ready = clients.map((client, at) => {
    const room = client.join<{ said: number }>('lobby');
    room.on('said', (data) => void received.get(users[at] ?? '')?.push(data));
    room.onDiscontinuity((gap) => void (gap.recovered || received.get(users[at] ?? '')?.push(gap)));
    return room.ready;
  });
  await Promise.all(ready);
  const statuses = () => watcher.of('presence').flatMap((frame) => frame.users);
  const latest = () => new Map(statuses().map(({ user, status }) => [user, status]));
  await watcher.until(() => users.every((user) => latest().get(user) === 'online'), 'all to be online');
  const before = statuses().length;
  let said = 0;
  let draining = true;
  const talk = (async () => {
    while (draining) {
      await watcher.get({ type: 'send', room: 'lobby', event: 'said', data: said++ });
      // Within what the history keeps.
      if (said % 10 === 0) await watcher.settled();
    }
  })();
  await waitFor(() => said > 5, PATIENT);
  await one.close({ drainPeriod: 500, handoff: true });
  await one.kill();
  await waitFor(() => clients.every(({ state }) => state === 'open'), PATIENT);
  draining = false;
  await talk;
  const all = numbers(said);
  await waitFor(() => [...received.values()].every((each) => each.at(-1) === said - 1), PATIENT);
  for (const each of received.values()) expect(each).toEqual(all);
  expect(statuses().slice(before)).toEqual([]);
  expect(await two.errors()).toEqual([]);
});

test('while Redis is away requests are answered with UNAVAILABLE, and work again after that', async () => {
  const server = await serve();
  const ann = await raw(server.url, 'ann');
  await ann.get({ type: 'join', room: 'lobby' });
  redis.freeze();
  try {
    const answer = await ann.ask({ type: 'send', room: 'lobby', event: 'said', data: 1, key: 'k' });
    expect(answer).toMatchObject({ type: 'error', code: 'UNAVAILABLE', retryAfter: expect.any(Number) });
    await ann.settled();
  } finally {
    redis.thaw();
  }
  await waitFor(
    async () =>
      (await ann.ask({ type: 'send', room: 'lobby', event: 'said', data: 1, key: 'k' })).type === 'ok',
    PATIENT,
  );
  await ann.until(() => ann.receivedData('lobby').length === 1, 'what was said, once');
  await ann.settled();
  expect(ann.receivedData('lobby')).toEqual([1]);
});
