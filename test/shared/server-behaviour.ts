import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { FakeClock, turn } from '../support/fake-clock.js';
import { deferred, waitFor, withDeadline } from '../support/wait.js';
import { headerOf, ServerFixture, type ServerNode, type StartServer } from './server-fixture.js';
import type { WsBackend, WsClient } from './ws-fixture.js';

/** Connections of any transport on Node behave alike. */
export function serverBehaviour(
  name: string,
  start: StartServer,
  startBackend: () => Promise<WsBackend>,
): void {
  describe(name, () => {
    let backend: WsBackend;
    let fixture: ServerFixture;
    beforeAll(async () => {
      backend = await startBackend();
    });
    afterAll(() => backend.end());
    beforeEach(() => {
      fixture = new ServerFixture(backend, start);
    });
    afterEach(() => fixture.end());

    /** The status of a handshake that was refused. */
    async function refusal(client: WsClient): Promise<number | undefined> {
      const [, response] = await withDeadline(once(client.socket, 'unexpected-response'), 5_000, 'an answer');
      response.resume();
      return response.statusCode;
    }

    const noConnections = (node: ServerNode) =>
      waitFor(() => node.stats().connections === 0 && node.rooms.stats().sockets === 0);

    describe('the handshake', () => {
      test('authenticates by the URL and the headers, and selects the subprotocol among others', async () => {
        const node = await fixture.node({
          authenticate: (request) =>
            headerOf(request, 'origin') === 'https://chat.test'
              ? (headerOf(request, 'x-user') ?? null)
              : null,
          maxFrameBytes: 2_000,
          heartbeatInterval: 20_000,
        });
        const headers = { origin: 'https://chat.test', 'x-user': 'ann' };
        const ann = fixture.open(node.url, ['rollcall.1', 'token.abc'], { headers });
        expect(await ann.welcome()).toMatchObject({ user: 'ann', maxBytes: 2_000, heartbeat: 20_000 });
        expect(ann.socket.protocol).toBe('rollcall.1');
        const foreign = fixture.open(node.url, undefined, {
          headers: { ...headers, origin: 'https://evil.test' },
        });
        expect(await foreign.closed).toEqual({ code: 4401, reason: 'not authenticated' });
        expect(foreign.frames).toEqual([]);
        await waitFor(() => node.stats().connections === 1);
        expect(node.stats()).toMatchObject({ refused: 1 });
        expect(node.errors).toEqual([]);
      });

      test('closes with 4500 when authenticate fails', async () => {
        const node = await fixture.node({ authenticate: () => Promise.reject(new Error('no database')) });
        expect((await fixture.open(node.url).closed).code).toBe(4500);
        expect(node.errors).toEqual(["HandlerError: a connection's handler failed: no database"]);
        await noConnections(node);
      });

      test('handles frames sent during authenticate afterwards, in order', async () => {
        const known = deferred<string>();
        const node = await fixture.node({ authenticate: () => known.promise });
        const ann = fixture.open(node.url);
        const opened = once(ann.socket, 'open').then(() => {
          const joined = ann.get({ type: 'join', room: 'lobby' });
          const sent = ann.get({ type: 'send', room: 'lobby', event: 'said', data: 1 });
          return Promise.all([joined, sent]);
        });
        known.resolve('ann');
        await ann.welcome();
        expect(await opened).toMatchObject([
          { position: expect.anything() },
          { position: expect.anything() },
        ]);
      });

      test('a client that disconnects during attach leaves nothing behind', async () => {
        const node = await fixture.node();
        const attach = node.rooms.attach.bind(node.rooms);
        const [begun, go] = [deferred(), deferred()];
        node.rooms.attach = async (...given) => {
          const socket = await attach(...given);
          begun.resolve();
          await go.promise;
          return socket;
        };
        const ann = fixture.open(`${node.url}?user=ann`);
        await begun.promise;
        ann.socket.terminate();
        await waitFor(() => node.stats().connections === 0);
        go.resolve();
        await noConnections(node);
        await waitFor(async () => (await node.presence.getPresence('ann'))?.status !== 'online');
      });
    });

    describe('requests', () => {
      test('are authorized and answered, and events reach the members of a room on every server', async () => {
        const [one, two] = [await fixture.node(), await fixture.node()];
        const [ann, bob] = [await fixture.client(one, 'ann'), await fixture.client(two, 'bob')];
        expect(await ann.get({ type: 'join', room: 'closed' })).toBe('FORBIDDEN');
        for (const client of [ann, bob]) await client.get({ type: 'join', room: 'lobby' });
        const text = 'ü😀'.repeat(5_000);
        expect(await ann.get({ type: 'send', room: 'lobby', event: 'said', data: text })).toHaveProperty(
          'position',
        );
        await bob.until(() => bob.of('event').length === 1, 'the event');
        expect(bob.of('event')[0]).toMatchObject({ room: 'lobby', from: 'ann', data: text });
        expect([...one.errors, ...two.errors]).toEqual([]);
      });

      test('for a list of members are answered with pages, as fast as the client reads', async () => {
        const node = await fixture.node();
        await Promise.all(
          Array.from({ length: 300 }, async (_, at) => {
            await node.presence.setPresence(`user-${at}`, `socket-${at}`, 'online');
            await node.presence.join('hall', `user-${at}`, `socket-${at}`, null);
          }),
        );
        const ann = await fixture.client(node, 'ann');
        await ann.get({ type: 'join', room: 'hall', members: true });
        const members = () => ann.of('members').flatMap((frame) => frame.members);
        await ann.until(() => members().length >= 301, 'all members');
      });

      test('end with the connection: 4403 after disconnectUser, and the user is offline', async () => {
        const [one, two] = [await fixture.node(), await fixture.node()];
        const ann = await fixture.client(one, 'ann');
        await two.rooms.disconnectUser('ann', 'ü'.repeat(1_000));
        expect(await ann.closed).toEqual({ code: 4403, reason: 'ü'.repeat(61) });
        await noConnections(one);
        await waitFor(async () => (await two.presence.getPresence('ann'))?.status === 'offline');
      });
    });

    describe('limits', () => {
      test('a frame over maxFrameBytes closes the connection with 1009', async () => {
        const node = await fixture.node({ maxFrameBytes: 1_000 });
        const ann = await fixture.client(node, 'ann');
        ann.write({ type: 'ping', pad: 'x'.repeat(900) });
        await ann.until(() => ann.of('pong').length === 1, 'an answer to the shorter frame');
        ann.write({ type: 'ping', pad: 'ü'.repeat(600) });
        expect((await ann.closed).code).toBe(1009);
        await noConnections(node);
      });

      test('frames that cannot be parsed are answered, and the tenth closes the connection with 4400', async () => {
        const node = await fixture.node();
        const ann = await fixture.client(node, 'ann');
        ann.write(Buffer.from('{"type":"ping"}'));
        await ann.until(() => ann.errors.length === 1, 'an answer to the binary frame');
        expect(ann.errors).toEqual(['INVALID']);
        for (let at = 0; at < 9; at++) ann.write('{');
        expect((await ann.closed).code).toBe(4400);
        expect(node.stats()).toMatchObject({ malformed: 10 });
      });

      test('the rate limit answers with retryAfter', async () => {
        let left = 2;
        const node = await fixture.node({
          rateLimit: {
            consume: () => (left-- > 0 ? Promise.resolve() : Promise.reject({ msBeforeNext: 700 })),
          },
        });
        const ann = await fixture.client(node, 'ann');
        await ann.get({ type: 'join', room: 'lobby' });
        await ann.settled();
        expect(await ann.ask({ type: 'leave', room: 'lobby' })).toMatchObject({
          code: 'RATE_LIMITED',
          retryAfter: 700,
        });
      });

      test('a client that sends without waiting loses no frame while the application is slow', async () => {
        const go = deferred<boolean>();
        let asked = 0;
        const node = await fixture.node({
          authorize: () => (asked++ === 0 ? go.promise : true),
          requests: { go: () => 1 },
        });
        const ann = await fixture.client(node, 'ann');
        const pad = 'x'.repeat(10_000);
        const answers = Array.from({ length: 100 }, () => ann.get({ type: 'request', method: 'go', pad }));
        await waitFor(() => node.stats().frames > 26);
        go.resolve(true);
        expect(await Promise.all(answers)).toEqual(Array(100).fill(1));
      });
    });

    test('a client that answers pings stays, and one that does not is cut', async () => {
      const clock = new FakeClock();
      const node = await fixture.node({ clock, heartbeatInterval: 1_000, pongTimeout: 400 });
      const ann = await fixture.client(node, 'ann');
      const bob = await fixture.client(node, 'bob', { autoPong: false });
      const pinged = [ann, bob].map((client) => once(client.socket, 'ping'));
      clock.advance(1_150);
      await withDeadline(Promise.all(pinged), 5_000, 'pings');
      await ann.settled();
      clock.advance(450);
      expect((await bob.closed).code).toBe(1006);
      await ann.settled();
      expect(node.stats()).toMatchObject({ silent: 1, connections: 1 });
      expect(node.errors).toEqual([]);
    });

    test('a client that reads too slowly is closed, and the others receive everything', async () => {
      // Time stands still: the server waits for the end of the closing handshake, however late the client reads on.
      const node = await fixture.node({ clock: new FakeClock() }, { maxBufferedBytes: 200_000 });
      const [ann, bob] = [await fixture.client(node, 'ann'), await fixture.client(node, 'bob')];
      for (const client of [ann, bob]) await client.get({ type: 'join', room: 'hall' });
      ann.socket.pause();
      let sent = 0;
      await waitFor(async () => {
        await node.rooms.broadcast('hall', 'said', 'x'.repeat(100_000));
        sent++;
        return node.rooms.stats().closedSlow === 1;
      });
      ann.socket.resume();
      expect((await ann.closed).code).toBe(4508);
      await bob.until(() => bob.receivedData('hall').length === sent, 'every event');
      await waitFor(() => node.stats().connections === 1);
    });

    test('a client that does not complete the closing handshake is cut', async () => {
      const clock = new FakeClock();
      const node = await fixture.node({ clock });
      const ann = await fixture.client(node, 'ann');
      ann.socket.pause();
      const closing = node.shutdown();
      await turn();
      clock.advance(5_000);
      await withDeadline(closing, 5_000, 'the end of the shutdown');
      expect(node.stats().connections).toBe(0);
      expect(node.rooms.stats().sockets).toBe(0);
    });

    describe('shutdown', () => {
      test('closes all connections with 1012, spread over drainPeriod, and accepts no new ones', async () => {
        const clock = new FakeClock();
        const node = await fixture.node({ clock });
        const [ann, bob] = [await fixture.client(node, 'ann'), await fixture.client(node, 'bob')];
        const chances = [0.2, 0.8];
        clock.random = () => chances.shift() ?? 0.5;
        const closing = node.shutdown({ drainPeriod: 10_000 });
        expect((await fixture.open(`${node.url}?user=cat`).closed).code).toBe(1012);
        await ann.settled();
        clock.advance(2_000);
        expect(await ann.closed).toEqual({ code: 1012, reason: 'service restart' });
        await bob.settled();
        clock.advance(6_000);
        expect((await bob.closed).code).toBe(1012);
        await closing;
        expect(node.rooms.stats()).toMatchObject({ sockets: 0, rooms: 0 });
        expect(node.errors).toEqual([]);
      });

      test('with an invalid option closes nothing', async () => {
        const node = await fixture.node();
        const ann = await fixture.client(node, 'ann');
        await expect(node.shutdown({ drainPeriod: -1 })).rejects.toThrow(/drain/);
        await ann.settled();
      });
    });

    test('rollcall/client misses nothing through cut connections and a restart of its server', async () => {
      const [one, two] = [await fixture.node(), await fixture.node()];
      let { url } = one;
      const client = fixture.connect(() => `${url}?user=ann`);
      const received: unknown[] = [];
      const hall = client.join<{ said: number }>('hall');
      hall.on('said', (data) => void received.push(data));
      const gaps: unknown[] = [];
      hall.onDiscontinuity((gap) => void (gap.recovered || gaps.push(gap)));
      await hall.ready;
      for (let at = 0; at < 30; at++) {
        if (at === 10) for (const socket of one.rooms.socketsOf('ann')) socket.close(4000, 'cut');
        if (at === 20) {
          url = two.url;
          void one.shutdown();
        }
        await two.rooms.broadcast('hall', 'said', at);
      }
      await waitFor(() => received.length >= 30, { timeout: 15_000, message: () => `all: ${received}` });
      expect(received).toEqual(Array.from({ length: 30 }, (_, at) => at));
      await hall.send('said', 30);
      await waitFor(() => received.at(-1) === 30);
      expect(gaps).toEqual([]);
      expect([...one.errors, ...two.errors]).toEqual([]);
    });

    test('rollcall/client follows the number of members, then their list, and sends volatile events', async () => {
      const node = await fixture.node();
      const ann = fixture.connect(() => `${node.url}?user=ann`);
      const bob = fixture.connect(() => `${node.url}?user=bob`);
      const room = ann.join('hall', { members: 'count' });
      await waitFor(() => room.count === 1, { timeout: 8_000, message: () => `count: ${room.count}` });
      const other = bob.join('hall');
      const received: unknown[] = [];
      other.on('moved', (data) => received.push(data));
      await waitFor(() => room.count === 2, { timeout: 8_000, message: () => `count: ${room.count}` });
      expect(room.members.size).toBe(0);
      expect(await room.send('moved', [1, 2], { volatile: true })).toEqual({});
      await waitFor(() => received.length === 1);
      ann.join('hall', { members: true });
      await waitFor(() => room.members.size === 2);
      await other.leave();
      await waitFor(() => room.count === 1 && room.members.size === 1);
      expect(received).toEqual([[1, 2]]);
      ann.close();
      await waitFor(() => node.stats().connections === 1);
      ann.connect();
      await ann.join('hall').ready;
      expect(node.errors).toEqual([]);
    });

    test('rollcall/client replaces its credentials on an open connection, before they expire', async () => {
      // The client waits for real time, at least 1 s. The server's time passes between the refreshes.
      const clock = new FakeClock();
      const tokens: (string | null)[] = [];
      const node = await fixture.node({
        clock,
        authenticate: ({ url = '' }) => {
          const { searchParams } = new URL(url, 'http://localhost');
          tokens.push(searchParams.get('token'));
          return { userId: 'ann', expiresAt: clock.now() + 1_000 };
        },
      });
      let made = 0;
      const client = fixture.connect(() => `${node.url}?token=${++made}`);
      const errors: unknown[] = [];
      client.on('error', (error) => errors.push(error));
      await client.join('hall').ready;
      const { socket } = client;
      for (const count of [2, 3]) {
        await waitFor(() => tokens.length === count, { timeout: 10_000, message: () => `tokens: ${tokens}` });
        clock.advance(900);
      }
      await client.join('hall').send('said', 1);
      expect(client.socket).toBe(socket);
      expect(tokens).toEqual(['1', '2', '3']);
      expect([...errors, ...node.errors]).toEqual([]);
    });

    test('what is allowed until a time is asked about again then: it goes on, or it ends', async () => {
      const clock = new FakeClock();
      const asked: string[] = [];
      let allows = true;
      const node = await fixture.node({
        clock,
        authorize: (_, request) => {
          const name = 'room' in request ? request.room : 'userId' in request ? request.userId : '';
          asked.push(`${request.action} ${name}`);
          if (name === 'open' || name === 'cat') return true;
          return allows && { expiresAt: new Date(clock.now() + 2_000) };
        },
      });
      const ann = await fixture.client(node, 'ann');
      await ann.get({ type: 'join', room: 'hall' });
      await ann.get({ type: 'join', room: 'open', members: true });
      await ann.get({ type: 'watch', users: ['bob', 'cat'] });
      const shown = ['join hall', 'join open', 'members open', 'watch bob', 'watch cat'];
      expect(asked.splice(0).sort()).toEqual(shown);
      clock.advance(1_999);
      await ann.get({ type: 'send', room: 'open', event: 'said' });
      expect(asked.splice(0)).toEqual(['send open']);
      clock.advance(1);
      await ann.until(() => asked.length === shown.length, 'all is asked about');
      expect(asked.splice(0).sort()).toEqual(shown);
      allows = false;
      clock.advance(2_000);
      await ann.until(() => ann.errors.length === 1, 'the room ends');
      expect(ann.of('error')).toMatchObject([{ room: 'hall', code: 'FORBIDDEN' }]);
      expect(ann.of('presence').at(-1)?.users).toEqual([
        expect.objectContaining({ user: 'bob', code: 'FORBIDDEN' }),
      ]);
      expect(await ann.get({ type: 'send', room: 'hall', event: 'said' })).toBe('NOT_JOINED');
      expect(await ann.get({ type: 'join', room: 'hall' })).toBe('FORBIDDEN');
      // Nothing else has an end.
      asked.length = 0;
      clock.advance(10_000);
      await ann.get({ type: 'send', room: 'open', event: 'said' });
      expect([asked, node.errors]).toEqual([['send open'], []]);
    });

    test('rollcall/client replaces its credentials before a permission for a room ends', async () => {
      const clock = new FakeClock();
      const asked: string[] = [];
      const node = await fixture.node({
        clock,
        authenticate: ({ url = '' }) => {
          const { searchParams } = new URL(url, 'http://localhost');
          const token = Number(searchParams.get('token'));
          return { userId: 'ann', expiresAt: clock.now() + 1_000_000, mayUntil: clock.now() + 1_000, token };
        },
        authorize: (user, request) => {
          const { mayUntil, token } = user as never as { mayUntil: number; token: number };
          asked.push(`${request.action} by ${token}`);
          return request.action !== 'join' || { expiresAt: mayUntil };
        },
      });
      let made = 0;
      const client = fixture.connect(() => `${node.url}?token=${++made}`);
      const errors: unknown[] = [];
      client.on('error', (error) => errors.push(error));
      const room = client.join('hall');
      await room.ready;
      const { socket } = client;
      for (const token of [2, 3]) {
        // The client waits for real time, at least 1 s.
        await waitFor(() => asked.includes(`join by ${token}`), {
          timeout: 10_000,
          message: () => `${asked}`,
        });
        clock.advance(900);
      }
      await room.send('said', 1);
      expect(asked).toEqual(['join by 1', 'join by 2', 'join by 3', 'send by 3']);
      expect([client.socket, room.state]).toEqual([socket, 'joined']);
      expect([...errors, ...node.errors]).toEqual([]);
    });

    test('rollcall/client logs in and out on an open connection', async () => {
      const limited: string[] = [];
      const users: unknown[] = [];
      const node = await fixture.node({
        identityChange: true,
        authorize: ({ userId }, request) =>
          userId === 'ann' ||
          (request.action !== 'watch' && !('room' in request && request.room === 'guests')),
        requests: {
          who: (socket, _data, { userId }) => [socket.userId, userId],
          become: (socket, data) => socket.identify(String(data), { user: { role: 'member' } }),
        },
        rateLimit: { consume: async (key) => limited.push(key) },
        onDisconnect: (_socket, user) => users.push(user),
      });
      let user = 'ann';
      const client = fixture.connect(() => `${node.url}?user=${user}`);
      const [hall, guests] = [client.join('hall', { info: 'a seat', members: true }), client.join('guests')];
      const events: unknown[] = [];
      client.events.on('said', (data) => events.push(data));
      hall.on('said', (data, { from }) => events.push([data, from]));
      await Promise.all([hall.ready, guests.ready]);
      const { socket } = client;
      hall.startTyping();
      const watcher = await fixture.client(node, 'eve');
      await watcher.get({ type: 'join', room: 'hall' });
      await watcher.until(() => watcher.of('event').length > 0, 'ann types');

      user = 'bob';
      await client.refresh();
      expect([client.user, client.socket, client.state]).toEqual(['bob', socket, 'open']);
      await waitFor(() => guests.state === 'refused');
      expect([guests.error?.code, hall.state]).toEqual(['FORBIDDEN', 'joined']);
      expect(await client.request('who')).toEqual(['bob', 'bob']);
      expect(limited.at(-1)).toBe('bob');
      await node.rooms.sendToUser('ann', 'said', 'for ann');
      await node.rooms.sendToUser('bob', 'said', 'for bob');
      await hall.send('said', 1);
      await waitFor(() => events.length >= 2, { message: () => JSON.stringify(events) });
      expect(events).toEqual(expect.arrayContaining(['for bob', [1, 'bob']]));
      expect(events).toHaveLength(2);
      await waitFor(() => hall.members.has('bob') && !hall.members.has('ann'));
      expect(hall.members.get('bob')).toMatchObject({ info: 'a seat', sockets: 1 });
      expect((await node.presence.getPresence('ann'))?.status).toBe('offline');
      const stopped = () =>
        watcher.of('event').some(({ from, data }) => from === 'ann' && JSON.stringify(data) === '{"ttl":0}');
      await watcher.until(stopped, 'ann has stopped typing');

      // The application changes it without the client, which hears of it.
      await client.request('become', 'carol');
      expect(client.user).toBe('carol');
      expect(await client.request('who')).toEqual(['carol', 'carol']);
      await node.rooms.disconnectUser('bob');
      await client.request('who');
      const closed = new Promise((resolve) => client.on('closed', ({ code }) => resolve(code)));
      await node.rooms.disconnectUser('carol');
      expect(await withDeadline(closed, 5_000, 'the end')).toBe(4403);
      await waitFor(() => users.length === 1);
      expect(users).toEqual([{ role: 'member', userId: 'carol' }]);
      expect(node.errors).toEqual([]);
    });

    test('without identityChange the user of a connection stays', async () => {
      const refused: unknown[] = [];
      const node = await fixture.node({
        requests: {
          become: (socket, data) => socket.identify(String(data)).catch((error) => refused.push(error.code)),
        },
      });
      const client = await fixture.client(node, 'ann');
      await client.get({ type: 'request', method: 'become', data: 'bob' });
      expect(refused).toEqual(['ERR_UNSUPPORTED']);
      expect(node.rooms.socketsOf('ann')).toHaveLength(1);
    });

    test('with refuseWith: status the handshake is answered with 401, and with 503 during the shutdown', async () => {
      const clock = new FakeClock();
      const node = await fixture.node({ clock, refuseWith: 'status' });
      expect(await refusal(fixture.open(node.url))).toBe(401);
      const ann = await fixture.client(node, 'ann');
      const closing = node.shutdown({ drainPeriod: 1_000 });
      expect(await refusal(fixture.open(`${node.url}?user=bob`))).toBe(503);
      clock.advance(1_000);
      expect((await ann.closed).code).toBe(1012);
      await closing;
      expect(node.stats()).toMatchObject({ refused: 2 });
    });
  });
}
