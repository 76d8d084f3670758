import { createClient } from 'redis';
import { defineChannel, PresenceService, PubSubService, RoomService } from 'rollcall';
import type { EventStreamOptions } from 'rollcall/sse';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { MATRIX_ALL } from '../shared/redis-clients.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { TestEventSource } from '../support/sse-client.js';
import { fullyTested, type SseServer, type StartServer, sseServers } from '../support/sse-servers.js';
import { waitFor } from '../support/wait.js';

const feed = defineChannel<number>()('feed:{name}', { history: { size: 5_000, ttl: 60_000 } });

let redis: RedisServer;
const undo: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  redis = await startRedis();
});

afterAll(() => redis.stop());

afterEach(async () => {
  for (const each of undo.splice(0).reverse()) await each();
});

/** Services on a client of their own, as in a process of their own. */
function services(timeout = 5_000) {
  const client = createClient({
    url: redis.url,
    socket: { reconnectStrategy: 50 },
    disableOfflineQueue: true,
  });
  client.on('error', () => {});
  const pubsub = new PubSubService({ redis: client, timeout });
  const presence = new PresenceService({ redis: client, grace: 0, timeout });
  const rooms = new RoomService({ pubsub, presence, history: { size: 5_000, ttl: 60_000 } });
  const close = async () => {
    await rooms.close();
    await presence.close();
    await pubsub.close();
    if (client.isOpen) client.destroy();
  };
  return { pubsub, presence, rooms, close };
}

type Services = ReturnType<typeof services>;

/** A server that can crash at any moment and restart on another port. */
class Node {
  #server: SseServer | undefined;
  #own: Services | undefined;
  shutdown = new AbortController();

  constructor(
    readonly start: StartServer,
    readonly options: (own: Services, signal: AbortSignal) => EventStreamOptions,
  ) {}

  get url(): string {
    return `${this.#server?.url ?? 'http://127.0.0.1:9'}/events`;
  }

  async up(): Promise<void> {
    const own = services();
    this.#own = own;
    this.shutdown = new AbortController();
    this.#server = await this.start(() => this.options(own, this.shutdown.signal));
  }

  /** Cuts all connections, as a crash does; bytes in flight are lost. */
  async down(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    await server?.stop();
    await this.#own?.close();
  }
}

/** Publishes 1, 2, … until it is stopped. */
function publishing(publish: (n: number) => Promise<unknown>) {
  let running = true;
  let n = 0;
  const done = (async () => {
    while (running) {
      await publish(++n);
      await new Promise(setImmediate);
    }
  })();
  return {
    get count() {
      return n;
    },
    /** Resolves when `count` more messages have been published. */
    more: (count: number) => {
      const target = n + count;
      return waitFor(() => n >= target, { timeout: 20_000, message: 'messages' });
    },
    stop: async () => {
      running = false;
      await done;
      return Array.from({ length: n }, (_, at) => at + 1);
    },
  };
}

function open(node: Node): TestEventSource {
  const source = new TestEventSource(() => node.url);
  undo.push(() => source.close());
  return source;
}

describe.each(Object.entries(sseServers).filter(([name]) => MATRIX_ALL || fullyTested.has(name)))(
  '%s: EventSource resumes over restarts of the server',
  (_name, start) => {
    test('channels lose no message', async () => {
      const outside = services();
      undo.push(outside.close);
      const name = `${_name}-restart`;
      const node = new Node(start, ({ pubsub }, signal) => ({
        pubsub,
        channels: [feed({ name }), { channel: feed({ name: `${name}-2` }), event: 'second' }],
        retry: 20,
        signal,
      }));
      undo.push(() => node.down());
      await node.up();
      const source = open(node);
      await source.until('$ready');
      const feeds = publishing(async (n) => {
        await outside.pubsub.publish(feed({ name }), n);
        await outside.pubsub.publish(feed({ name: `${name}-2` }), n);
      });
      for (let round = 0; round < 3; round++) {
        await feeds.more(100);
        // An orderly shutdown.
        if (round === 1) node.shutdown.abort();
        await node.down();
        await feeds.more(100);
        await node.up();
        await source.until('$ready', round + 2);
      }
      const all = await feeds.stop();
      await Promise.all([source.until(feed({ name }).name, all.length), source.until('second', all.length)]);
      expect(source.of(feed({ name }).name)).toEqual(all);
      expect(source.of('second')).toEqual(all);
      expect(source.of('$discontinuity')).toEqual([]);
      expect(source.connections).toBeGreaterThanOrEqual(4);
    });

    test('rooms and messages to the user are complete', async () => {
      const outside = services();
      undo.push(outside.close);
      const userId = `${_name}-ann`;
      const lobby = `${_name}-lobby`;
      const node = new Node(start, ({ rooms }, signal) => ({
        rooms,
        user: { userId },
        join: [lobby, `${lobby}-2`],
        retry: 20,
        signal,
      }));
      undo.push(() => node.down());
      await node.up();
      const source = open(node);
      await source.until('$ready');
      const said = publishing(async (n) => {
        await outside.rooms.broadcast(lobby, 'one', n);
        await outside.rooms.broadcast(`${lobby}-2`, 'two', n);
        await outside.rooms.sendToUser(userId, 'three', n);
      });
      for (let round = 0; round < 2; round++) {
        await said.more(100);
        await node.down();
        await said.more(100);
        await node.up();
        await source.until('$ready', round + 2);
      }
      const all = await said.stop();
      for (const type of ['one', 'two', 'three']) {
        await source.until(type, all.length);
        expect(source.of<{ data: number }>(type).map(({ data }) => data)).toEqual(all);
      }
      expect(source.of('$discontinuity')).toEqual([]);
      expect((await outside.presence.getRoomMembers(lobby)).map((member) => member.userId)).toContain(userId);
    });
  },
);

test('a killed subscriber connection loses and repeats no message', async () => {
  const outside = services();
  undo.push(outside.close);
  const channel = feed({ name: 'killed' });
  const node = new Node(sseServers['node:http'], ({ pubsub }) => ({ pubsub, channels: [channel] }));
  undo.push(() => node.down());
  await node.up();
  const source = open(node);
  await source.until('$ready');
  const feeds = publishing((n) => outside.pubsub.publish(channel, n));
  for (let round = 0; round < 3; round++) {
    await feeds.more(50);
    await redis.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await feeds.more(50);
    // Reported after all missing messages have been delivered.
    await source.until('$discontinuity', round + 1);
  }
  const all = await feeds.stop();
  await source.until(channel.name, all.length);
  expect(source.of(channel.name)).toEqual(all);
  const reported = {
    channel: channel.name,
    reason: 'reconnected',
    since: expect.any(Number),
    recovered: true,
  };
  expect(source.of('$discontinuity')).toEqual([reported, reported, reported]);
  expect(source.connections).toBe(1);
});

test('a client that connects during an outage gets 200 and $close, and recovers when Redis is back', async () => {
  const own = services(500);
  undo.push(own.close);
  const outside = services();
  undo.push(outside.close);
  await own.pubsub.connect();
  const channel = feed({ name: 'away' });
  const server = await sseServers['node:http']((url) =>
    url.searchParams.has('room')
      ? { rooms: own.rooms, user: { userId: 'ann' }, join: ['away'], retry: 20 }
      : { pubsub: own.pubsub, channels: [channel], retry: 20 },
  );
  undo.push(async () => server.stop());
  await redis.kill();
  const source = new TestEventSource(`${server.url}/events`);
  const room = new TestEventSource(`${server.url}/events?room`);
  undo.push(() => Promise.all([source.close(), room.close()]));
  for (const each of [source, room]) {
    await each.until('$close');
    expect(each.status).toBe(200);
    expect(each.of('$close')[0]).toEqual({ code: 4500, reason: 'not available now', again: true });
  }
  await redis.restart();
  await Promise.all([source.until('$ready'), room.until('$ready')]);
  await outside.pubsub.publish(channel, 1);
  await outside.rooms.broadcast('away', 'said', 1);
  await Promise.all([source.until(channel.name), room.until('said')]);
  expect(source.of(channel.name)).toEqual([1]);
});

interface SentMembers {
  reset?: boolean;
  code?: string;
  members: { user: string; sockets: number }[];
}

/** The members that a page derives from the events of a stream. */
function membersOf(source: TestEventSource): string[] {
  const members = new Set<string>();
  for (const { reset, members: changed } of source.of<SentMembers>('$members')) {
    if (reset) members.clear();
    for (const { user, sockets } of changed) members[sockets > 0 ? 'add' : 'delete'](user);
  }
  return [...members].sort();
}

describe.each(Object.entries(sseServers).filter(([name]) => fullyTested.has(name)))(
  'who sees whom over %s',
  (name, start) => {
    test('visible hides users from one reader, and revoke ends what is shown', async () => {
      const [own, outside] = [services(), services()];
      undo.push(own.close, outside.close);
      const blocked = new Set(['bob']);
      const room = `${name}-lobby`;
      const server = await (start as StartServer)((url) => {
        const userId = url.searchParams.get('user') as string;
        const visible = (of: string) => !blocked.has(of);
        return {
          rooms: own.rooms,
          user: { userId },
          join: [{ room, members: true }],
          watch: ['bob', 'carol'],
          ...(userId === 'ann' ? { visible } : {}),
        };
      });
      undo.push(async () => server.stop());
      const [ann, ben] = ['ann', 'ben'].map((user) => {
        const source = new TestEventSource(`${server.url}/events?user=${user}`);
        undo.push(() => source.close());
        return source;
      }) as [TestEventSource, TestEventSource];
      await Promise.all([ann.until('$ready'), ben.until('$ready')]);
      const sockets = ['bob', 'carol'];
      for (const user of sockets) {
        await outside.presence.setPresence(user, user);
        await outside.presence.join(room, user, user);
        await outside.rooms.broadcastTyping(room, user, { ttl: 5_000 });
      }
      const statusOf = (source: TestEventSource, user: string) =>
        source
          .of<{ users: { user: string; status: string; code?: string }[] }>('$presence')
          .flatMap(({ users }) => users)
          .findLast((each) => each.user === user);
      const shows = (source: TestEventSource, user: string, status: string) =>
        waitFor(() => statusOf(source, user)?.status === status && membersOf(source).includes(user), {
          timeout: 10_000,
          message: `${user} as ${status}`,
        });
      await Promise.all([shows(ben, 'bob', 'online'), shows(ann, 'carol', 'online')]);
      await Promise.all([ann.until('$typing'), ben.until('$typing', 2)]);
      const typing = (source: TestEventSource) =>
        source.of<{ from: string }>('$typing').map(({ from }) => from);
      expect([typing(ann), typing(ben)]).toEqual([['carol'], ['bob', 'carol']]);
      expect(membersOf(ann)).toEqual(['ann', 'ben', 'carol']);
      expect(statusOf(ann, 'bob')).toEqual({ user: 'bob', status: 'offline', lastSeen: 0 });

      // A changed answer applies with the next change.
      blocked.clear();
      await outside.presence.setPresence('bob', 'bob', 'busy');
      await outside.presence.join(room, 'bob', 'bob', { seat: 1 });
      await shows(ann, 'bob', 'busy');

      await outside.rooms.revoke('ann', { watch: ['bob'], members: [room] });
      await waitFor(() => statusOf(ann, 'bob')?.code === 'FORBIDDEN' && membersOf(ann).length === 0);
      await outside.presence.setPresence('bob', 'bob', 'dnd');
      await outside.presence.leave(room, 'bob', 'bob');
      await outside.presence.setPresence('carol', 'carol', 'dnd');
      await waitFor(() => statusOf(ann, 'carol')?.status === 'dnd' && statusOf(ben, 'bob')?.status === 'dnd');
      expect([statusOf(ann, 'bob')?.code, membersOf(ann)]).toEqual(['FORBIDDEN', []]);
      expect(ann.connections).toBe(1);
    });
  },
);

test('a stream that shows users ends where a revocation may be lost, and begins again', async () => {
  const own = services();
  undo.push(own.close);
  const rooms = new RoomService({ pubsub: own.pubsub, presence: own.presence, history: false });
  undo.push(() => rooms.close());
  const mayWatch = new Set(['bob', 'carol']);
  const server = await sseServers['node:http']((url) => ({
    rooms,
    user: { userId: 'ann' },
    retry: 20,
    ...(url.searchParams.has('watch') ? { watch: [...mayWatch] } : { join: ['lobby'] }),
  }));
  undo.push(async () => server.stop());
  const watching = new TestEventSource(`${server.url}/events?watch`);
  const plain = new TestEventSource(`${server.url}/events`);
  undo.push(() => Promise.all([watching.close(), plain.close()]));
  await Promise.all([watching.until('$presence'), plain.until('$ready')]);
  mayWatch.delete('bob');
  await redis.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
  await watching.until('$presence', 2);
  expect(watching.of('$close')).toEqual([
    { code: 1012, reason: 'permissions may have changed', again: true },
  ]);
  const users = watching.of<{ users: { user: string }[] }>('$presence').map((each) => each.users);
  expect(users.map((each) => each.map(({ user }) => user))).toEqual([['bob', 'carol'], ['carol']]);
  await plain.until('$discontinuity');
  expect([watching.connections, plain.connections]).toEqual([2, 1]);
});
