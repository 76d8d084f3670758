import { InvalidArgumentError } from 'rollcall';
import { connect } from 'rollcall/client';
import { RequestError } from 'rollcall/ws';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { deferred, waitFor } from '../support/wait.js';
import { type WsBackend, type WsClient, WsFixture } from './ws-fixture.js';

/** Who may see whom, over two servers, for any Redis. */
export function visibilityBehaviour(name: string, start: () => Promise<WsBackend>): void {
  describe(`who may see whom: ${name}`, () => {
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

    /** The members that a client derives from its frames. */
    function membersOf(client: WsClient, room = 'lobby'): string[] {
      const members = new Set<string>();
      for (const frame of client.of('members')) {
        if (frame.room !== room) continue;
        if (frame.reset) members.clear();
        for (const { user, sockets } of frame.members) {
          if (sockets === 0) members.delete(user);
          else members.add(user);
        }
      }
      return [...members].sort();
    }

    describe('a list of members', () => {
      test('that is refused is the end of the list alone: the room is joined', async () => {
        const asked: unknown[] = [];
        let allowed = false;
        const one = await fixture.node({
          serve: {
            authorize: (_, request) => {
              if (request.action !== 'members') return true;
              asked.push(request);
              if (request.room === 'odd') throw new RequestError('FORBIDDEN', 'members are secret');
              if (request.room === 'broken') return Promise.reject(new Error('no database'));
              return request.count ? Promise.resolve(allowed) : allowed;
            },
          },
        });
        const two = await fixture.node();
        const [ann, bob] = [await fixture.client(one, 'ann'), await fixture.client(two, 'bob')];
        await bob.get({ type: 'join', room: 'lobby', members: true });
        const position = expect.anything();
        expect(await ann.get({ type: 'join', room: 'lobby', members: true })).toMatchObject({ position });
        expect(await ann.get({ type: 'join', room: 'hall', members: 'count' })).toMatchObject({ position });
        expect(await ann.get({ type: 'join', room: 'odd', members: true })).toMatchObject({ position });
        expect(await ann.get({ type: 'join', room: 'broken', members: true })).toBe('INTERNAL');
        expect(await ann.get({ type: 'join', room: 'none', members: false })).toMatchObject({ position });
        const end = (room: string, message = 'members is not allowed there') => {
          return { type: 'members', room, reset: true, members: [], code: 'FORBIDDEN', message };
        };
        expect(ann.of('members')).toEqual([end('lobby'), end('hall'), end('odd', 'members are secret')]);
        const count = false;
        expect(asked).toEqual([
          { action: 'members', room: 'lobby', count },
          { action: 'members', room: 'hall', count: true },
          { action: 'members', room: 'odd', count },
          { action: 'members', room: 'broken', count },
        ]);
        expect(one.errors).toEqual([expect.stringContaining('no database')]);
        await bob.until(() => membersOf(bob).includes('ann'), 'ann as a member');

        // Asked again, and withdrawn: no change follows.
        allowed = true;
        await ann.get({ type: 'join', room: 'lobby', members: true });
        await ann.until(() => membersOf(ann).length === 2, 'both members');
        allowed = false;
        await ann.get({ type: 'join', room: 'lobby', members: true });
        expect(ann.of('members').at(-1)).toEqual(end('lobby'));
        const carol = await fixture.client(two, 'carol');
        await carol.get({ type: 'join', room: 'lobby' });
        await bob.until(() => membersOf(bob).includes('carol'), 'carol as a member');
        await ann.settled();
        expect(ann.of('members').at(-1)).toEqual(end('lobby'));
        await bob.get({ type: 'send', room: 'lobby', event: 'said', data: 1 });
        await ann.until(() => ann.receivedData('lobby').includes(1), 'a message of the room');
      });
    });

    describe('a filter', () => {
      test('hides a user from one viewer: in lists, changes and counts of members, typing and watches', async () => {
        const blocked = new Set(['bob']);
        const one = await fixture.node({
          serve: { visible: (viewer, userId) => viewer.userId !== 'ann' || !blocked.has(userId) },
        });
        const two = await fixture.node();
        const ann = await fixture.client(one, 'ann');
        const ben = await fixture.client(one, 'ben');
        const [bob, carol] = [await fixture.client(two, 'bob'), await fixture.client(two, 'carol')];
        for (const client of [bob, carol]) await client.get({ type: 'join', room: 'lobby' });
        // Not joined by the viewers themselves, so that a list is complete at once.
        for (const room of ['lobby', 'hall']) {
          const members = room === 'hall' ? 'count' : true;
          for (const client of [ann, ben]) await client.get({ type: 'join', room, members });
        }
        for (const client of [bob, carol]) await client.get({ type: 'join', room: 'hall' });
        await ann.get({ type: 'watch', users: ['bob', 'carol', 'ann'] });
        const countOf = (client: WsClient) => client.of('members').findLast((frame) => frame.count)?.count;
        await ben.until(() => membersOf(ben).length === 4 && countOf(ben) === 4, 'everybody for ben');
        await ann.until(() => membersOf(ann).length === 3 && countOf(ann) === 3, 'all but bob for ann');
        expect(membersOf(ann)).toEqual(['ann', 'ben', 'carol']);
        const statusOf = (user: string) =>
          ann
            .of('presence')
            .flatMap(({ users }) => users)
            .findLast((presence) => presence.user === user);
        await ann.until(() => statusOf('ann') && statusOf('carol'), 'presence of the others');
        expect(statusOf('ann')?.status).toBe('online');
        expect(statusOf('carol')?.status).toBe('online');
        expect(statusOf('bob')).toEqual({ user: 'bob', status: 'offline', lastSeen: 0 });

        // What bob does is not shown to ann; what carol does afterwards is.
        const events = ann.of('members').length;
        const act = async (client: WsClient, info: number, status = 'busy') => {
          await client.get({ type: 'typing', room: 'lobby', on: true });
          await client.get({ type: 'status', status });
          await client.get({ type: 'update', room: 'lobby', info });
        };
        await act(bob, 1);
        await bob.get({ type: 'leave', room: 'hall' });
        await ben.until(() => countOf(ben) === 3, 'one less for ben');
        await act(carol, 2);
        const infosOf = (client: WsClient) => client.of('members').flatMap((frame) => frame.members);
        await ann.until(() => infosOf(ann).some(({ info }) => info === 2), "carol's info");
        await ann.until(() => statusOf('carol')?.status === 'busy', "carol's status");
        const typingFrom = (client: WsClient) =>
          client.of('event').flatMap(({ event, from }) => (event === '$typing' ? [from] : []));
        await ann.until(() => typingFrom(ann).length > 0, 'that carol types');
        expect(typingFrom(ann)).toEqual(['carol']);
        expect(typingFrom(ben)).toEqual(['bob', 'carol']);
        const since = JSON.stringify(
          ann.frames.slice(ann.frames.indexOf(ann.of('members')[events] as never)),
        );
        expect(since).not.toContain('"bob"');
        expect(infosOf(ann).some(({ user }) => user === 'bob')).toBe(false);
        expect(countOf(ann)).toBe(3);

        // A change of the filter applies from the next frame on, in both directions.
        blocked.clear();
        await act(bob, 3, 'dnd');
        await ann.until(() => membersOf(ann).includes('bob'), 'bob as a member');
        await ann.until(() => statusOf('bob')?.status === 'dnd', "bob's status");
        blocked.add('bob');
        await bob.get({ type: 'status', status: 'away' });
        await bob.get({ type: 'update', room: 'lobby', info: 4 });
        await ann.until(() => !membersOf(ann).includes('bob'), 'that bob is gone');
        await ann.until(() => statusOf('bob')?.lastSeen === 0, 'that bob was never seen');
        expect(infosOf(ann).some(({ info }) => info === 4)).toBe(false);
        await bob.get({ type: 'send', room: 'lobby', event: 'said', data: 'hello' });
        await ann.until(() => ann.receivedData('lobby').includes('hello'), 'messages are not filtered');
        expect([...one.errors, ...two.errors]).toEqual([]);
      });

      test.each([
        [
          'throws',
          () => bad('no database'),
          'HandlerError: visible failed, so the user is hidden: no database',
        ],
        [
          'rejects',
          () => Promise.reject(new Error('no')),
          'must return true or false at once, not a promise',
        ],
        ['answers with 1', () => 1, 'must return true or false at once'],
      ])('that %s hides everybody, and is reported once per connection', async (_, visible, problem) => {
        const node = await fixture.node({ serve: { visible: visible as never } });
        const [bob, ann] = [await fixture.client(node, 'bob'), await fixture.client(node, 'ann')];
        for (const client of [bob, ann]) await client.get({ type: 'join', room: 'lobby', members: true });
        await ann.get({ type: 'watch', users: ['bob'] });
        await ann.until(() => membersOf(ann).length > 0, 'a list');
        await ann.settled();
        expect(membersOf(ann)).toEqual(['ann']);
        expect(ann.of('presence')[0]?.users).toEqual([{ user: 'bob', status: 'offline', lastSeen: 0 }]);
        await bob.until(() => node.errors.length === 2, 'reports');
        expect(node.errors).toEqual([expect.stringContaining(problem), expect.stringContaining(problem)]);
      });
    });

    describe('a revocation', () => {
      test('ends watches and lists on every process, and the answer of authorize is asked for again', async () => {
        const asked: string[] = [];
        const one = await fixture.node({
          serve: {
            maxWatched: 3,
            authorize: (_, request) => {
              if (request.action === 'watch') asked.push(request.userId);
              return true;
            },
          },
        });
        const two = await fixture.node();
        const ann = await fixture.client(one, 'ann');
        const again = await fixture.client(two, 'ann');
        const [bob, carol] = [await fixture.client(two, 'bob'), await fixture.client(two, 'carol')];
        await carol.get({ type: 'join', room: 'lobby', members: true });
        for (const client of [ann, again]) {
          await client.get({ type: 'watch', users: ['bob', 'carol', 'ghost'] });
          await client.get({ type: 'join', room: 'lobby', members: true });
          await client.get({ type: 'join', room: 'hall', members: 'count' });
          await client.until(() => membersOf(client).length === 2, 'the members');
        }
        await two.rooms.revoke('ann', { watch: ['bob', 'ghost', 'nobody'], members: ['lobby', 'elsewhere'] });
        await two.rooms.revoke('unknown', { watch: ['bob'] });
        const end = (user: string) => ({ user, status: 'offline', lastSeen: 0, code: 'FORBIDDEN' });
        const listEnd = { room: 'lobby', reset: true, members: [], code: 'FORBIDDEN' };
        const ofLobby = (client: WsClient) => client.of('members').filter(({ room }) => room === 'lobby');
        for (const client of [ann, again]) {
          await client.until(() => ofLobby(client).at(-1)?.code, 'the end of the list');
          expect(ofLobby(client).at(-1)).toMatchObject(listEnd);
          expect(client.of('presence').at(-1)?.users).toEqual([end('bob'), end('ghost')]);
          expect(client.errors).toEqual([]);
        }

        // Later changes of others arrive, and none of what has ended.
        const frames = ann.frames.length;
        await bob.get({ type: 'status', status: 'busy' });
        await bob.get({ type: 'join', room: 'lobby' });
        await carol.until(() => membersOf(carol).includes('bob'), 'bob as a member');
        await bob.get({ type: 'join', room: 'hall' });
        await carol.get({ type: 'status', status: 'busy' });
        const since = () => ann.frames.slice(frames);
        await ann.until(() => since().some((frame) => frame.type === 'presence'), 'the change of carol');
        await ann.until(() => ann.of('members').some(({ count }) => count === 2), 'the number in the hall');
        expect(since().filter((frame) => frame.type === 'presence')).toEqual([
          { type: 'presence', users: [{ user: 'carol', status: 'busy', lastSeen: expect.any(Number) }] },
        ]);
        expect(ofLobby(ann).at(-1)).toMatchObject(listEnd);

        // The places of ended watches are free, and what is asked for again begins again.
        expect(asked).toEqual(['bob', 'carol', 'ghost']);
        expect(await ann.get({ type: 'watch', users: ['bob', 'dan'] })).toBeUndefined();
        expect(await ann.get({ type: 'watch', users: ['eve'] })).toBe('LIMIT');
        expect(asked.slice(3)).toEqual(['bob', 'dan']);
        await ann.until(() => ann.of('presence').at(-1)?.users[0]?.status === 'busy', 'bob again');
        await ann.get({ type: 'join', room: 'lobby', members: true });
        await ann.until(() => membersOf(ann).length === 3, 'the members again');
        expect([...one.errors, ...two.errors]).toEqual([]);
      });

      test('also ends what is allowed by an answer from before it', async () => {
        const first = deferred<boolean>();
        let asked = 0;
        const node = await fixture.node({
          serve: {
            authorize: (_, { action }) => {
              if (action !== 'watch') return true;
              return asked++ === 0 ? first.promise : false;
            },
          },
        });
        const ann = await fixture.client(node, 'ann');
        const answer = ann.get({ type: 'watch', users: ['bob'] });
        await waitFor(() => asked === 1);
        await node.rooms.revoke('ann', { watch: ['bob'] });
        await node.rooms.sendToUser('ann', 'revoked');
        await ann.until(() => ann.of('event').length === 1, 'the message behind it');
        first.resolve(true);
        expect(await answer).toBe('FORBIDDEN');
        expect(ann.of('presence')).toEqual([]);
      });

      test('reaches the handler of a client, also for a user who was never seen, and the client does not ask again', async () => {
        const node = await fixture.node();
        const asked: string[] = [];
        const client = connect({ url: `${node.url}/?user=ann`, WebSocket: CountingSocket as never });
        fixture.before(() => client.close());
        CountingSocket.onSent = (text) => asked.push((JSON.parse(text) as { type: string }).type);
        const seen: unknown[] = [];
        const watch = client.watch(['ghost'], (presence) => seen.push(presence));
        await waitFor(() => seen.length === 1);
        await node.rooms.revoke('ann', { watch: ['ghost'] });
        await waitFor(() => seen.length === 2);
        const end = { user: 'ghost', status: 'offline', lastSeen: 0, code: 'FORBIDDEN' };
        expect(seen.at(-1)).toEqual(end);
        expect(watch.current().get('ghost')).toEqual(end);
        await client.setStatus('busy');
        expect(asked.filter((type) => type === 'watch')).toHaveLength(1);
      });

      test('of nothing is refused', async () => {
        const { rooms } = await fixture.node();
        const wrong = [{}, undefined, { watch: 'bob' }, { watch: [''] }, { members: 7 }, { room: 'lobby' }];
        for (const options of wrong) {
          await expect(rooms.revoke('ann', options as never)).rejects.toThrow(InvalidArgumentError);
        }
        await rooms.revoke('ann', { watch: [] });
      });
    });
  });
}

function bad(text: string): never {
  throw new Error(text);
}

class CountingSocket extends WebSocket {
  static onSent: (text: string) => void = () => {};

  override send(data: string): void {
    CountingSocket.onSent(data);
    super.send(data);
  }
}
