import { createAdapter } from '@socket.io/redis-adapter';
import { createClient } from 'redis';
import { defineChannel, type Position, PresenceService } from 'rollcall';
import type { PresenceTrackerRequest } from 'rollcall/socket.io';
import type { Server } from 'socket.io';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Changes } from '../shared/presence-fixture.js';
import { type Client, SocketIoFixture, type SocketIoNode } from '../shared/socket-io-fixture.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

let server: RedisServer;
let ends: (() => unknown)[] = [];
let fixture: SocketIoFixture;

function redis(to: RedisServer = server) {
  const client = createClient({ url: to.url, socket: { reconnectStrategy: 50 } });
  client.on('error', () => {});
  ends.push(() => {
    if (client.isOpen) client.destroy();
  });
  return client;
}

/** Records the presence changes that a third process sees. */
async function observe(): Promise<Changes> {
  const presence = new PresenceService({ redis: redis(), prefix: fixture.prefix, lease: 3_000 });
  ends.unshift(() => void presence.close());
  return Changes.of(presence);
}

beforeAll(async () => {
  server = await startRedis();
});

afterAll(() => server.stop());

beforeEach(() => {
  fixture = new SocketIoFixture(() => redis());
});

afterEach(async () => {
  await fixture.end();
  for (const end of ends) await end();
  ends = [];
});

/** Stores sessions for all servers, as the adapters for Redis Streams and databases do. */
function sharedSessions(): (io: Server) => void {
  type Adapter = ReturnType<Server['of']>['adapter'];
  const sessions = new Map<string, Parameters<Adapter['persistSession']>[0]>();
  const servers: Server[] = [];
  return (io) => {
    const { adapter } = io.of('/');
    adapter.persistSession = (session) => {
      sessions.set(session.pid, JSON.parse(JSON.stringify(session)));
    };
    servers.push(io);
    adapter.serverSideEmit = ([event, ...args]: unknown[]) => {
      for (const each of servers) if (each !== io) each.of('/')._onServerSideEmit([event as string, ...args]);
    };
    adapter.restoreSession = (async (pid: string) => {
      const session = sessions.get(pid);
      sessions.delete(pid);
      return session === undefined ? null : { ...session, missedPackets: [] };
    }) as unknown as Adapter['restoreSession'];
  };
}

/** Permissions of an application: ids that nobody may watch. */
function permissions() {
  const secret = new Set<string>();
  const authorize = (_socket: unknown, request: PresenceTrackerRequest) =>
    request.action !== 'watch' || !secret.has(request.userId);
  return { secret, tracker: { authorize } };
}

/** What a client receives when a watch of it is revoked. */
const endOf = (userId: string) => ({
  userId,
  status: 'offline',
  lastSeen: 0,
  version: expect.any(Number),
  code: 'FORBIDDEN',
});

describe('with the Redis adapter of Socket.IO', () => {
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
      // The adapter does not await its last commands.
      ends.unshift(async () => {
        await opened;
        await Promise.all([pub.close(), sub.close()]);
      });
    };
    one = await fixture.node({ prepare });
    two = await fixture.node({ prepare });
  });

  test('a user is online from their first tab to their last, on any server', async () => {
    const changes = await observe();
    const first = await fixture.client(one, 'ann');
    await changes.until('ann', 'online');
    const second = await fixture.client(two, { id: 'ann', name: 'Ann' });
    await waitFor(async () => (await two.presence.getPresence('ann'))?.sockets.length === 2);
    const known = await one.presence.getPresence('ann');
    expect(new Set(known?.socketIds)).toEqual(new Set([first.socket.id, second.socket.id]));
    first.socket.disconnect();
    await waitFor(async () => (await two.presence.getPresence('ann'))?.sockets.length === 1);
    second.socket.disconnect();
    await changes.until('ann', 'offline');
    await changes.settled();
    expect(changes.of('ann')).toEqual(['offline > online', 'online > offline']);
    expect(one.tracker.stats()).toEqual({ sockets: 0, recovering: 0, watched: 0, subscriptions: 0 });
  });

  test('watchers get a snapshot and each change once, without a cluster broadcast', async () => {
    await fixture.client(two, 'bob');
    await waitFor(async () => (await one.presence.getPresence('bob'))?.status === 'online');
    const watchers = [
      await fixture.client(one, 'ann'),
      await fixture.client(one, 'ann'),
      await fixture.client(two, 'cem'),
    ];
    for (const watcher of watchers) {
      const { users } = await watcher.request('presence:watch', ['bob', 'nobody', '__proto__']);
      expect(users).toEqual([
        { userId: 'bob', status: 'online', lastSeen: expect.any(Number), version: expect.any(Number) },
        { userId: 'nobody', status: 'offline', lastSeen: 0, version: 0 },
        { userId: '__proto__', status: 'offline', lastSeen: 0, version: 0 },
      ]);
      expect(users?.[0]?.lastSeen).toBeGreaterThan(1e12);
    }
    expect(one.tracker.stats().watched).toBe(3);
    const proto = await fixture.client(one, '__proto__');
    expect(await proto.request('presence:status', 'busy')).toEqual({ status: 'busy' });
    for (const watcher of watchers) {
      await watcher.until('__proto__', 'busy');
      expect(watcher.statusesOf('__proto__')).toEqual(['online', 'busy']);
    }
    expect(await watchers[0]?.request('presence:unwatch', ['__proto__'])).toEqual({});
    proto.socket.disconnect();
    await watchers[1]?.until('__proto__', 'offline');
    // The change sent to one client follows the changes that the other must not get.
    await fixture.client(one, 'nobody');
    await watchers[0]?.until('nobody', 'online');
    expect(watchers[0]?.statusesOf('__proto__')).toEqual(['online', 'busy']);
    expect(published).toEqual([]);
    one.io.emit('to all');
    expect(published).toHaveLength(1);
    for (const { socket } of watchers) socket.disconnect();
    await waitFor(() => one.tracker.stats().watched === 0 && two.tracker.stats().watched === 0);
  });

  test('a revocation ends the watches of a user on all servers, and of nobody else', async () => {
    const { secret, tracker } = permissions();
    const [three, four] = [await fixture.node({ tracker }), await fixture.node({ tracker })];
    const [first, second] = [await fixture.client(three, 'ann'), await fixture.client(four, 'ann')];
    const other = await fixture.client(four, 'cem');
    await first.request('presence:watch', ['bob', 'dan']);
    await second.request('presence:watch', ['bob', 'dan', 'eve'], { batch: true });
    await other.request('presence:watch', ['bob']);
    secret.add('bob');
    await three.tracker.revoke('ann', { watch: ['bob', 'eve', 'unknown'] });
    await three.tracker.revoke('unknown', { watch: ['bob'] });
    const lists = () =>
      second.events.flatMap(([event, list]) => (event === 'presence:changes' ? [list] : []));
    await waitFor(() => first.updates.length > 0 && lists().length > 0);
    expect(first.updates).toEqual([endOf('bob')]);
    expect(lists()).toEqual([[endOf('bob'), endOf('eve')]]);

    // Later changes of others arrive, and none of what has ended.
    for (const user of ['bob', 'eve', 'dan']) await three.presence.setPresence(user, 's', 'busy');
    await first.until('dan', 'busy');
    await other.until('bob', 'busy');
    await waitFor(() => lists().length > 1);
    expect(first.statusesOf('bob')).toEqual(['offline']);
    expect(lists().slice(1)).toMatchObject([[{ userId: 'dan', status: 'busy' }]]);
    expect(other.updates.some(({ code }) => code !== undefined)).toBe(false);
    expect(await first.statuses('bob')).toEqual(['FORBIDDEN']);
    expect(await second.statuses('eve')).toEqual(['busy']);
    expect([...three.errors, ...four.errors]).toEqual([]);
  });

  test('a watcher that asks for lists gets many changes in few events', async () => {
    const users = Array.from({ length: 60 }, (_, at) => `user-${at}`);
    const watcher = await fixture.client(one, 'ann');
    await watcher.request('presence:watch', users, { batch: true });
    const changes = () => watcher.events.filter(([event]) => event === 'presence:changes');
    const offline = () =>
      changes()
        .flatMap(([, list]) => list as { userId: string; status: string }[])
        .filter(({ status }) => status === 'offline');
    await Promise.all(users.map((user) => two.presence.setPresence(user, 's')));
    await waitFor(() => changes().length > 0);
    await Promise.all(users.map((user) => two.presence.removeSocket(user, 's')));
    await waitFor(() => new Set(offline().map(({ userId }) => userId)).size === users.length, {
      timeout: 15_000,
    });
    expect(changes().length).toBeLessThan(users.length);
    expect(watcher.updates).toEqual([]);
  });

  test('channels reach one socket from a position, and all sockets of a room', async () => {
    const news = defineChannel<string>()('news:{id}', { history: { size: 100, ttl: 60_000 } });
    const channel = news({ id: 'a' });
    for (const { io, tracker } of [one, two]) {
      io.on('connection', (socket) => {
        void socket.join('readers');
        socket.on('follow', (since: Position | undefined, ack) => {
          tracker.subscribe(socket, channel, { event: 'news', ...(since == null ? {} : { since }) }).then(
            (it) => ack(it.position),
            (error) => ack({ error: error.code }),
          );
        });
      });
    }
    await one.tracker.relay('plain', { room: 'readers' });
    await two.tracker.relay('plain', { room: ['nobody here'] });
    const [reader, other] = [await fixture.client(one, 'ann'), await fixture.client(two, 'bob')];
    const position = (await reader.request('follow', null)) as unknown as string;
    expect(await reader.request('follow', 'nonsense')).toEqual({ error: 'ERR_INVALID_ARGUMENT' });
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
    // From the reader's first position, on another server, and from a position in between.
    await other.request('follow', position);
    await waitFor(() => texts(other).length === 2);
    expect(texts(other)).toEqual(['first', 'second']);
    await other.reconnect();
    await other.request('follow', (context as { position: string }).position);
    await waitFor(() => texts(other).length === 3);
    expect(texts(other)).toEqual(['first', 'second', 'second']);
    expect(other.events.some(([event]) => event === 'plain')).toBe(false);
    expect(two.tracker.stats().subscriptions).toBe(2);
    other.socket.disconnect();
    await waitFor(() => two.pubsub.stats().handlers === 1);
    expect(two.tracker.stats().subscriptions).toBe(1);
    expect(published).toEqual([]);
  });

  test('a gap in a channel is sent as a discontinuity', async () => {
    one.io.on('connection', (socket) => {
      socket.on('follow', (ack) => void one.tracker.subscribe(socket, 'plain').then(() => ack({})));
    });
    const reader = await fixture.client(one, 'ann');
    await reader.request('follow');
    await server.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await waitFor(() => reader.events.some(([event]) => event === 'plain:discontinuity'));
    expect(reader.events.find(([event]) => event === 'plain:discontinuity')?.[1]).toEqual({
      channel: 'plain',
      reason: 'reconnected',
      since: expect.any(Number),
      recovered: false,
    });
  });

  test('after a handoff, users stay online until another server registers them', async () => {
    const changes = await observe();
    const ann = await fixture.client(one, 'ann');
    await changes.until('ann', 'online');
    await one.tracker.close({ handoff: true });
    expect(one.tracker.stats().sockets).toBe(0);
    await one.io.close();
    await one.presence.close({ handoff: true });
    ann.socket.disconnect();
    const again = await fixture.client(two, 'ann');
    await waitFor(async () => (await two.presence.getPresence('ann'))?.sockets.length === 1);
    await changes.settled();
    expect(changes.of('ann')).toEqual(['offline > online']);
    again.socket.disconnect();
    await changes.until('ann', 'offline');
  });

  test('a closed tracker releases its sockets, watches and subscriptions', async () => {
    const changes = await observe();
    const ann = await fixture.client(one, 'ann');
    await ann.statuses('bob');
    await changes.until('ann', 'online');
    await Promise.all([one.tracker.close(), one.tracker.close()]);
    await changes.until('ann', 'offline');
    expect(ann.socket.connected).toBe(true);
    expect(one.io.listenerCount('connection')).toBe(0);
    await expect(one.tracker.relay('x')).rejects.toThrow('closed');
    await fixture.client(one, 'bob');
    await changes.settled();
    expect(changes.of('bob')).toEqual([]);
    expect(one.errors).toEqual([]);
  });
});

test('each namespace has its own tracker', async () => {
  const changes = await observe();
  const node = await fixture.node({ namespace: '/chat' });
  node.io.use((socket, next) => {
    socket.data.user = `main-${socket.handshake.auth['user']}`;
    next();
  });
  const main = await fixture.client(node, 'ann');
  const chat = await fixture.client(node, 'ann', { namespace: '/chat' });
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

test('dynamic namespaces are tracked through their parent', async () => {
  const changes = await observe();
  const node = await fixture.node();
  const parent = node.io.of(/^\/room-\d$/);
  parent.use((socket, next) => {
    socket.data.user = socket.handshake.auth['user'];
    next();
  });
  const { trackPresence } = await import('rollcall/socket.io');
  const tracker = trackPresence(parent, { presence: node.presence, pubsub: node.pubsub, rooms: true });
  parent.on('connection', (socket) => void socket.join('den'));
  const ann = await fixture.client(node, 'ann', { namespace: '/room-1' });
  const bob = await fixture.client(node, 'bob', { namespace: '/room-2' });
  await Promise.all([ann.statuses('cem'), bob.statuses('cem')]);
  await waitFor(async () => (await node.presence.getRoomMembers('den')).length === 2);
  await tracker.relay('all');
  await node.pubsub.publish('all', 'hello');
  const cem = await fixture.client(node, 'cem', { namespace: '/room-2' });
  await Promise.all([ann.until('cem', 'online'), bob.until('cem', 'online')]);
  for (const each of [ann, bob]) await waitFor(() => each.events.some(([event]) => event === 'all'));
  cem.socket.disconnect();
  await Promise.all([ann.until('cem', 'offline'), bob.until('cem', 'offline')]);
  await changes.until('cem', 'offline');
  await tracker.close();
});

describe('with connection state recovery', () => {
  const recovery = { connectionStateRecovery: { maxDisconnectionDuration: 60_000 } };

  test('a session recovered by its own server is never offline', async () => {
    const node = await fixture.node({ io: recovery, tracker: { rooms: true } });
    node.io.on('connection', (socket) => {
      if (!socket.recovered) void socket.join('den');
    });
    const changes = await observe();
    const roomChanges: string[] = [];
    await changes.service.watchRoom('den', ({ type, userId }) => roomChanges.push(`${userId} ${type}`));
    const ann = await fixture.client(node, 'ann');
    const bob = await fixture.client(node, 'bob');
    await changes.until('ann', 'online');
    expect(await ann.statuses('bob')).toEqual(['online']);
    await bob.request('presence:status', 'away');
    await ann.until('bob', 'away');
    const { id } = ann.socket;
    for (let time = 0; time < 2; time++) {
      const before = ann.updates.length;
      await ann.reconnect();
      expect([ann.socket.recovered, ann.socket.id]).toEqual([true, id]);
      // States that may have been missed are sent again.
      await waitFor(() => ann.updates.length > before);
    }
    expect(node.tracker.stats()).toMatchObject({ sockets: 2, recovering: 0, watched: 1 });
    await bob.request('presence:status', 'busy');
    await ann.until('bob', 'busy');
    await changes.settled();
    expect(changes.of('ann')).toEqual(['offline > online']);
    expect(roomChanges.filter((it) => it.startsWith('ann'))).toEqual(['ann join']);
    // A disconnection by the client is final at once.
    ann.socket.disconnect();
    await changes.until('ann', 'offline');
    await waitFor(() => roomChanges.includes('ann leave'));
    expect(node.tracker.stats()).toMatchObject({ sockets: 1, recovering: 0, watched: 0 });
  });

  test('a recovered session watches those whom it still may, and those whom the server has added', async () => {
    const { secret, tracker } = permissions();
    const node = await fixture.node({ io: recovery, tracker });
    node.io.on('connection', (socket) => {
      if (!socket.recovered && socket.data.user === 'ann') void node.tracker.watch(socket, ['boss']);
    });
    const ann = await fixture.client(node, 'ann');
    expect(await ann.statuses('bob', 'dan')).toEqual(['offline', 'offline']);
    for (const user of ['bob', 'boss', 'dan']) await node.presence.setPresence(user, 's', 'busy');
    for (const user of ['bob', 'boss', 'dan']) await ann.until(user, 'busy');
    const before = ann.updates.length;
    for (const user of ['bob', 'boss']) secret.add(user);
    await ann.reconnect();
    await waitFor(() => ann.updates.length >= before + 3);
    expect(ann.socket.recovered).toBe(true);
    const restored = ['boss', 'dan'].map((userId) => expect.objectContaining({ userId, status: 'busy' }));
    expect(ann.updates.slice(before)).toEqual(expect.arrayContaining([endOf('bob'), ...restored]));
    expect(node.tracker.stats().watched).toBe(2);
  });

  test('a session recovered by another server is never offline, and ends with a disconnection', async () => {
    const prepare = sharedSessions();
    const tracker = { recoveryGrace: 30_000 };
    const one = await fixture.node({ io: recovery, prepare, tracker });
    const two = await fixture.node({ io: recovery, prepare, tracker });
    const changes = await observe();
    const ann = await fixture.client(one, 'ann');
    const bob = await fixture.client(two, 'bob');
    await changes.until('bob', 'online');
    expect(await ann.statuses('bob')).toEqual(['online']);
    await ann.request('presence:status', 'away');
    await changes.until('ann', 'away');
    await bob.request('presence:status', 'busy');
    await ann.until('bob', 'busy');
    const { id } = ann.socket;
    await ann.reconnect(two.url);
    expect([ann.socket.recovered, ann.socket.id]).toEqual([true, id]);
    await waitFor(() => two.tracker.stats().watched === 1);
    expect((await changes.service.getPresence('ann'))?.socketIds).toEqual([id]);
    await waitFor(() => one.tracker.stats().recovering === 0);
    await waitFor(() => one.presence.stats().sockets === 0);
    await bob.request('presence:status', 'away');
    await ann.until('bob', 'away');
    await changes.settled();
    expect(changes.of('ann')).toEqual(['offline > online', 'online > away']);
    ann.socket.disconnect();
    await changes.until('ann', 'offline');
    expect([...one.errors, ...two.errors]).toEqual([]);
  });

  test('a user who does not reconnect within the grace is reported offline', async () => {
    const node = await fixture.node({ io: recovery, tracker: { recoveryGrace: 300 } });
    const changes = await observe();
    const ann = await fixture.client(node, 'ann', { reconnection: false });
    await changes.until('ann', 'online');
    ann.socket.io.engine.close();
    await waitFor(() => node.tracker.stats().recovering === 1);
    expect((await changes.service.getPresence('ann'))?.status).toBe('online');
    await changes.until('ann', 'offline');
    expect(node.tracker.stats()).toEqual({ sockets: 0, recovering: 0, watched: 0, subscriptions: 0 });
  });
});

describe('an outage of Redis', () => {
  let own: RedisServer;

  beforeEach(async () => {
    own = await startRedis();
    fixture = new SocketIoFixture(() => redis(own));
  });

  afterEach(async () => {
    await fixture.end();
    await own.stop();
  });

  test('presence and watches are restored after Redis restarts without data', async () => {
    const node = await fixture.node();
    const ann = await fixture.client(node, 'ann');
    const bob = await fixture.client(node, 'bob');
    await waitFor(async () => (await node.presence.getPresence('bob'))?.status === 'online');
    expect(await ann.statuses('bob')).toEqual(['online']);
    await own.restart();
    await waitFor(async () => (await node.presence.getPresence('bob'))?.status === 'online', {
      timeout: 15_000,
    });
    await waitFor(async () => (await bob.request('presence:status', 'busy')).error === undefined);
    await ann.until('bob', 'busy');
    expect(ann.statusesOf('bob')).toEqual(['busy']);
  });

  test('where revocations may be lost, authorize is asked again about what clients watch', async () => {
    const { secret, tracker } = permissions();
    const node = await fixture.node({ tracker });
    const ann = await fixture.client(node, 'ann');
    expect(await ann.statuses('bob', 'dan')).toEqual(['offline', 'offline']);
    await node.tracker.revoke('ann', { watch: ['nobody'] });
    secret.add('bob');
    // With its history, which names the revocation of another server.
    await own.restart();
    await waitFor(() => ann.updates.length > 0, { timeout: 15_000 });
    expect(ann.updates).toEqual([endOf('bob')]);
    await waitFor(() =>
      node.presence.setPresence('dan', 's', 'busy').then(
        () => true,
        () => false,
      ),
    );
    await ann.until('dan', 'busy');
  });

  test('sockets connect during an outage and are registered afterwards', async () => {
    const node = await fixture.node();
    await node.presence.connect();
    await own.kill();
    const ann = await fixture.client(node, 'ann');
    const gone = await fixture.client(node, 'gone');
    expect((await ann.request('presence:status', 'busy')).error?.code).toBe('UNAVAILABLE');
    expect((await ann.request('presence:watch', ['bob'])).error?.code).toBe('UNAVAILABLE');
    expect(node.tracker.stats().watched).toBe(0);
    await waitFor(() => node.errors.some((error) => error.startsWith('repair')));
    gone.socket.disconnect();
    await own.restart();
    await waitFor(async () => (await node.presence.getPresence('ann'))?.status === 'online', {
      timeout: 20_000,
    });
    expect(await ann.statuses('ann', 'gone')).toEqual(['online', 'offline']);
  });
});
