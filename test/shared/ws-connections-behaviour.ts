import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { ConnectionError } from 'rollcall';
import { connect as connectClient } from 'rollcall/client';
import { serveWebSocket } from 'rollcall/ws';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { FakeClock, turn } from '../support/fake-clock.js';
import { deferred, waitFor, withDeadline } from '../support/wait.js';
import { userOf, type WsBackend, type WsClient, WsFixture } from './ws-fixture.js';

/** Tests of the start, life and end of connections, for any Redis. */
export function wsConnections(name: string, start: () => Promise<WsBackend>): void {
  describe(`connections: ${name}`, () => {
    let backend: WsBackend;
    let fixture: WsFixture;
    beforeAll(async () => {
      backend = await start();
    });
    afterAll(() => backend.end());
    beforeEach(() => {
      fixture = new WsFixture(() => backend);
    });
    afterEach(() => fixture.end());

    /** The status of a handshake that was refused. */
    async function refusal(client: WsClient): Promise<number | undefined> {
      const [, response] = await withDeadline(
        once(client.socket, 'unexpected-response'),
        5_000,
        'an HTTP answer',
      );
      response.resume();
      return response.statusCode;
    }

    describe('the handshake', () => {
      test('selects our subprotocol among all offered ones', async () => {
        const node = await fixture.node();
        for (const [offered, chosen] of [
          [['rollcall.1'], 'rollcall.1'],
          [['token.abc', 'rollcall.1'], 'rollcall.1'],
          [['rollcall.2', 'rollcall.1', 'soap'], 'rollcall.1'],
          [[], ''],
        ] as const) {
          const client = fixture.open(`${node.url}/?user=ann`, [...offered]);
          await client.welcome();
          expect(client.socket.protocol).toBe(chosen);
        }
        // A client of `ws` gives up by itself when none is chosen.
        const other = fixture.open(`${node.url}/?user=ann`, ['rollcall.2']);
        expect((await other.closed).code).toBe(1006);
      });

      test('leaves the selection of other subprotocols to the server', async () => {
        const node = await fixture.node({ ws: { handleProtocols: () => 'soap' } });
        const client = fixture.open(`${node.url}/?user=ann`, ['soap']);
        await client.welcome();
        expect(client.socket.protocol).toBe('soap');
      });

      test('announces the effective maximum frame size', async () => {
        const node = await fixture.node({ ws: { maxPayload: 1_000 } });
        expect(await (await fixture.client(node, 'ann')).welcome()).toMatchObject({
          version: 1,
          user: 'ann',
          maxBytes: 1_000,
          heartbeat: 25_000,
        });
      });

      test('accepts connections that the application upgrades itself', async () => {
        const node = await fixture.node({
          ws: { noServer: true },
          prepare: (wss, http) =>
            http.on('upgrade', (request, socket: Duplex, head) =>
              wss.handleUpgrade(request, socket, head, (each) => wss.emit('connection', each, request)),
            ),
        });
        const ann = await fixture.client(node, 'ann');
        expect(await ann.get({ type: 'join', room: 'lobby' })).toHaveProperty('position');
      });

      test('closes a connection that is emitted without a request', async () => {
        const node = await fixture.node({
          ws: { noServer: true },
          prepare: (wss, http) =>
            http.on('upgrade', (request, socket: Duplex, head) =>
              wss.handleUpgrade(request, socket, head, (each) => wss.emit('connection', each)),
            ),
        });
        expect((await fixture.open(`${node.url}/?user=ann`).closed).code).toBe(4500);
        expect(node.errors).toHaveLength(1);
      });
    });

    describe('an unauthenticated client', () => {
      test('is closed with 4401, and is never online', async () => {
        const node = await fixture.node();
        const client = fixture.open(node.url);
        client.socket.on('open', () => client.write({ type: 'join', room: 'lobby' }));
        expect(await client.closed).toEqual({ code: 4401, reason: 'not authenticated' });
        expect(client.frames).toEqual([]);
        await waitFor(() => node.serving.stats().connections === 0);
        expect(node.serving.stats()).toMatchObject({ refused: 1, frames: 0 });
        expect(node.errors).toEqual([]);
      });

      test('is answered with 401 if so configured, after the server’s own check', async () => {
        const seen: string[] = [];
        const own = (async: boolean) => {
          const check = ({ req }: { req: { url?: string } }) => {
            seen.push(`own ${req.url}`);
            return !req.url?.includes('origin=evil');
          };
          return async
            ? (info: never, answer: (ok: boolean, code?: number) => void) =>
                check(info) ? answer(true) : answer(false, 418)
            : check;
        };
        for (const async of [false, true]) {
          const node = await fixture.node({
            ws: { verifyClient: own(async) as never },
            serve: {
              refuseWith: 'status',
              authenticate: (request) => {
                seen.push(`ours ${request.url}`);
                return userOf(request);
              },
            },
          });
          expect(await refusal(fixture.open(`${node.url}/`))).toBe(401);
          expect(await refusal(fixture.open(`${node.url}/?user=ann&origin=evil`))).toBe(async ? 418 : 401);
          await fixture.client(node, 'ann');
          expect(seen.splice(0)).toEqual([
            'own /',
            'ours /',
            'own /?user=ann&origin=evil',
            'own /?user=ann',
            'ours /?user=ann',
          ]);
        }
      });

      test('is closed with 4500 when authenticate fails', async () => {
        const authenticate = () => Promise.reject(new ConnectionError('no database'));
        const node = await fixture.node({ serve: { authenticate } });
        expect((await fixture.open(node.url).closed).code).toBe(4500);
        const other = await fixture.node({ serve: { authenticate, refuseWith: 'status' } });
        expect(await refusal(fixture.open(other.url))).toBe(503);
        expect([...node.errors, ...other.errors]).toEqual(Array(2).fill('ConnectionError: no database'));
      });

      let reads = 0;
      const bad: Record<string, unknown> = {
        'a number': 7,
        true: true,
        'an object without an id': {},
        'an id that is a number': { userId: 7 },
        'an id without end': { userId: 'x'.repeat(600) },
        'half a character': '\ud800',
        'a status that cannot be': { userId: 'ann', status: 'offline' },
        'an end that is no time': { userId: 'ann', expiresAt: 'tomorrow' },
        'an end that is no date': { userId: 'ann', expiresAt: new Date('x') },
        'what cannot be read': {
          get userId() {
            throw new Error('unreadable');
          },
        },
        'what can only be read once': {
          get userId() {
            return reads++ === 0 ? 7 : 'ann';
          },
        },
      };
      test.each(Object.keys(bad))('is who is identified as %s, which is reported', async (key) => {
        const node = await fixture.node({ serve: { authenticate: () => bad[key] as never } });
        expect((await fixture.open(node.url).closed).code).toBe(4500);
        expect(node.errors).toHaveLength(1);
        await waitFor(() => node.rooms.stats().sockets === 0);
      });

      test('is answered with 503 when authenticate fails before the upgrade', async () => {
        const authenticate = () => ({ name: 'ann' }) as never;
        const node = await fixture.node({ serve: { refuseWith: 'status', authenticate } });
        expect(await refusal(fixture.open(node.url))).toBe(503);
        expect(node.errors).toHaveLength(1);
      });

      test('is closed with 4500 when rateLimitKey throws', async () => {
        const node = await fixture.node({
          serve: {
            rateLimitKey: () => {
              throw new Error('no key');
            },
          },
        });
        expect((await fixture.open(`${node.url}/?user=ann`).closed).code).toBe(4500);
        expect(node.errors).toEqual(["HandlerError: a connection's handler failed: no key"]);
      });
    });

    test('frames sent during authenticate are handled afterwards, in order', async () => {
      const known = deferred<string>();
      const node = await fixture.node({ serve: { authenticate: () => known.promise } });
      const ann = fixture.open(node.url);
      await once(ann.socket, 'open');
      const joined = ann.get({ type: 'join', room: 'lobby' });
      const sent = ann.get({ type: 'send', room: 'lobby', event: 'said', data: 1 });
      // More than is held at once.
      for (let at = 0; at < 300; at++) ann.write({ type: 'ping' });
      known.resolve('ann');
      await ann.welcome();
      expect(await joined).toHaveProperty('position');
      expect(await sent).toHaveProperty('position');
      await ann.until(() => ann.of('pong').length === 300, 'all answers');
    });

    test('a client that disconnects during authenticate never comes online', async () => {
      const known = deferred<string>();
      const node = await fixture.node({ serve: { authenticate: () => known.promise } });
      const attached: unknown[] = [];
      const attach = node.rooms.attach.bind(node.rooms);
      node.rooms.attach = (...given) => {
        attached.push(given[1].userId);
        return attach(...given);
      };
      const gone = fixture.open(node.url);
      await once(gone.socket, 'open');
      gone.socket.terminate();
      await waitFor(() => node.serving.stats().connections === 0);
      known.resolve('ann');
      const ann = fixture.open(node.url);
      await ann.welcome();
      expect(attached).toEqual(['ann']);
      expect(node.serving.stats().refused).toBe(1);
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
      const ann = fixture.open(`${node.url}/?user=ann`);
      await begun.promise;
      ann.socket.terminate();
      await waitFor(() => node.serving.stats().connections === 0);
      go.resolve();
      await waitFor(() => node.rooms.stats().sockets === 0);
      await waitFor(async () => (await node.presence.getPresence('ann'))?.status !== 'online');
      expect(node.errors).toEqual([]);
    });

    test('a user has at most maxSocketsPerUser sockets', async () => {
      const node = await fixture.node({ presence: { maxSocketsPerUser: 2 } });
      await fixture.client(node, 'ann');
      const second = await fixture.client(node, 'ann');
      expect((await fixture.open(`${node.url}/?user=ann`).closed).code).toBe(4409);
      await second.end();
      await waitFor(() => node.rooms.stats().sockets === 1);
      await fixture.client(node, 'ann');
      expect(node.errors).toEqual([]);
    });

    test('a user who reconnects with a position receives missed messages once', async () => {
      const [one, two] = [await fixture.node(), await fixture.node()];
      const ann = await fixture.client(one, 'ann');
      await two.rooms.sendToUser('ann', 'note', 1);
      await ann.until(() => ann.receivedData().length === 1, 'the first note');
      const since = ann.of('event')[0]?.position as string;
      await ann.end();
      await two.rooms.sendToUser('ann', 'note', 2);
      await two.rooms.sendToUser('ann', 'note', 3);
      // Recovered events may arrive before `welcome` is sent.
      const attach = two.rooms.attach.bind(two.rooms);
      two.rooms.attach = async (...given) => {
        const socket = await attach(...given);
        await waitFor(() => socket.position !== since);
        return socket;
      };
      const again = await fixture.client(two, 'ann', { since });
      await one.rooms.sendToUser('ann', 'note', 4);
      await again.until(() => again.receivedData().length === 3, 'three notes');
      expect(again.receivedData()).toEqual([2, 3, 4]);
      // Whoever loses the connection right after welcome must ask for all of it again.
      expect(again.of('welcome')[0]?.position).toBe(since);
      for (const odd of ['', 'yesterday', '1-1-1', `${'9'.repeat(40)}-1`]) {
        expect((await fixture.client(one, 'ann', { since: odd })).receivedData()).toEqual([]);
      }
      expect(one.errors).toEqual([]);
    });

    test('disconnectUser closes with 4403 on every server', async () => {
      const [one, two] = [await fixture.node(), await fixture.node()];
      const [here, there] = [await fixture.client(one, 'ann'), await fixture.client(two, 'ann')];
      const bob = await fixture.client(one, 'bob');
      await two.rooms.disconnectUser('ann', 'ü'.repeat(1_000));
      expect(await here.closed).toEqual({ code: 4403, reason: 'ü'.repeat(61) });
      expect((await there.closed).code).toBe(4403);
      await bob.settled();
    });

    test('a socket that the application detaches is closed with a code to reconnect', async () => {
      const node = await fixture.node({ serve: { requests: { off: (socket) => socket.detach() } } });
      const ann = await fixture.client(node, 'ann');
      ann.write({ type: 'request', method: 'off' });
      await waitFor(() => node.rooms.stats().sockets === 0);
      ann.write({ type: 'ping' });
      expect((await ann.closed).code).toBe(1012);
    });

    describe('time', () => {
      /** A server on a fake clock, with one client. */
      async function still(serve: object = {}) {
        const clock = new FakeClock();
        const node = await fixture.node({
          serve: { clock, heartbeatInterval: 1_000, pongTimeout: 400, ...serve },
        });
        return { clock, node };
      }

      test('a client that answers pings stays, and one that does not is cut', async () => {
        const { clock, node } = await still();
        const ann = await fixture.client(node, 'ann');
        const bob = fixture.open(`${node.url}/?user=bob`, ['rollcall.1'], { autoPong: false });
        await bob.welcome();
        const pings: string[] = [];
        ann.socket.on('ping', () => pings.push('ann'));
        bob.socket.on('ping', () => pings.push('bob'));
        clock.advance(900);
        await Promise.all([ann.settled(), bob.settled()]);
        expect(pings).toEqual([]);
        // The server received a frame of each at 900.
        clock.advance(1_150);
        await waitFor(() => pings.length === 2);
        await ann.settled();
        clock.advance(450);
        expect((await bob.closed).code).toBe(1006);
        await ann.settled();
        expect(node.serving.stats().silent).toBe(1);
        await waitFor(() => node.rooms.stats().sockets === 1);
      });

      test('a ping of the client, of either kind, shows that it is alive', async () => {
        const { clock, node } = await still();
        const ann = fixture.open(`${node.url}/?user=ann`, ['rollcall.1'], { autoPong: false });
        await ann.welcome();
        for (let round = 0; round < 3; round++) {
          clock.advance(1_150);
          ann.socket.ping();
          await once(ann.socket, 'pong');
          clock.advance(1_150);
          await ann.settled();
        }
        expect(node.serving.stats().silent).toBe(0);
      });

      test.each(['a number', 'a Date'])(
        'a connection ends when its credentials expire, given as %s',
        async (form) => {
          const end = new FakeClock().now() + 900;
          const { clock, node } = await still({
            authenticate: () => ({ userId: 'ann', expiresAt: form === 'a Date' ? new Date(end) : end }),
          });
          const ann = fixture.open(node.url);
          await ann.welcome();
          clock.advance(899);
          await ann.settled();
          clock.advance(1);
          expect(await ann.closed).toEqual({ code: 4501, reason: 'the credentials have expired' });
        },
      );

      test('credentials that have expired already are rejected: no welcome, and never online', async () => {
        const expired = { userId: 'ann', expiresAt: 1 };
        const node = await fixture.node({ serve: { authenticate: () => expired } });
        const changes: unknown[] = [];
        await node.presence.subscribe((change) => changes.push(change));
        const client = fixture.open(node.url);
        expect((await client.closed).code).toBe(4501);
        expect(client.frames).toEqual([]);
        expect(changes).toEqual([]);
        expect(node.serving.stats().refused).toBe(1);
        const other = await fixture.node({ serve: { authenticate: () => expired, refuseWith: 'status' } });
        expect(await refusal(fixture.open(other.url))).toBe(401);
      });

      test('a server is served once at a time', async () => {
        const node = await fixture.node();
        const again = () =>
          serveWebSocket(node.wss, { rooms: node.rooms, authenticate: userOf, authorize: () => true });
        expect(again).toThrow(/server.*served already/);
        await node.serving.close();
        await again().close();
      });

      test('no timer outlives its connection or the server', async () => {
        const { clock, node } = await still({
          authenticate: (request: never) => ({ userId: userOf(request) ?? 'x', expiresAt: 2e12 }),
        });
        const before = clock.timers;
        for (let at = 0; at < 5; at++) {
          const ann = await fixture.client(node, 'ann');
          await ann.get({ type: 'join', room: 'closed' });
          if (at % 2) ann.socket.terminate();
          else await ann.end();
        }
        const bob = await fixture.client(node, 'bob');
        node.rooms.socketsOf('bob')[0]?.close(4000, '');
        await bob.closed;
        await waitFor(() => node.serving.stats().connections === 0);
        expect(clock.timers).toBe(before);
        await node.serving.close();
        expect(clock.timers).toBe(0);
      });

      test('a client that does not complete the closing handshake is cut', async () => {
        const { clock, node } = await still();
        const ann = await fixture.client(node, 'ann');
        ann.socket.pause();
        const closing = node.serving.close();
        await turn();
        expect(node.serving.stats().connections).toBe(1);
        clock.advance(5_000);
        await withDeadline(closing, 5_000, 'the end of serving');
        expect(node.serving.stats().connections).toBe(0);
      });
    });

    describe('draining', () => {
      test('closes all connections with 1012, spread over drainPeriod, and accepts no new ones', async () => {
        const clock = new FakeClock();
        const node = await fixture.node({ serve: { clock } });
        const ann = await fixture.client(node, 'ann');
        const bob = await fixture.client(node, 'bob');
        const chances = [0.2, 0.8];
        clock.random = () => chances.shift() ?? 0.5;
        const closing = node.serving.close({ drainPeriod: 10_000 });
        expect((await fixture.open(`${node.url}/?user=cat`).closed).code).toBe(1012);
        await ann.settled();
        clock.advance(2_000);
        expect(await ann.closed).toEqual({ code: 1012, reason: 'service restart' });
        expect(await bob.get({ type: 'join', room: 'lobby' })).toHaveProperty('position');
        clock.advance(6_000);
        expect((await bob.closed).code).toBe(1012);
        await closing;
        expect(node.rooms.stats()).toMatchObject({ sockets: 0, rooms: 0 });
        expect(node.errors).toEqual([]);
      });

      test('does not wait for connections in authenticate', async () => {
        const node = await fixture.node({ serve: { authenticate: () => new Promise<never>(() => {}) } });
        const ann = fixture.open(node.url);
        await once(ann.socket, 'open');
        await withDeadline(node.serving.close(), 4_000, 'the end of serving');
        expect((await ann.closed).code).toBe(1012);
      });

      test('answers handshakes with 503 if so configured', async () => {
        const clock = new FakeClock();
        const node = await fixture.node({ serve: { clock, refuseWith: 'status' } });
        await fixture.client(node, 'ann');
        const closing = node.serving.close({ drainPeriod: 1_000 });
        expect(await refusal(fixture.open(`${node.url}/?user=bob`))).toBe(503);
        clock.advance(1_000);
        await closing;
      });

      test('with an invalid option closes nothing', async () => {
        const node = await fixture.node();
        const ann = await fixture.client(node, 'ann');
        await expect(node.serving.close({ drainPeriod: -1 })).rejects.toThrow(/drain/);
        await ann.settled();
        await fixture.client(node, 'bob');
      });

      test('restores the options of the server', async () => {
        const check = () => true;
        const node = await fixture.node({ ws: { verifyClient: check }, serve: { refuseWith: 'status' } });
        await Promise.all([node.serving.close(), node.serving.close()]);
        expect(node.wss.options).toMatchObject({ verifyClient: check, maxPayload: 104_857_600 });
        expect(node.wss.options.handleProtocols).toBeNull();
        expect(node.wss.listenerCount('connection')).toBe(0);
      });

      test('with a handoff shows no user as offline, and no client misses a message', async () => {
        const options = { presence: { grace: 0 } };
        const [one, two] = [await fixture.node(options), await fixture.node(options)];
        const bob = await fixture.client(two, 'bob');
        await bob.get({ type: 'watch', users: ['ann'] });
        await bob.get({ type: 'join', room: 'lobby' });
        let port = one.port;
        const client = connectClient({
          url: () => `ws://127.0.0.1:${port}/?user=ann`,
          WebSocket: WebSocket as never,
          backoff: { first: 50, max: 200 },
        });
        fixture.before(() => client.close());
        const received: unknown[] = [];
        const room = client.join<{ said: number }>('lobby');
        room.on('said', (data) => void received.push(data));
        await room.ready;
        const statuses = () =>
          bob
            .of('presence')
            .flatMap(({ users }) => users)
            .map(({ status }) => status);
        await bob.until(() => statuses().at(-1) === 'online', 'ann to come');
        const before = statuses().length;
        port = two.port;
        for (let at = 0; at < 10; at++) bob.write({ type: 'send', room: 'lobby', event: 'said', data: at });
        await one.serving.close({ handoff: true });
        await one.rooms.close({ handoff: true });
        await one.presence.close({ handoff: true });
        for (let at = 10; at < 20; at++) bob.write({ type: 'send', room: 'lobby', event: 'said', data: at });
        await waitFor(() => received.length >= 20, { timeout: 15_000, message: () => `all: ${received}` });
        expect(received).toEqual(Array.from({ length: 20 }, (_, at) => at));
        await room.send('said', 20);
        await waitFor(() => received.at(-1) === 20);
        expect(statuses().slice(before)).toEqual([]);
        expect([...one.errors, ...two.errors]).toEqual([]);
      });
    });
  });
}
