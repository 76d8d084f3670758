import { createAdapter } from '@socket.io/redis-adapter';
import { createClient } from 'redis';
import { defineChannel, type Position, PresenceService } from 'rollcall';
import type { Server } from 'socket.io';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Changes } from '../shared/presence-fixture.js';
import { type Client, type SocketIoNode, SocketIoWorld } from '../shared/socket-io-fixture.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

let server: RedisServer;
let ends: (() => unknown)[] = [];
let world: SocketIoWorld;

function redis(to: RedisServer = server) {
  const client = createClient({ url: to.url, socket: { reconnectStrategy: 50 } });
  client.on('error', () => {});
  ends.push(() => {
    if (client.isOpen) client.destroy();
  });
  return client;
}

/** What everybody can see, by a process that has no part in it. */
async function observe(): Promise<Changes> {
  const presence = new PresenceService({ redis: redis(), prefix: world.prefix, lease: 3_000 });
  ends.unshift(() => void presence.close());
  return Changes.of(presence);
}

beforeAll(async () => {
  server = await startRedis();
});

afterAll(() => server.stop());

beforeEach(() => {
  world = new SocketIoWorld(() => redis());
});

afterEach(async () => {
  await world.end();
  for (const end of ends) await end();
  ends = [];
});

/** Sessions kept where all servers find them, as the adapters for streams and databases do it. */
function sharedSessions(): (io: Server) => void {
  type Adapter = ReturnType<Server['of']>['adapter'];
  const sessions = new Map<string, Parameters<Adapter['persistSession']>[0]>();
  return (io) => {
    const { adapter } = io.of('/');
    adapter.persistSession = (session) => {
      sessions.set(session.pid, JSON.parse(JSON.stringify(session)));
    };
    adapter.restoreSession = (async (pid: string) => {
      const session = sessions.get(pid);
      sessions.delete(pid);
      return session === undefined ? null : { ...session, missedPackets: [] };
    }) as unknown as Adapter['restoreSession'];
  };
}

describe('beside the Redis adapter of Socket.IO', () => {
  let one: SocketIoNode;
  let two: SocketIoNode;
  let published: string[];

  beforeEach(async () => {
    published = [];
    const prepare = (io: Server): void => {
      const [pub, sub] = [redis(), redis()];
      const opened = Promise.all([pub.connect(), sub.connect()]);
      const { publish } = pub;
      const spy = (channel: string, message: string) => {
        published.push(channel);
        return publish.call(pub, channel, message);
      };
      io.adapter(createAdapter(Object.assign(pub, { publish: spy }), sub));
      // The adapter does not wait for its last commands.
      ends.unshift(async () => {
        await opened;
        await Promise.all([pub.close(), sub.close()]);
      });
    };
    one = await world.node({ prepare });
    two = await world.node({ prepare });
  });

  test('a user is online from his first tab to his last, over servers', async () => {
    const changes = await observe();
    const first = await world.client(one, 'ann');
    await changes.until('ann', 'online');
    const second = await world.client(two, { id: 'ann', name: 'Ann' });
    await waitFor(async () => (await two.presence.getPresence('ann'))?.sockets.length === 2);
    const known = await one.presence.getPresence('ann');
    expect(new Set(known?.socketIds)).toEqual(new Set([first.socket.id, second.socket.id]));
    first.socket.disconnect();
    await waitFor(async () => (await two.presence.getPresence('ann'))?.sockets.length === 1);
    second.socket.disconnect();
    await changes.until('ann', 'offline');
    await changes.settled();
    expect(changes.of('ann')).toEqual(['offline > online', 'online > offline']);
    expect(one.tracking.stats()).toEqual({ sockets: 0, recovering: 0, watched: 0, subscriptions: 0 });
  });

  test('watchers get a snapshot and each change once, without a broadcast over the cluster', async () => {
    await world.client(two, 'bob');
    await waitFor(async () => (await one.presence.getPresence('bob'))?.status === 'online');
    const watchers = [
      await world.client(one, 'ann'),
      await world.client(one, 'ann'),
      await world.client(two, 'cem'),
    ];
    for (const watcher of watchers) {
      const { users } = await watcher.ask('presence:watch', ['bob', 'nobody', '__proto__']);
      expect(users).toEqual([
        { userId: 'bob', status: 'online', lastSeen: expect.any(Number), version: expect.any(Number) },
        { userId: 'nobody', status: 'offline', lastSeen: 0, version: 0 },
        { userId: '__proto__', status: 'offline', lastSeen: 0, version: 0 },
      ]);
      expect(users?.[0]?.lastSeen).toBeGreaterThan(1e12);
    }
    expect(one.tracking.stats().watched).toBe(3);
    const proto = await world.client(one, '__proto__');
    expect(await proto.ask('presence:status', 'busy')).toEqual({ status: 'busy' });
    for (const watcher of watchers) {
      await watcher.until('__proto__', 'busy');
      expect(watcher.heard('__proto__')).toEqual(['online', 'busy']);
    }
    expect(await watchers[0]?.ask('presence:unwatch', ['__proto__'])).toEqual({});
    proto.socket.disconnect();
    await watchers[1]?.until('__proto__', 'offline');
    // What was sent to the one came after what the other did not get.
    await world.client(one, 'nobody');
    await watchers[0]?.until('nobody', 'online');
    expect(watchers[0]?.heard('__proto__')).toEqual(['online', 'busy']);
    expect(published).toEqual([]);
    one.io.emit('to all');
    expect(published).toHaveLength(1);
    for (const { socket } of watchers) socket.disconnect();
    await waitFor(() => one.tracking.stats().watched === 0 && two.tracking.stats().watched === 0);
  });

  test('channels: to one socket, from a position, and to a room', async () => {
    const news = defineChannel<string>()('news:{id}', { history: { size: 100, ttl: 60_000 } });
    const channel = news({ id: 'a' });
    for (const { io, tracking } of [one, two]) {
      io.on('connection', (socket) => {
        void socket.join('readers');
        socket.on('follow', (since: Position | undefined, ack) => {
          tracking.subscribe(socket, channel, { event: 'news', ...(since == null ? {} : { since }) }).then(
            (it) => ack(it.position),
            (error) => ack({ error: error.code }),
          );
        });
      });
    }
    await one.tracking.relay('plain', { room: 'readers' });
    await two.tracking.relay('plain', { room: ['nobody here'] });
    const [reader, other] = [await world.client(one, 'ann'), await world.client(two, 'bob')];
    const position = (await reader.ask('follow', null)) as unknown as string;
    expect(await reader.ask('follow', 'nonsense')).toEqual({ error: 'ERR_INVALID_ARGUMENT' });
    await two.pubsub.publish(channel, 'first');
    await two.pubsub.publish(channel, 'second');
    await two.pubsub.publish('plain', { n: 1 });
    const texts = (client: Client) =>
      client.events.filter(([event]) => event === 'news').map(([, text]) => text);
    await waitFor(() => texts(reader).length === 2 && reader.events.some(([event]) => event === 'plain'));
    expect(reader.events.find(([event]) => event === 'plain')?.slice(1)).toEqual([
      { n: 1 },
      { channel: 'plain' },
    ]);
    const [, , context] = reader.events.find(([event]) => event === 'news') ?? [];
    expect(context).toEqual({ channel: 'news:a', position: expect.any(String) });
    // From where the reader began, on another server, and from between the two.
    await other.ask('follow', position);
    await waitFor(() => texts(other).length === 2);
    expect(texts(other)).toEqual(['first', 'second']);
    await other.reconnect();
    await other.ask('follow', (context as { position: string }).position);
    await waitFor(() => texts(other).length === 3);
    expect(texts(other)).toEqual(['first', 'second', 'second']);
    expect(other.events.some(([event]) => event === 'plain')).toBe(false);
    expect(two.tracking.stats().subscriptions).toBe(2);
    other.socket.disconnect();
    await waitFor(() => two.pubsub.stats().handlers === 1);
    expect(two.tracking.stats().subscriptions).toBe(1);
    expect(published).toEqual([]);
  });

  test('a gap in a channel is told', async () => {
    one.io.on('connection', (socket) => {
      socket.on('follow', (ack) => void one.tracking.subscribe(socket, 'plain').then(() => ack({})));
    });
    const reader = await world.client(one, 'ann');
    await reader.ask('follow');
    await server.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await waitFor(() => reader.events.some(([event]) => event === 'plain:discontinuity'));
    expect(reader.events.find(([event]) => event === 'plain:discontinuity')?.[1]).toEqual({
      channel: 'plain',
      reason: 'reconnected',
      since: expect.any(Number),
      recovered: false,
    });
  });

  test('handed off, users stay online until another server has them', async () => {
    const changes = await observe();
    const ann = await world.client(one, 'ann');
    await changes.until('ann', 'online');
    await one.tracking.close({ handoff: true });
    expect(one.tracking.stats().sockets).toBe(0);
    await one.io.close();
    await one.presence.close({ handoff: true });
    ann.socket.disconnect();
    const again = await world.client(two, 'ann');
    await waitFor(async () => (await two.presence.getPresence('ann'))?.sockets.length === 1);
    await changes.settled();
    expect(changes.of('ann')).toEqual(['offline > online']);
    again.socket.disconnect();
    await changes.until('ann', 'offline');
  });

  test('closed, the tracking lets go of its sockets, and of what they asked for', async () => {
    const changes = await observe();
    const ann = await world.client(one, 'ann');
    await ann.statuses('bob');
    await changes.until('ann', 'online');
    await Promise.all([one.tracking.close(), one.tracking.close()]);
    await changes.until('ann', 'offline');
    expect(ann.socket.connected).toBe(true);
    expect(one.io.listenerCount('connection')).toBe(0);
    await expect(one.tracking.relay('x')).rejects.toThrow('closed');
    await world.client(one, 'bob');
    await changes.settled();
    expect(changes.of('bob')).toEqual([]);
    expect(one.errors).toEqual([]);
  });
});

test('namespaces are tracked for themselves', async () => {
  const changes = await observe();
  const node = await world.node({ namespace: '/chat' });
  node.io.use((socket, next) => {
    socket.data.user = `main-${socket.handshake.auth['user']}`;
    next();
  });
  const main = await world.client(node, 'ann');
  const chat = await world.client(node, 'ann', { namespace: '/chat' });
  await changes.until('ann', 'online');
  expect(await chat.statuses('ann')).toEqual(['online']);
  await expect(main.socket.timeout(200).emitWithAck('presence:watch', ['ann'])).rejects.toThrow('timed out');
  main.socket.disconnect();
  await changes.settled();
  expect(changes.of('main-ann')).toEqual([]);
  expect(changes.of('ann')).toEqual(['offline > online']);
  chat.socket.disconnect();
  await changes.until('ann', 'offline');
});

test('namespaces made by a pattern are tracked each by its sockets', async () => {
  const changes = await observe();
  const node = await world.node();
  const parent = node.io.of(/^\/room-\d$/);
  parent.use((socket, next) => {
    socket.data.user = socket.handshake.auth['user'];
    next();
  });
  const { trackPresence } = await import('rollcall/socket.io');
  const tracking = trackPresence(parent, { presence: node.presence, pubsub: node.pubsub, rooms: true });
  parent.on('connection', (socket) => void socket.join('den'));
  const ann = await world.client(node, 'ann', { namespace: '/room-1' });
  const bob = await world.client(node, 'bob', { namespace: '/room-2' });
  await Promise.all([ann.statuses('cem'), bob.statuses('cem')]);
  await waitFor(async () => (await node.presence.getRoomMembers('den')).length === 2);
  await tracking.relay('all');
  await node.pubsub.publish('all', 'hello');
  const cem = await world.client(node, 'cem', { namespace: '/room-2' });
  await Promise.all([ann.until('cem', 'online'), bob.until('cem', 'online')]);
  for (const each of [ann, bob]) await waitFor(() => each.events.some(([event]) => event === 'all'));
  cem.socket.disconnect();
  await Promise.all([ann.until('cem', 'offline'), bob.until('cem', 'offline')]);
  await changes.until('cem', 'offline');
  await tracking.close();
});

describe('with connection state recovery', () => {
  const recovery = { connectionStateRecovery: { maxDisconnectionDuration: 60_000 } };

  test('a session that is recovered by its server was never offline', async () => {
    const node = await world.node({ io: recovery, tracking: { rooms: true } });
    node.io.on('connection', (socket) => {
      if (!socket.recovered) void socket.join('den');
    });
    const changes = await observe();
    const roomChanges: string[] = [];
    await changes.service.watchRoom('den', ({ type, userId }) => roomChanges.push(`${userId} ${type}`));
    const ann = await world.client(node, 'ann');
    const bob = await world.client(node, 'bob');
    await changes.until('ann', 'online');
    expect(await ann.statuses('bob')).toEqual(['online']);
    await bob.ask('presence:status', 'away');
    await ann.until('bob', 'away');
    const { id } = ann.socket;
    for (let time = 0; time < 2; time++) {
      const before = ann.news.length;
      await ann.reconnect();
      expect([ann.socket.recovered, ann.socket.id]).toEqual([true, id]);
      // What may have been missed is sent again.
      await waitFor(() => ann.news.length > before);
    }
    expect(node.tracking.stats()).toMatchObject({ sockets: 2, recovering: 0, watched: 1 });
    await bob.ask('presence:status', 'busy');
    await ann.until('bob', 'busy');
    await changes.settled();
    expect(changes.of('ann')).toEqual(['offline > online']);
    expect(roomChanges.filter((it) => it.startsWith('ann'))).toEqual(['ann join']);
    // Said by the client itself, it is over at once.
    ann.socket.disconnect();
    await changes.until('ann', 'offline');
    await waitFor(() => roomChanges.includes('ann leave'));
    expect(node.tracking.stats()).toMatchObject({ sockets: 1, recovering: 0, watched: 0 });
  });

  test('one recovered by another server was never offline, and each removes what is its own', async () => {
    const prepare = sharedSessions();
    const tracking = { recoveryGrace: 1_500 };
    const one = await world.node({ io: recovery, prepare, tracking });
    const two = await world.node({ io: recovery, prepare, tracking });
    const changes = await observe();
    const ann = await world.client(one, 'ann');
    const bob = await world.client(two, 'bob');
    await changes.until('bob', 'online');
    expect(await ann.statuses('bob')).toEqual(['online']);
    await ann.ask('presence:status', 'away');
    await changes.until('ann', 'away');
    await bob.ask('presence:status', 'busy');
    await ann.until('bob', 'busy');
    const { id } = ann.socket;
    await ann.reconnect(two.url);
    expect([ann.socket.recovered, ann.socket.id]).toEqual([true, id]);
    expect(one.tracking.stats().recovering).toBe(1);
    await waitFor(() => two.tracking.stats().watched === 1);
    expect((await changes.service.getPresence('ann'))?.socketIds).toEqual([id]);
    await waitFor(() => one.tracking.stats().recovering === 0);
    await waitFor(() => one.presence.stats().sockets === 0);
    await bob.ask('presence:status', 'away');
    await ann.until('bob', 'away');
    await changes.settled();
    expect(changes.of('ann')).toEqual(['offline > online', 'online > away']);
    ann.socket.disconnect();
    await changes.until('ann', 'offline');
    expect([...one.errors, ...two.errors]).toEqual([]);
  });

  test('whoever does not come back in time is offline then', async () => {
    const node = await world.node({ io: recovery, tracking: { recoveryGrace: 300 } });
    const changes = await observe();
    const ann = await world.client(node, 'ann', { reconnection: false });
    await changes.until('ann', 'online');
    ann.socket.io.engine.close();
    await waitFor(() => node.tracking.stats().recovering === 1);
    expect((await changes.service.getPresence('ann'))?.status).toBe('online');
    await changes.until('ann', 'offline');
    expect(node.tracking.stats()).toEqual({ sockets: 0, recovering: 0, watched: 0, subscriptions: 0 });
  });
});

describe('a Redis that comes and goes', () => {
  let own: RedisServer;

  beforeEach(async () => {
    own = await startRedis();
    world = new SocketIoWorld(() => redis(own));
  });

  afterEach(async () => {
    await world.end();
    await own.stop();
  });

  test('restarted without its data: presence and watches come back', async () => {
    const node = await world.node();
    const ann = await world.client(node, 'ann');
    const bob = await world.client(node, 'bob');
    await waitFor(async () => (await ann.statuses('bob'))[0] === 'online');
    await own.restart();
    await waitFor(async () => (await node.presence.getPresence('bob'))?.status === 'online', {
      timeout: 15_000,
    });
    await waitFor(async () => (await bob.ask('presence:status', 'busy')).error === undefined);
    await ann.until('bob', 'busy');
    expect(ann.heard('bob')).toEqual(['busy']);
  });

  test('away: sockets connect all the same, and are registered when it is back', async () => {
    const node = await world.node();
    await node.presence.connect();
    await own.kill();
    const ann = await world.client(node, 'ann');
    const gone = await world.client(node, 'gone');
    expect((await ann.ask('presence:status', 'busy')).error?.code).toBe('UNAVAILABLE');
    expect((await ann.ask('presence:watch', ['bob'])).error?.code).toBe('UNAVAILABLE');
    expect(node.tracking.stats().watched).toBe(0);
    await waitFor(() => node.errors.some((error) => error.startsWith('repair')));
    gone.socket.disconnect();
    await own.restart();
    await waitFor(async () => (await node.presence.getPresence('ann'))?.status === 'online', {
      timeout: 20_000,
    });
    expect(await ann.statuses('ann', 'gone')).toEqual(['online', 'offline']);
  });
});
