import {
  CloseCode,
  ClosedError,
  type FrameEncoder,
  InvalidArgumentError,
  LimitError,
  PubSubService,
  RoomService,
  UnsupportedError,
} from 'rollcall';
import { msgpackCodec } from 'rollcall/msgpack';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { jsonEncoder } from '../../src/rooms/room-message.js';
import { numbers, type RoomsBackend, RoomsFixture, TestPeer } from './rooms-fixture.js';

const ODD_NAMES = [
  '__proto__',
  'constructor',
  '{x}',
  'a{b}c',
  '}{',
  'a:b',
  'a%3Ab',
  'a*b?[c]',
  'new\nline',
  'nul\0',
  '😀 emoji',
  ' ',
  'quote"\'\\',
];

/** Tests of rooms, for any client and server. */
export function roomsBehaviour(
  name: string,
  start: () => Promise<RoomsBackend>,
  { embedded }: { embedded: boolean },
): void {
  describe(name, () => {
    let backend: RoomsBackend;
    const fixture = new RoomsFixture(() => backend);
    const { until } = { until: fixture.until.bind(fixture) };

    beforeAll(async () => {
      backend = await start();
    });
    afterAll(() => backend.end());
    afterEach(() => fixture.end());

    /** A room on two servers, with a peer on each. */
    async function pair(options: Parameters<RoomsFixture['server']>[0] = {}) {
      const one = fixture.server(options);
      const two = fixture.server(options);
      const room = fixture.fresh('room');
      const [ann, bob] = [new TestPeer(), new TestPeer()];
      const [annId, bobId] = [fixture.fresh('ann'), fixture.fresh('bob')];
      const annSocket = await one.rooms.attach(ann, { userId: annId });
      const bobSocket = await two.rooms.attach(bob, { userId: bobId });
      return { one, two, room, ann, bob, annId, bobId, annSocket, bobSocket };
    }
    const nothing = { sockets: 0, users: 0, rooms: 0 };

    describe('messages', () => {
      test('reach every peer in the room on every server, once and in order', async () => {
        const { one, two, room, ann, bob, annId, annSocket, bobSocket } = await pair();
        await annSocket.join(room);
        await bobSocket.join(room);
        const first = await one.rooms.broadcast(room, 'said', 0, { from: annId });
        for (const number of numbers(1, 20)) await one.rooms.broadcast(room, 'said', number);
        await fixture.fence(two, room, ann, bob);
        expect(ann.receivedData(room)).toEqual(numbers(0, 20));
        expect(bob.receivedData(room)).toEqual(numbers(0, 20));
        expect(bob.of('event')[0]).toEqual({
          type: 'event',
          room,
          position: first.position,
          at: Math.floor(Number(first.position?.split('-')[0]) / 1_000),
          event: 'said',
          from: annId,
          data: 0,
        });
        expect(ann.of('event')[1]).not.toHaveProperty('from');
      });

      test('do not reach other rooms, nor peers without a room', async () => {
        const { one, room, ann, bob, annSocket } = await pair();
        const other = fixture.fresh('room');
        await annSocket.join(room);
        await one.rooms.broadcast(other, 'said', 'elsewhere');
        await fixture.fence(one, room, ann);
        expect(ann.receivedData(other)).toEqual([]);
        expect(bob.frames).toEqual([]);
      });

      test('skip the excepted socket, which receives their position', async () => {
        const { one, room, ann, bob, annSocket, bobSocket } = await pair();
        await annSocket.join(room);
        await bobSocket.join(room);
        const { position } = await one.rooms.broadcast(room, 'said', 'x', { except: annSocket.id });
        await fixture.fence(one, room, ann, bob);
        expect(ann.receivedData(room)).toEqual([]);
        expect(ann.of('position')).toEqual([{ type: 'position', room, position }]);
        expect(bob.receivedData(room)).toEqual(['x']);
        expect(bob.of('position')).toEqual([]);
      });

      test('that are transient reach present peers, and have no position', async () => {
        const { one, room, ann, bob, annSocket, bobSocket } = await pair();
        await annSocket.join(room);
        await one.rooms.broadcast(room, 'said', 'passing', { transient: true });
        await one.rooms.broadcastTyping(room, 'bob', { ttl: 3_000 });
        await fixture.fence(one, room, ann);
        const [passing, typing] = ann.of('event');
        expect(passing).toEqual({ type: 'event', room, event: 'said', data: 'passing' });
        expect(typing).toEqual({ type: 'event', room, event: '$typing', from: 'bob', data: { ttl: 3_000 } });
        await bobSocket.join(room, { last: 10 });
        await fixture.fence(one, room, bob);
        expect(bob.receivedData(room)).toEqual([]);
      });

      test('with one idempotency key are published once', async () => {
        const { one, two, room, ann, annSocket } = await pair();
        await annSocket.join(room);
        const first = await one.rooms.broadcast(room, 'said', 1, { idempotencyKey: 'k' });
        const second = await two.rooms.broadcast(room, 'said', 1, { idempotencyKey: 'k' });
        await fixture.fence(one, room, ann);
        expect(second).toMatchObject({ duplicate: true, position: first.position });
        expect(ann.receivedData(room)).toEqual([1]);
      });

      test('to a user reach all sockets of the user and no other', async () => {
        const { one, two, ann, bob, annId, bobId } = await pair();
        const more = new TestPeer();
        await two.rooms.attach(more, { userId: annId });
        await two.rooms.sendToUser(annId, 'note', { n: 1 });
        await fixture.fenceUser(one, annId, ann, more);
        await fixture.fenceUser(one, bobId, bob);
        expect(ann.receivedData()).toEqual([{ n: 1 }]);
        expect(more.receivedData()).toEqual([{ n: 1 }]);
        expect(bob.receivedData()).toEqual([]);
        expect(ann.of('event')[0]).not.toHaveProperty('room');
      });

      test.each(ODD_NAMES)('can have any name: %j', async (odd) => {
        const { one, two } = { one: fixture.server(), two: fixture.server() };
        const [peer, other] = [new TestPeer(), new TestPeer()];
        const socket = await one.rooms.attach(peer, { userId: odd, socketId: odd, meta: { odd } });
        const elsewhere = await two.rooms.attach(other, { userId: `${odd}x` });
        await socket.join(odd, { members: true, info: { odd } });
        await elsewhere.join(`${odd}x`);
        await two.rooms.broadcast(odd, odd, odd, { from: odd });
        await two.rooms.broadcast(odd, odd, odd, { except: odd });
        await two.rooms.sendToUser(odd, odd, odd);
        await fixture.fence(two, odd, peer);
        await fixture.fenceUser(two, odd, peer);
        expect(peer.receivedData(odd)).toEqual([odd]);
        expect(peer.receivedData()).toEqual([odd]);
        await until('the list', () => peer.of('members', odd).length > 0);
        expect(peer.of('members', odd)[0]).toMatchObject({ members: [{ user: odd, info: { odd } }] });
        expect(other.of('event')).toEqual([]);
        await two.rooms.disconnectUser(odd, odd);
        await until('the end', () => !socket.attached);
        expect(peer.closed).toEqual({ code: CloseCode.DISCONNECTED, reason: odd });
        expect(other.closed).toBeUndefined();
      });

      test('of other programs are relayed if they are events, and otherwise reported once', async () => {
        const { one, two, room, ann, bob, annSocket, bobSocket } = await pair();
        await annSocket.join(room);
        await bobSocket.join(room);
        const more = new TestPeer();
        await (await two.rooms.attach(more, { userId: 'more' })).join(room);
        const { name: channel } = one.rooms.channel(room);
        await one.rooms.broadcast(room, 'said', 'before');
        await one.pubsub.publish(channel, { data: 1, extra: 2, from: 3, event: 'foreign' });
        await one.pubsub.publish(channel, { event: 5 });
        await one.pubsub.publish(channel, null);
        await one.pubsub.publish(channel, 'text');
        await one.pubsub.publish(channel, { data: 2, event: 'foreign', except: bobSocket.id });
        await fixture.fence(one, room, ann, bob, more);
        for (const peer of [ann, bob, more]) {
          const expected = peer === bob ? ['before', 1] : ['before', 1, 2];
          expect(peer.receivedData(room)).toEqual(expected);
        }
        expect(ann.of('event')[1]).toEqual({ type: 'event', room, event: 'foreign', data: 1 });
        for (const { errors } of [one, two]) {
          expect(errors.map(([error, context]) => [error.name, context])).toEqual(
            [1, 2, 3].map(() => ['DecodeError', { stage: 'decode', channel }]),
          );
        }
      });

      test('that only begin like events do no harm', async () => {
        const raw = { encode: (message: unknown) => String(message), decode: (payload: string) => payload };
        const { one, room, ann, annSocket, annId } = await pair();
        await annSocket.join(room);
        const other = new TestPeer();
        await (await one.rooms.attach(other, { userId: annId })).join(room);
        const bare = new PubSubService({ redis: backend.client(), codec: raw });
        const { name: channel } = one.rooms.channel(room);
        await one.rooms.broadcast(room, 'said', 'before');
        // A line break is not allowed in JSON's strings.
        await bare.publish(channel, '{"except":"a\nb","event":"x","data":1}');
        await bare.publish(channel, '{"event":"$disconnect","data":{"reason":"in a room"}}');
        await bare.publish(`user:${encodeURIComponent(annId)}`, '{"event":"$disconnect"');
        await fixture.fence(one, room, ann, other);
        await bare.close();
        expect(ann.receivedData(room)).toEqual(['before']);
        expect(other.receivedData(room)).toEqual(['before']);
        expect([ann.closed, other.closed]).toEqual([undefined, undefined]);
      });

      test('do not depend on the codec of the pub/sub service', async () => {
        const { one, room, ann, bob, annId, annSocket, bobSocket } = await pair({
          pubsub: { codec: msgpackCodec },
        });
        await annSocket.join(room);
        await bobSocket.join(room);
        await one.rooms.broadcast(room, 'said', { text: 'x' });
        await fixture.fence(one, room, ann, bob);
        await fixture.fenceUser(one, annId, ann);
        expect(bob.receivedData(room)).toEqual([{ text: 'x' }]);
      });

      test('are encoded once per encoder, however many peers there are', async () => {
        const one = fixture.server();
        const room = fixture.fresh('room');
        const calls = [0, 0];
        const formats = calls.map((_, at): FrameEncoder => {
          return {
            message: (message) => {
              calls[at] = (calls[at] as number) + 1;
              return jsonEncoder.message(message);
            },
            notice: jsonEncoder.notice,
          };
        });
        const peers = numbers(0, 60).map((at) => new TestPeer(formats[at % 2]));
        const sockets = await Promise.all(
          peers.map((peer, at) => one.rooms.attach(peer, { userId: `u${at % 7}` })),
        );
        await Promise.all(sockets.map((socket) => socket.join(room)));
        for (const number of numbers(0, 5)) await one.rooms.broadcast(room, 'said', number);
        await until('all', () => peers.every((peer) => peer.receivedData(room).length === 5));
        expect(calls).toEqual([5, 5]);
        expect(one.rooms.stats()).toMatchObject({ sockets: 60, users: 7, rooms: 1, delivered: 300 });
        // The room and seven users; presence has channels of its own.
        expect(one.pubsub.stats().handlers).toBe(60 + 1 + 60 + 7);
      });
    });

    describe('joining', () => {
      test('starts with new messages, and resolves with the position', async () => {
        const { one, room, ann, bob, annSocket, bobSocket } = await pair();
        await one.rooms.broadcast(room, 'said', 'before');
        const { position } = await annSocket.join(room);
        await one.rooms.broadcast(room, 'said', 'after');
        await fixture.fence(one, room, ann);
        expect(ann.receivedData(room)).toEqual(['after']);
        await bobSocket.join(room, { since: position as string });
        await fixture.fence(one, room, bob);
        expect(bob.receivedData(room)).toEqual(['after']);
        expect(bob.of('discontinuity')).toEqual([]);
      });

      test('starts after any position, on any server, with each message once and in order', async () => {
        const { one, two, room, bob, bobSocket } = await pair();
        const positions = [];
        for (const number of numbers(0, 30)) {
          positions.push((await one.rooms.broadcast(room, 'said', number)).position as string);
        }
        const joining = bobSocket.join(room, { since: positions[9] as string });
        for (const number of numbers(30, 40)) await two.rooms.broadcast(room, 'said', number);
        await joining;
        await fixture.fence(one, room, bob);
        expect(bob.receivedData(room)).toEqual(numbers(10, 40));
        expect(
          bob
            .of('event')
            .slice(0, 20)
            .map(({ position }) => position),
        ).toEqual(positions.slice(10));
      });

      test('starts with the last messages, or with the oldest', async () => {
        const { one, room, ann, bob, annSocket, bobSocket } = await pair();
        for (const number of numbers(0, 10)) await one.rooms.broadcast(room, 'said', number);
        await annSocket.join(room, { last: 3 });
        await bobSocket.join(room, { since: 'earliest' });
        await one.rooms.broadcast(room, 'said', 10);
        await fixture.fence(one, room, ann, bob);
        expect(ann.receivedData(room)).toEqual(numbers(7, 11));
        expect(bob.receivedData(room)).toEqual(numbers(0, 11));
        expect(ann.of('event')[0]).toHaveProperty('position');
        // The last ones were sent after the joins.
        const replayed = (peer: TestPeer) => peer.of('event').map((event) => 'replayed' in event);
        expect(replayed(ann)).toEqual([true, true, true, false, false]);
        expect(replayed(bob)).toEqual([...numbers(0, 10).map(() => true), false, false]);
      });

      test('with `last` sends that many messages, also large ones', async () => {
        const { one, room, ann, annSocket } = await pair();
        const data = 'x'.repeat(150_000);
        for (const number of numbers(0, 16)) await one.rooms.broadcast(room, 'said', `${number} ${data}`);
        await annSocket.join(room, { last: 15 });
        await fixture.fence(one, room, ann);
        expect(ann.receivedData(room).map((said) => Number.parseInt(String(said), 10))).toEqual(
          numbers(1, 16),
        );
      });

      test('with a `last` beyond the history sends all of it', async () => {
        const { one, room, ann, annSocket } = await pair({ rooms: { history: { size: 5, ttl: 60_000 } } });
        await annSocket.join(room, { last: 10 });
        expect(ann.frames).toEqual([]);
        await annSocket.leave(room);
        for (const number of numbers(0, 4)) await one.rooms.broadcast(room, 'said', number);
        await annSocket.join(room, { last: 1_000 });
        await fixture.fence(one, room, ann);
        expect(ann.receivedData(room)).toEqual(numbers(0, 4));
      });

      test('reports a discontinuity when messages after `since` are no longer stored', async () => {
        const { one, room, ann, annSocket } = await pair({ rooms: { history: { size: 5, ttl: 60_000 } } });
        const { position } = await one.rooms.broadcast(room, 'said', 0);
        for (const number of numbers(1, 400)) await one.rooms.broadcast(room, 'said', number);
        await annSocket.join(room, { since: position as string });
        await fixture.fence(one, room, ann);
        const [gap, ...more] = ann.of('discontinuity');
        expect(gap).toMatchObject({ room, reason: 'trimmed', recovered: false });
        expect(more).toEqual([]);
        expect(ann.receivedData(room).at(-1)).toBe(399);
        expect(ann.frames.indexOf(gap as never)).toBe(0);
      });

      test('twice counts once, with the newer info', async () => {
        const { one, two, room, ann, annId, annSocket } = await pair();
        await Promise.all([annSocket.join(room, { info: 1 }), annSocket.join(room, { info: 2, last: 5 })]);
        await annSocket.join(room);
        await one.rooms.broadcast(room, 'said', 'x');
        await fixture.fence(one, room, ann);
        expect(ann.receivedData(room)).toEqual(['x']);
        expect(await two.presence.getRoomMembers(room)).toMatchObject([
          { userId: annId, info: 2, sockets: 1 },
        ]);
        await annSocket.update(room, 3);
        expect(await two.presence.getRoomMembers(room)).toMatchObject([{ userId: annId, info: 3 }]);
        await annSocket.leave(room);
        expect(await two.presence.getRoomMembers(room)).toEqual([]);
      });

      test('and leaving take effect in the order of the calls', async () => {
        const { one, room, ann, annSocket } = await pair();
        const outcomes = await Promise.allSettled([
          annSocket.join(room),
          annSocket.leave(room),
          annSocket.join(room),
          annSocket.leave(room),
          annSocket.join(room),
        ]);
        // A peer that leaves before its join has completed may receive an error that it has not joined.
        expect(outcomes.at(-1)).toMatchObject({ status: 'fulfilled' });
        expect(annSocket.rooms).toEqual([room]);
        expect((await one.presence.getRoomMembers(room)).length).toBe(1);
        await one.rooms.broadcast(room, 'said', 'x');
        await fixture.fence(one, room, ann);
        expect(ann.receivedData(room)).toEqual(['x']);
        await Promise.all([annSocket.leave(room), annSocket.leave(room)]);
        expect(one.rooms.stats().rooms).toBe(0);
        expect(annSocket.isIn(room)).toBe(false);
        expect(await one.presence.getRoomMembers(room)).toEqual([]);
      });

      test('sends nothing after leaving, also while other peers stay', async () => {
        const { one, room, ann, bob, annSocket } = await pair();
        const bobHere = await one.rooms.attach(bob, { userId: 'bob here' });
        await annSocket.join(room);
        await bobHere.join(room);
        await annSocket.leave(room, { notify: false });
        await one.rooms.broadcast(room, 'said', 'x');
        await fixture.fence(one, room, bob);
        expect(ann.frames).toEqual([]);
        expect(one.rooms.stats().rooms).toBe(1);
      });

      test('that failed leaves nothing behind', async () => {
        const { one, two, room, annSocket } = await pair();
        const info = 'x'.repeat(1_000_000);
        await expect(annSocket.join(room, { info, members: true })).rejects.toThrow(InvalidArgumentError);
        expect(annSocket.rooms).toEqual([]);
        expect(one.rooms.stats().rooms).toBe(0);
        await annSocket.join(room);
        await expect(annSocket.join(room, { info })).rejects.toThrow(InvalidArgumentError);
        expect(annSocket.rooms).toEqual([room]);
        expect(await two.presence.getRoomMembers(room)).toHaveLength(1);
      });
    });

    describe('members', () => {
      test('are sent first, then their changes, also to a peer that asks later', async () => {
        const { room, ann, bob, annId, bobId, annSocket, bobSocket } = await pair();
        await annSocket.join(room, { info: 'a', members: true });
        await until('the list', () => ann.of('members').length > 0);
        expect(ann.of('members')).toEqual([
          { type: 'members', room, reset: true, members: [{ user: annId, info: 'a', sockets: 1 }] },
        ]);
        await bobSocket.join(room, { info: 'b' });
        await until('bob', () => ann.of('members').length === 2);
        expect(ann.of('members')[1]).toEqual({
          type: 'members',
          room,
          members: [{ user: bobId, info: 'b', sockets: 1 }],
        });
        await bobSocket.join(room, { members: true });
        await until('the list', () => bob.of('members').length > 0);
        expect(bob.of('members')[0]).toMatchObject({ reset: true });
        expect(bob.of('members')[0]?.['members']).toHaveLength(2);
        await annSocket.leave(room);
        await until('ann leaves', () => bob.of('members').length === 2);
        expect(bob.of('members')[1]).toMatchObject({ members: [{ user: annId, sockets: 0 }] });
        expect(ann.of('members')).toHaveLength(2);
      });

      test('leave at once when the socket is detached', async () => {
        const { two, room, bob, annId, bobId, annSocket, bobSocket } = await pair();
        await annSocket.join(room);
        await bobSocket.join(room, { members: true });
        await annSocket.detach();
        await until('ann leaves', () =>
          bob
            .of('members')
            .some(({ members }) => (members as { user: string; sockets: number }[])[0]?.sockets === 0),
        );
        expect((await two.presence.getRoomMembers(room)).map(({ userId }) => userId)).toEqual([bobId]);
        expect((await two.presence.getPresence(annId))?.status).toBe('offline');
      });
    });

    describe('watched users', () => {
      test('are sent first, and on every change', async () => {
        const { one, two, ann, bobId, annSocket, bobSocket } = await pair();
        await annSocket.watch([bobId, 'nobody']);
        expect(ann.of('presence')).toEqual([
          {
            type: 'presence',
            users: [
              { user: bobId, status: 'online', lastSeen: expect.any(Number) },
              { user: 'nobody', status: 'offline', lastSeen: 0 },
            ],
          },
        ]);
        await bobSocket.setStatus('busy');
        await until('busy', () => ann.of('presence').length === 2);
        expect(ann.of('presence')[1]).toMatchObject({ users: [{ user: bobId, status: 'busy' }] });
        annSocket.unwatch([bobId]);
        expect(annSocket.watching).toBe(1);
        const other = new TestPeer();
        const witness = await one.rooms.attach(other, { userId: 'witness' });
        await witness.watch([bobId]);
        await bobSocket.detach();
        await until('offline', () => other.of('presence').length === 2);
        expect(ann.of('presence')).toHaveLength(2);
        expect((await two.presence.getPresence(bobId))?.status).toBe('offline');
      });

      test('stay watched when adding others fails', async () => {
        const { ann, bobId, annSocket, bobSocket } = await pair();
        await annSocket.watch([bobId]);
        await expect(annSocket.watch([bobId, ''])).rejects.toThrow(InvalidArgumentError);
        await expect(annSocket.watch('bob')).rejects.toThrow(InvalidArgumentError);
        expect(annSocket.watching).toBe(1);
        await bobSocket.setStatus('busy');
        await until('busy', () => ann.of('presence').length === 2);
      });
    });

    describe('the end of a socket', () => {
      test('leaves nothing behind', async () => {
        const { one, two, room, ann, annId, bobId, annSocket, bobSocket } = await pair();
        await annSocket.join(room, { members: true });
        await annSocket.join(fixture.fresh('room'), { last: 5 });
        await annSocket.watch([bobId]);
        await bobSocket.join(room);
        await Promise.all([annSocket.detach(), annSocket.detach({ immediate: true })]);
        expect(one.rooms.stats()).toMatchObject(nothing);
        expect(one.pubsub.stats().handlers).toBe(0);
        expect(await two.presence.getPresence(annId)).toMatchObject({ status: 'offline', socketIds: [] });
        const frames = ann.frames.length;
        await two.rooms.broadcast(room, 'said', 'x');
        await two.rooms.sendToUser(annId, 'note');
        await fixture.fence(one, room, (await attachTo(two, room)).peer);
        expect(ann.frames).toHaveLength(frames);
        expect(ann.closed).toBeUndefined();
        expect(one.errors).toEqual([]);
        for (const late of [annSocket.join(room), annSocket.watch(['x']), annSocket.setStatus('busy')]) {
          await expect(late).rejects.toThrow(ClosedError);
        }
        await annSocket.leave(room);
        expect(await annSocket.touch()).toBeUndefined();
      });

      async function attachTo({ rooms }: ReturnType<RoomsFixture['server']>, room: string) {
        const peer = new TestPeer();
        const socket = await rooms.attach(peer, { userId: fixture.fresh('user') });
        await socket.join(room);
        return { peer, socket };
      }

      test('during attach leaves nothing behind', async () => {
        const one = fixture.server();
        const userId = fixture.fresh('user');
        const attaching = one.rooms.attach(new TestPeer(), { userId });
        const [early] = one.rooms.socketsOf(userId);
        await early?.detach();
        const socket = await attaching;
        expect(socket).toBe(early);
        expect(socket.attached).toBe(false);
        expect(one.rooms.stats()).toMatchObject(nothing);
        expect(one.pubsub.stats().handlers).toBe(0);
        const presence = await one.presence.getPresence(userId);
        expect(presence?.socketIds ?? []).toEqual([]);
        expect(one.errors).toEqual([]);
      });

      test('during join leaves nothing behind', async () => {
        const { one, room, annSocket } = await pair();
        const joining = annSocket.join(room, { members: true, last: 10 });
        const queued = annSocket.join(room, { info: 2 });
        const outcomes = Promise.allSettled([joining, queued]);
        await annSocket.detach();
        for (const outcome of await outcomes) {
          expect(outcome).toMatchObject({ status: 'rejected', reason: expect.any(ClosedError) });
        }
        await annSocket.detach();
        await until('no handler', () => one.pubsub.stats().handlers === 0);
        expect(one.rooms.stats()).toMatchObject(nothing);
        expect(await one.presence.getRoomMembers(room)).toEqual([]);
        expect(one.errors).toEqual([]);
      });

      test('during the dispatch of a message takes effect for the peers that come later', async () => {
        const one = fixture.server();
        const room = fixture.fresh('room');
        const peers = numbers(0, 5).map(() => new TestPeer());
        const sockets = await Promise.all(
          peers.map((peer, at) => one.rooms.attach(peer, { userId: `u${at}` })),
        );
        for (const socket of sockets) await socket.join(room);
        (peers[1] as TestPeer).act = ({ data }) => {
          if (data !== 1) return;
          void sockets[0]?.detach();
          void sockets[1]?.detach();
          void sockets[3]?.detach();
        };
        await one.rooms.broadcast(room, 'said', 1);
        await one.rooms.broadcast(room, 'said', 2);
        await fixture.fence(one, room, peers[2] as TestPeer, peers[4] as TestPeer);
        expect(peers.map((peer) => peer.receivedData(room))).toEqual([[1], [1], [1, 2], [], [1, 2]]);
        expect(one.rooms.stats().sockets).toBe(2);
      });

      test('follows a failed send, without effect on other peers', async () => {
        const { one, room, ann, annSocket } = await pair();
        const bad = new TestPeer();
        bad.act = () => {
          throw new Error('broken pipe');
        };
        const badSocket = await one.rooms.attach(bad, { userId: 'bad' });
        await badSocket.join(room);
        await annSocket.join(room);
        await one.rooms.broadcast(room, 'said', 1);
        await one.rooms.broadcast(room, 'said', 2);
        await fixture.fence(one, room, ann);
        expect(ann.receivedData(room)).toEqual([1, 2]);
        expect(bad.closed?.code).toBe(CloseCode.UNAVAILABLE);
        expect(badSocket.attached).toBe(false);
        expect(one.errors.map(([error, { stage }]) => [error.message, stage])).toEqual([
          ['a peer failed: broken pipe', 'peer'],
        ]);
        expect(one.rooms.stats()).toMatchObject({ sockets: 1, rooms: 1 });
      });

      test('is caused by disconnectUser for all sockets of the user, without grace', async () => {
        const { one, two, ann, bob, annId, annSocket, bobSocket } = await pair({
          presence: { grace: 60_000 },
        });
        const more = new TestPeer();
        const moreSocket = await two.rooms.attach(more, { userId: annId });
        const seen: string[] = [];
        const watch = await two.presence.watch([annId], ({ status }) => seen.push(status));
        await two.rooms.disconnectUser(annId, 'that is enough');
        await until('both', () => !annSocket.attached && !moreSocket.attached);
        for (const { closed } of [ann, more]) {
          expect(closed).toEqual({ code: CloseCode.DISCONNECTED, reason: 'that is enough' });
        }
        await until('offline', () => seen.at(-1) === 'offline');
        expect(bobSocket.attached).toBe(true);
        expect([...ann.frames, ...bob.frames, ...more.frames]).toEqual([]);
        await watch.close();
        expect(one.errors).toEqual([]);
        // The user may reconnect if the application allows it, and the disconnection is not sent again.
        const back = new TestPeer();
        const returned = await one.rooms.attach(back, { userId: annId, since: '0-0' });
        await fixture.fenceUser(one, annId, back);
        expect(returned.attached).toBe(true);
        expect(back.of('event').map(({ event }) => event)).toEqual(['fence']);
      });

      test('keeps its options when the peer reports its close synchronously', async () => {
        const { one, two, annId } = await pair({ presence: { grace: 60_000 } });
        for (const socket of one.rooms.socketsOf(annId)) await socket.detach({ immediate: true });
        const peer = new TestPeer();
        const socket = await one.rooms.attach(peer, { userId: annId });
        peer.close = () => void socket.detach();
        await two.rooms.disconnectUser(annId);
        await until('offline', async () => (await two.presence.getPresence(annId))?.status === 'offline');
      });

      test('follows the close of the service', async () => {
        const { one, two, room, annId, annSocket } = await pair();
        await annSocket.join(room, { members: true });
        const attaching = one.rooms.attach(new TestPeer(), { userId: annId });
        await Promise.all([one.rooms.close(), one.rooms.close()]);
        expect((await attaching).attached).toBe(false);
        expect(annSocket.attached).toBe(false);
        expect(one.rooms.stats()).toMatchObject(nothing);
        expect(one.pubsub.stats().handlers).toBe(0);
        expect((await two.presence.getPresence(annId))?.socketIds).toEqual([]);
        await expect(one.rooms.attach(new TestPeer(), { userId: 'x' })).rejects.toThrow(ClosedError);
        await expect(one.rooms.broadcast(room, 'said')).rejects.toThrow(ClosedError);
      });
    });

    describe('a slow peer', () => {
      const slow = async (slowPeers: 'close' | 'drop') => {
        const one = fixture.server({ rooms: { slowPeers, maxBufferedBytes: 1_000 } });
        const [room, other] = [fixture.fresh('room'), fixture.fresh('other')];
        const [ann, bob] = [new TestPeer(), new TestPeer()];
        const annSocket = await one.rooms.attach(ann, { userId: 'ann' });
        const bobSocket = await one.rooms.attach(bob, { userId: 'bob' });
        for (const socket of [annSocket, bobSocket]) {
          await socket.join(room);
          await socket.join(other);
        }
        return { one, room, other, ann, bob, annSocket };
      };

      test('is closed with 4508, and recovers missed messages when it reconnects', async () => {
        const { one, room, ann, bob, annSocket } = await slow('close');
        await one.rooms.broadcast(room, 'said', 1);
        await fixture.fence(one, room, ann, bob);
        ann.bufferedAmount = 1_001;
        await one.rooms.broadcast(room, 'said', 2);
        await one.rooms.broadcast(room, 'said', 3);
        await fixture.fence(one, room, bob);
        expect(bob.receivedData(room)).toEqual([1, 2, 3]);
        expect(ann.receivedData(room)).toEqual([1]);
        expect(ann.closed?.code).toBe(CloseCode.SLOW_CONSUMER);
        expect(annSocket.attached).toBe(false);
        expect(one.rooms.stats()).toMatchObject({ sockets: 1, closedSlow: 1, dropped: 0 });
        const back = new TestPeer();
        const socket = await one.rooms.attach(back, { userId: 'ann' });
        await socket.join(room, { since: ann.position(room) as string });
        await fixture.fence(one, room, back);
        expect(back.receivedData(room)).toEqual([2, 3]);
      });

      test('with `drop` loses messages, and receives one discontinuity per room', async () => {
        const { one, room, other, ann, bob, annSocket } = await slow('drop');
        ann.bufferedAmount = 1_001;
        for (const number of numbers(0, 3)) {
          await one.rooms.broadcast(room, 'said', number);
          await one.rooms.broadcast(other, 'said', number);
          await one.rooms.broadcast(room, 'said', 'not for ann', { except: annSocket.id });
        }
        await fixture.fence(one, room, bob);
        await fixture.fence(one, other, bob);
        expect(ann.frames).toEqual([]);
        ann.bufferedAmount = 0;
        await one.rooms.broadcast(room, 'said', 3);
        await fixture.fence(one, room, ann, bob);
        await fixture.fence(one, other, ann);
        const gap = {
          type: 'discontinuity',
          reason: 'overflow',
          since: expect.any(Number),
          recovered: false,
        };
        expect(ann.of('discontinuity')).toEqual([
          { ...gap, room },
          { ...gap, room: other },
        ]);
        expect(ann.frames.slice(0, 2).map(({ type }) => type)).toEqual(['discontinuity', 'discontinuity']);
        expect(ann.receivedData(room)).toEqual([3]);
        expect(ann.of('position')).toEqual([]);
        expect(bob.receivedData(room).length).toBe(7);
        expect(ann.closed).toBeUndefined();
        expect(one.rooms.stats()).toMatchObject({ closedSlow: 0, dropped: 8 });
      });

      test('that does not read at all is closed under either policy', async () => {
        const { one, ann, annSocket } = await slow('drop');
        ann.bufferedAmount = 4_001;
        await annSocket.watch(['bob']);
        expect(ann.closed?.code).toBe(CloseCode.SLOW_CONSUMER);
        expect(one.rooms.stats()).toMatchObject({ sockets: 1, closedSlow: 1 });
      });
    });

    describe('rejected', () => {
      test('invalid arguments have no side effects', async () => {
        const { one, room, annSocket, annId } = await pair();
        const { rooms } = one;
        const peer = new TestPeer();
        const bad = {} as never;
        const before = rooms.stats();
        const handlers = one.pubsub.stats().handlers;
        const calls: (() => Promise<unknown>)[] = [
          () => rooms.attach(bad, { userId: 'x' }),
          () => rooms.attach({ send() {}, close() {} } as never, { userId: 'x' }),
          () => rooms.attach(peer, bad),
          () => rooms.attach(peer, { userId: '' }),
          () => rooms.attach(peer, { userId: '\ud800' }),
          () => rooms.attach(peer, { userId: 'x', since: 'latest' }),
          () => rooms.attach(peer, { userId: 'x', status: 'offline' }),
          () => rooms.attach(peer, { userId: annId, socketId: annSocket.id }),
          () => annSocket.join(''),
          () => annSocket.join(room, { since: 'x' }),
          () => annSocket.join(room, { last: -1 }),
          () => annSocket.join(room, { last: 1_001 }),
          () => annSocket.join(room, { last: 1, since: 'earliest' }),
          () => annSocket.join('😀'.repeat(128)),
          () => annSocket.update(room, 1),
          () => annSocket.leave(''),
          () => annSocket.setStatus('two words'),
          () => rooms.broadcast('', 'said'),
          () => rooms.broadcast(room, ''),
          () => rooms.broadcast(room, '$typing'),
          () => rooms.broadcast(room, 'x'.repeat(129)),
          () => rooms.broadcast(room, 'said', (() => {}) as never),
          () => rooms.broadcast(room, 'said', 1, { from: '' }),
          () => rooms.broadcast(room, 'said', 1, { except: '' }),
          () => rooms.broadcast(room, 'said', 1, { transient: true, idempotencyKey: 'k' }),
          () => rooms.broadcastTyping(room, annId, { ttl: -1 }),
          () => rooms.sendToUser('', 'said'),
          () => rooms.sendToUser(annId, '$disconnect'),
          () => rooms.disconnectUser(''),
          () => rooms.disconnectUser(annId, 5 as never),
          () => rooms.history(''),
        ];
        for (const [at, call] of calls.entries()) {
          await expect(call(), `call ${at}`).rejects.toThrow(InvalidArgumentError);
        }
        expect(rooms.stats()).toEqual(before);
        expect(one.pubsub.stats().handlers).toBe(handlers);
        expect(await one.presence.getPresence('x')).toBeNull();
        expect(await one.presence.getRoomMembers(room)).toEqual([]);
        expect(() => new RoomService({} as never)).toThrow(InvalidArgumentError);
        for (const options of [
          { maxBufferedBytes: 0 },
          { slowPeers: 'wait' },
          { history: { size: 0, ttl: 1 } },
        ]) {
          expect(() => new RoomService({ pubsub: one.pubsub, ...options } as never)).toThrow(
            InvalidArgumentError,
          );
        }
      });

      test('one socket too many changes nothing for the others', async () => {
        const { one, ann, annId } = await pair({ presence: { maxSocketsPerUser: 1 } });
        await expect(one.rooms.attach(new TestPeer(), { userId: annId })).rejects.toThrow(LimitError);
        expect(one.rooms.stats()).toMatchObject({ sockets: 1, users: 1 });
        expect(one.pubsub.stats().handlers).toBe(2);
        expect((await one.presence.getPresence(annId))?.socketIds).toHaveLength(1);
        await one.rooms.sendToUser(annId, 'note', 1);
        await fixture.fenceUser(one, annId, ann);
        expect(ann.receivedData()).toEqual([1]);
      });
    });

    describe('messages to a user', () => {
      test('are recovered by a client that reconnects with its last position', async () => {
        const { one, two, ann, annId, annSocket } = await pair();
        await one.rooms.sendToUser(annId, 'note', 1);
        await fixture.fenceUser(one, annId, ann);
        expect(annSocket.position).toBe(ann.position());
        await annSocket.detach();
        await one.rooms.sendToUser(annId, 'note', 2);
        await one.rooms.sendToUser(annId, 'note', 3);
        const back = new TestPeer();
        await two.rooms.attach(back, { userId: annId, since: ann.position() as string });
        await fixture.fenceUser(one, annId, back);
        expect(back.receivedData()).toEqual([2, 3]);
      });
    });

    describe('without', () => {
      test('history, messages reach present peers, and have no position', async () => {
        const { one, two, room, ann, bob, annId, annSocket, bobSocket } = await pair({
          rooms: { history: false },
        });
        expect(await annSocket.join(room, { last: 10 })).toEqual({ position: undefined });
        await bobSocket.join(room);
        await two.rooms.broadcast(room, 'said', 1, { except: bobSocket.id });
        await two.rooms.broadcast(room, 'said', 2);
        await fixture.fence(one, room, ann, bob);
        await fixture.fenceUser(two, annId, ann);
        expect(ann.receivedData(room)).toEqual([1, 2]);
        expect(bob.receivedData(room)).toEqual([2]);
        expect([...ann.frames, ...bob.frames].some((frame) => 'position' in frame)).toBe(false);
        expect(annSocket.position).toBeUndefined();
        await two.rooms.disconnectUser(annId, 'x');
        await until('the end', () => !annSocket.attached);
      });

      test('presence, rooms carry messages', async () => {
        const pubsub = new PubSubService({ redis: backend.client() });
        const rooms = new RoomService({ pubsub });
        const peer = new TestPeer();
        const socket = await rooms.attach(peer, { userId: 'x' });
        await socket.join('plain', { info: 1 });
        for (const call of [
          () => socket.join('other', { members: true }),
          () => socket.watch(['y']),
          () => socket.update('plain', 2),
          () => socket.setStatus('busy'),
        ]) {
          await expect(call()).rejects.toThrow(UnsupportedError);
        }
        await socket.touch();
        await rooms.broadcast('plain', 'said', 1);
        await until('the message', () => peer.receivedData('plain').length === 1);
        await socket.detach();
        expect(rooms.stats()).toMatchObject(nothing);
        expect(pubsub.stats()).toMatchObject({ handlers: 0, channels: 0 });
        await rooms.close();
        await pubsub.close();
      });
    });

    test.skipIf(embedded)('sharded channels carry rooms as well', async () => {
      const { one, two, room, ann, bob, annId, annSocket, bobSocket } = await pair({
        rooms: { sharded: true },
      });
      await annSocket.join(room);
      await one.rooms.broadcast(room, 'said', 1);
      await bobSocket.join(room, { last: 1 });
      await two.rooms.broadcast(room, 'said', 2);
      await fixture.fence(one, room, ann, bob);
      expect(ann.receivedData(room)).toEqual([1, 2]);
      expect(bob.receivedData(room)).toEqual([1, 2]);
      expect(one.pubsub.stats()).toMatchObject({ sharded: 2 });
      await two.rooms.disconnectUser(annId);
      await until('the end', () => !annSocket.attached);
    });
  });
}
