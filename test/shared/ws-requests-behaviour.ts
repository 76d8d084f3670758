import { RateLimiterMemory } from 'rate-limiter-flexible';
import { RequestError } from 'rollcall/ws';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { HistoryResult, SendResult } from '../../src/protocol/frames.js';
import { waitFor } from '../support/wait.js';
import { type WsBackend, type WsClient, WsFixture, type WsNode } from './ws-fixture.js';

const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, at) => from + at);
const deep = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;

/** Tests of the replies to every kind of frame, for any Redis. */
export function wsRequests(name: string, start: () => Promise<WsBackend>): void {
  describe(`requests: ${name}`, () => {
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

    /** Two clients in one room, on one server each. */
    async function pair(room = 'lobby'): Promise<{ one: WsNode; two: WsNode; ann: WsClient; bob: WsClient }> {
      const [one, two] = [await fixture.node(), await fixture.node()];
      const [ann, bob] = [await fixture.client(one, 'ann'), await fixture.client(two, 'bob')];
      await ann.get({ type: 'join', room });
      await bob.get({ type: 'join', room });
      return { one, two, ann, bob };
    }
    const send = (data: unknown, more: object = {}) => ({
      type: 'send',
      room: 'lobby',
      event: 'said',
      data,
      ...more,
    });

    describe('send', () => {
      test('reaches all peers in the room on all servers, once, in order, with its author', async () => {
        const { ann, bob } = await pair();
        const sent = (await ann.get(send(0))) as SendResult;
        for (const number of numbers(1, 20)) ann.write(send(number));
        await bob.until(() => bob.receivedData('lobby').length === 21, 'all 21');
        await ann.until(() => ann.receivedData('lobby').length === 21, 'all 21');
        expect(bob.receivedData('lobby')).toEqual(numbers(0, 20));
        expect(ann.receivedData('lobby')).toEqual(numbers(0, 20));
        expect(sent).toEqual({ position: expect.stringMatching(/^\d+-\d+$/) });
        expect(bob.of('event')[0]).toEqual({
          type: 'event',
          room: 'lobby',
          position: sent.position,
          at: expect.any(Number),
          event: 'said',
          from: 'ann',
          data: 0,
        });
      });

      test('carries any JSON, and null without data', async () => {
        const { ann, bob } = await pair();
        const data = ['', 'ü😀\u2028"\\', { a: [{ b: null }] }, [], 1.5, false, null];
        for (const each of data) await ann.get(send(each));
        await ann.get({ type: 'send', room: 'lobby', event: 'said' });
        await bob.until(() => bob.receivedData('lobby').length === data.length + 1, 'all');
        expect(bob.receivedData('lobby')).toEqual([...data, null]);
      });

      test('with echo: false is not sent to its author, who receives its position', async () => {
        const { ann, bob } = await pair();
        const { position } = (await ann.get(send(1, { echo: false }))) as SendResult;
        await bob.until(() => bob.receivedData('lobby').length === 1, 'the event of ann');
        await ann.until(() => ann.of('position').length === 1, 'its position');
        expect(ann.of('position')).toEqual([{ type: 'position', room: 'lobby', position }]);
        expect(ann.receivedData('lobby')).toEqual([]);
      });

      test('with keep: false is not stored', async () => {
        const { ann, bob } = await pair();
        expect(await ann.get(send(1, { keep: false, key: 'k' }))).toEqual({});
        await bob.until(() => bob.receivedData('lobby').length === 1, 'the event of ann');
        expect(bob.of('event')[0]).not.toHaveProperty('position');
        expect(await bob.get({ type: 'history', room: 'lobby' })).toEqual({ events: [], more: false });
      });

      test('with the same key is published once per user', async () => {
        const { one, ann, bob } = await pair();
        const first = (await ann.get(send(1, { key: 'same' }))) as SendResult;
        expect(await ann.get(send(1, { key: 'same' }))).toEqual({ ...first, duplicate: true });
        const again = await fixture.client(one, 'ann');
        await again.get({ type: 'join', room: 'lobby' });
        expect(await again.get(send(1, { key: 'same' }))).toEqual({ ...first, duplicate: true });
        expect(await bob.get(send(2, { key: 'same' }))).not.toHaveProperty('duplicate');
        await ann.until(() => ann.receivedData('lobby').includes(2), 'the event of bob');
        expect(ann.receivedData('lobby')).toEqual([1, 2]);
      });

      test('has the authenticated user as author, whatever the client claims', async () => {
        const { ann, bob } = await pair();
        await ann.get(send(1, { from: 'root', except: 'x', position: '9-9', user: 'root' }));
        await bob.until(() => bob.receivedData('lobby').length === 1, 'the event of ann');
        expect(bob.of('event')[0]).toMatchObject({ from: 'ann', data: 1 });
        expect(bob.of('event')[0]?.position).not.toBe('9-9');
      });

      test('is answered with NOT_JOINED before joining and after leaving', async () => {
        const { ann } = await pair();
        expect(await ann.get(send(1, { room: 'elsewhere' }))).toBe('NOT_JOINED');
        expect(await ann.get({ type: 'typing', room: 'elsewhere', on: true })).toBe('NOT_JOINED');
        expect(await ann.get({ type: 'update', room: 'elsewhere', info: 1 })).toBe('NOT_JOINED');
        expect(await ann.get({ type: 'leave', room: 'elsewhere' })).toBeUndefined();
        await ann.get({ type: 'leave', room: 'lobby' });
        expect(await ann.get(send(1))).toBe('NOT_JOINED');
      });

      test('may directly follow its join', async () => {
        const node = await fixture.node({
          serve: { authorize: (_, { action }) => Promise.resolve(action !== 'status') },
        });
        const ann = await fixture.client(node, 'ann');
        const joined = ann.ask({ type: 'join', room: 'lobby' });
        const sent = numbers(1, 5).map((number) => ann.get(send(number)));
        expect((await joined).type).toBe('ok');
        for (const answer of await Promise.all(sent)) expect(answer).toHaveProperty('position');
        await ann.until(() => ann.receivedData('lobby').length === 5, 'all five');
        expect(ann.receivedData('lobby')).toEqual(numbers(1, 5));
      });
    });

    describe('join', () => {
      test('starts with the last events, or after a position', async () => {
        const { one, ann } = await pair();
        const sent: SendResult[] = [];
        for (const number of numbers(1, 6)) sent.push((await ann.get(send(number))) as SendResult);
        const cat = await fixture.client(one, 'cat');
        await cat.get({ type: 'join', room: 'lobby', last: 2 });
        const dan = await fixture.client(one, 'dan');
        await dan.get({ type: 'join', room: 'lobby', since: sent[2]?.position });
        await ann.get(send(7));
        await cat.until(() => cat.receivedData('lobby').at(-1) === 7, 'the seventh');
        await dan.until(() => dan.receivedData('lobby').at(-1) === 7, 'the seventh');
        expect(cat.receivedData('lobby')).toEqual([5, 6, 7]);
        expect(dan.receivedData('lobby')).toEqual([4, 5, 6, 7]);
        expect(cat.of('event').map(({ replayed }) => replayed)).toEqual([true, true, undefined]);
        expect(dan.of('event').map(({ replayed }) => replayed)).toEqual([true, true, true, undefined]);
        expect(await cat.get({ type: 'join', room: 'x', last: 2, since: '1-1' })).toBe('INVALID');
      });

      test('shows members, their changes and their leaving', async () => {
        const { one, ann } = await pair();
        await ann.get({ type: 'join', room: 'den', info: { face: 1 }, members: true });
        await ann.until(() => ann.of('members').length > 0, 'the list');
        expect(ann.of('members')).toEqual([
          { type: 'members', room: 'den', reset: true, members: [expect.objectContaining({ user: 'ann' })] },
        ]);
        const cat = await fixture.client(one, 'cat');
        await cat.get({ type: 'join', room: 'den', info: 'tall' });
        const seen = () =>
          ann
            .of('members')
            .flatMap(({ members }) => members)
            .filter(({ user }) => user === 'cat');
        await ann.until(() => seen().length === 1, 'cat');
        await cat.get({ type: 'update', room: 'den', info: 'small' });
        await ann.until(() => seen().length === 2, 'another cat');
        await cat.get({ type: 'leave', room: 'den' });
        await ann.until(() => seen().length === 3, 'no cat');
        expect(seen()).toEqual([
          { user: 'cat', info: 'tall', sockets: 1 },
          { user: 'cat', info: 'small', sockets: 1 },
          expect.objectContaining({ user: 'cat', sockets: 0 }),
        ]);
      });

      test('with members: "count" sends how many members there are, and nothing else of them', async () => {
        const { one, ann } = await pair();
        await ann.get({ type: 'join', room: 'den', members: 'count' });
        await ann.until(() => ann.of('members').length > 0, 'the number');
        const cat = await fixture.client(one, 'cat');
        await cat.get({ type: 'join', room: 'den' });
        await ann.until(() => ann.of('members').length > 1, 'the next number');
        expect(ann.of('members')).toEqual([
          { type: 'members', room: 'den', count: 1, members: [] },
          { type: 'members', room: 'den', count: 2, members: [] },
        ]);
        expect(await cat.get({ type: 'join', room: 'den', members: 'all' })).toBe('INVALID');
      });

      test('in a joined room replaces members, or leaves them as they are', async () => {
        const { one, ann, bob } = await pair();
        const join = (client: WsClient, more: object = {}) =>
          client.get({ type: 'join', room: 'den', ...more });
        const usersOf = (client: WsClient) =>
          client.of('members').flatMap(({ members }) => members.map(({ user }) => user));
        await join(ann, { members: true });
        await ann.until(() => usersOf(ann).includes('ann'), 'the list');
        // Without `members` the list goes on.
        await join(ann, { info: 1 });
        await join(bob, { members: true });
        await ann.until(() => usersOf(ann).includes('bob'), 'bob');
        const cat = await fixture.client(one, 'cat');
        const changes = async (user: string, client: WsClient) => {
          const before = ann.of('members').length;
          await join(client);
          await bob.until(() => usersOf(bob).includes(user), user);
          await ann.settled();
          return ann.of('members').slice(before);
        };
        await join(ann, { members: false });
        expect(await changes('cat', cat)).toEqual([]);
        await join(ann, { members: true });
        await ann.until(() => usersOf(ann).includes('cat'), 'the list again');
        await join(ann, { members: 'count' });
        await ann.until(() => ann.of('members').at(-1)?.count === 3, 'the number');
        await changes('dan', await fixture.client(one, 'dan'));
        await ann.until(() => ann.of('members').at(-1)?.count === 4, 'the next number');
        expect(usersOf(ann)).not.toContain('dan');
      });

      test('is rejected beyond maxRooms, without calling authorize', async () => {
        const asked: string[] = [];
        const node = await fixture.node({
          serve: {
            maxRooms: 2,
            authorize: (_, request) => asked.push('room' in request ? request.room : request.action) > 0,
          },
        });
        const ann = await fixture.client(node, 'ann');
        const answers = await Promise.all(
          ['a', 'b', 'c', 'a'].map((room) => ann.ask({ type: 'join', room })),
        );
        expect(answers.map(({ type }) => type)).toEqual(['ok', 'ok', 'error', 'ok']);
        expect(ann.errors).toEqual(['LIMIT']);
        expect(asked).toEqual(['a', 'b', 'a']);
        await ann.get({ type: 'leave', room: 'a' });
        expect(await ann.get({ type: 'join', room: 'c' })).toHaveProperty('position');
      });
    });

    test('history is paged back to the beginning, without joining the room', async () => {
      const { one, ann } = await pair();
      for (const number of numbers(1, 5)) await ann.get(send(number));
      await ann.until(() => ann.receivedData('lobby').length === 5, 'all five');
      const cat = await fixture.client(one, 'cat');
      const pages: unknown[][] = [];
      let before: string | undefined;
      for (let more = true; more; ) {
        const page = (await cat.get({
          type: 'history',
          room: 'lobby',
          limit: 2,
          ...(before && { before }),
        })) as HistoryResult;
        pages.push(page.events.map(({ data }) => data));
        before = page.events.at(-1)?.position;
        more = page.more;
        const when = (data: unknown) => ann.of('event').find((each) => each.data === data)?.at;
        for (const each of page.events) {
          expect(each).toMatchObject({ event: 'said', from: 'ann', at: when(each.data) });
        }
      }
      expect(pages).toEqual([[5, 4], [3, 2], [1]]);
      expect(cat.of('event')).toEqual([]);
    });

    test('history before any position is a page or INVALID, never UNAVAILABLE', async () => {
      const node = await fixture.node();
      const ann = await fixture.client(node, 'ann');
      await ann.get({ type: 'join', room: 'paged' });
      await ann.get({ type: 'send', room: 'paged', event: 'said', data: 1 });
      const page = (before: string) => ann.get({ type: 'history', room: 'paged', before });
      expect(await page('0-0')).toEqual({ events: [], more: false });
      expect(await page('1-0')).toEqual({ events: [], more: false });
      expect(await page('9999999999999999-9999999999')).toMatchObject({ events: [{ data: 1 }] });
      for (const invalid of ['yesterday', '-1-0', '0', '1-1-1']) expect(await page(invalid)).toBe('INVALID');
      expect(node.errors).toEqual([]);
    });

    test('history is read forward from a position to the end, and tells what is missing', async () => {
      const node = await fixture.node({ rooms: { history: { size: 16, ttl: 60_000 } } });
      const ann = await fixture.client(node, 'ann');
      await ann.get({ type: 'join', room: 'lobby' });
      const sent: string[] = [];
      const publish = async (from: number, to: number) => {
        for (const number of numbers(from, to))
          sent[number] = ((await ann.get(send(number))) as SendResult).position ?? '';
      };
      const page = (more: object) =>
        ann.get({ type: 'history', room: 'lobby', ...more }) as Promise<HistoryResult>;
      const dataOf = ({ events }: HistoryResult) => events.map(({ data }) => data);
      await publish(1, 5);
      const first = await page({ since: sent[1], limit: 3 });
      expect(first).toEqual({ events: expect.anything(), more: true });
      expect(dataOf(first)).toEqual([2, 3, 4]);
      const rest = await page({ since: first.events[2]?.position, limit: 3 });
      expect([dataOf(rest), rest.more]).toEqual([[5], false]);
      expect(await page({ since: sent[5] })).toEqual({ events: [], more: false });

      // Around a message: half before and at it, half after.
      const middle = await page({ around: sent[3], limit: 4 });
      expect([dataOf(middle), middle]).toMatchObject([[2, 3, 4, 5], { more: false, older: true }]);
      const single = await page({ around: sent[3], limit: 1 });
      expect(single).toMatchObject({ events: [{ data: 3 }], more: true, older: true });
      const whole = await page({ around: sent[1] });
      expect([dataOf(whole), whole]).toMatchObject([[1, 2, 3, 4, 5], { more: false, older: false }]);
      for (const each of [middle, single, whole]) expect(each).not.toHaveProperty('discontinuity');

      // A position that the history does not have.
      const [time] = (sent[3] ?? '').split('-');
      const forked = await page({ around: `${time}-1000001`, limit: 4 });
      expect([dataOf(forked), forked.discontinuity]).toEqual([
        [2, 3, 4, 5],
        { reason: 'forked', since: Math.floor(Number(time) / 1_000), recovered: false },
      ]);
      await publish(6, 25);
      for (const request of [{ around: sent[3] }, { since: sent[3] }]) {
        const trimmed = await page({ ...request, limit: 6 });
        expect(dataOf(trimmed)).toEqual(numbers(10, 15).slice(0, 'since' in request ? 6 : 3));
        expect(trimmed).toMatchObject({ more: true, discontinuity: { reason: 'trimmed' } });
      }

      for (const both of [{ before: sent[9] }, { around: sent[9] }]) {
        expect(await page({ since: sent[9], ...both })).toBe('INVALID');
      }
      for (const invalid of ['yesterday', '', '-1-0', '1-1-1']) {
        expect(await page({ since: invalid })).toBe('INVALID');
        expect(await page({ around: invalid })).toBe('INVALID');
      }
      expect(await page({ around: '9999999999999999-9999999999', limit: 1 })).toMatchObject({ more: false });
      expect(node.errors).toEqual([]);
    });

    test('history leaves out payloads of other programs that are no events', async () => {
      const { one, ann } = await pair();
      await ann.get(send(1));
      for (const odd of [null, 5, 'text', {}, { event: 7 }, [1]]) {
        await one.pubsub.publish(one.rooms.channel('lobby'), odd as never);
      }
      await ann.get(send(2));
      const { events } = (await ann.get({ type: 'history', room: 'lobby' })) as HistoryResult;
      expect(events.map(({ data }) => data)).toEqual([2, 1]);
      expect(one.errors.filter((error) => !error.startsWith('DecodeError'))).toEqual([]);
    });

    describe('presence', () => {
      test('watching sends the presence of users and its changes, on any server', async () => {
        const { two, ann } = await pair();
        await ann.get({ type: 'watch', users: ['bob', 'cat'] });
        await ann.until(() => ann.of('presence').length > 0, 'how they are');
        expect(ann.of('presence')[0]?.users).toEqual([
          { user: 'bob', status: 'online', lastSeen: expect.any(Number) },
          { user: 'cat', status: 'offline', lastSeen: 0 },
        ]);
        const statusesOf = (user: string) =>
          ann
            .of('presence')
            .slice(1)
            .flatMap(({ users }) => users)
            .filter((each) => each.user === user)
            .map(({ status }) => status);
        const cat = await fixture.client(two, 'cat');
        await ann.until(() => statusesOf('cat').at(-1) === 'online', 'cat');
        expect(await cat.get({ type: 'status', status: 'busy' })).toBeUndefined();
        await ann.until(() => statusesOf('cat').at(-1) === 'busy', 'a busy cat');
        await ann.get({ type: 'unwatch', users: ['cat'] });
        await ann.get({ type: 'watch', users: ['dan'] });
        await cat.end();
        const dan = await fixture.client(two, 'dan');
        await ann.until(() => statusesOf('dan').at(-1) === 'online', 'dan');
        await dan.end();
        await ann.until(() => statusesOf('dan').at(-1) === 'offline', 'no dan');
        expect(statusesOf('cat')).toEqual(['online', 'busy']);
      });

      test('watching has a limit, to which users watched already do not count again', async () => {
        const node = await fixture.node({ serve: { maxWatched: 3 } });
        const ann = await fixture.client(node, 'ann');
        const watch = (...users: string[]) => ann.get({ type: 'watch', users });
        expect(await watch('a', 'b', 'a', 'a')).toBeUndefined();
        expect(await watch('a', 'b', 'c')).toBeUndefined();
        expect(await watch('d')).toBe('LIMIT');
        await ann.get({ type: 'unwatch', users: ['a'] });
        expect(await watch('d')).toBeUndefined();
      });

      test('without a presence service it is rejected', async () => {
        const node = await fixture.node({ presence: false });
        const ann = await fixture.client(node, 'ann');
        expect(await ann.get({ type: 'watch', users: ['a'] })).toBe('INVALID');
        expect(await ann.get({ type: 'status', status: 'busy' })).toBe('INVALID');
        expect(node.errors).toEqual([]);
      });

      test('an invalid status is answered with INVALID', async () => {
        const node = await fixture.node();
        const ann = await fixture.client(node, 'ann');
        for (const status of ['offline', 'invisible', 'a b', 'x'.repeat(65)]) {
          expect(await ann.get({ type: 'status', status })).toBe('INVALID');
        }
        expect(node.errors).toEqual([]);
      });
    });

    describe('typing', () => {
      const ttls = (client: WsClient, user: string) =>
        client
          .of('event')
          .filter(({ event, from }) => event === '$typing' && from === user)
          .map(({ data }) => ((data as { ttl: number }).ttl > 0 ? 'on' : 'off'));

      test('is sent to others, not to the user’s own socket, and not stored', async () => {
        const { ann, bob } = await pair();
        ann.write({ type: 'typing', room: 'lobby', on: true });
        await bob.until(() => ttls(bob, 'ann').length === 1, 'that ann types');
        ann.write({ type: 'typing', room: 'lobby', on: false });
        await bob.until(() => ttls(bob, 'ann').length === 2, 'that ann has stopped');
        expect(ttls(bob, 'ann')).toEqual(['on', 'off']);
        await ann.settled();
        expect(ttls(ann, 'ann')).toEqual([]);
        expect(await ann.get({ type: 'history', room: 'lobby' })).toEqual({ events: [], more: false });
      });

      test.each(['leaves', 'breaks off'])('ends when the user who types %s', async (how) => {
        const { ann, bob } = await pair();
        await ann.get({ type: 'typing', room: 'lobby', on: true });
        await bob.until(() => ttls(bob, 'ann').length === 1, 'that ann types');
        if (how === 'leaves') await ann.get({ type: 'leave', room: 'lobby' });
        else ann.socket.terminate();
        await bob.until(() => ttls(bob, 'ann').at(-1) === 'off', 'that ann has stopped');
      });

      test('cannot be forged by an event of that name', async () => {
        const { ann } = await pair();
        expect(await ann.get(send({ ttl: 1e9 }, { event: '$typing' }))).toBe('INVALID');
        expect(await ann.get(send({}, { event: '$disconnect' }))).toBe('INVALID');
      });
    });

    describe('authorization', () => {
      test('is requested for each action with its subject', async () => {
        const asked: unknown[] = [];
        const node = await fixture.node({
          serve: {
            authenticate: () => ({ userId: 'ann', role: 'guest' }),
            authorize: (...given: unknown[]) => asked.push(given) > 0,
            requests: { hello: () => 1 },
          },
        });
        const ann = await fixture.client(node, 'ann');
        await ann.get({ type: 'join', room: 'lobby' });
        await ann.get(send(1));
        await ann.get({ type: 'update', room: 'lobby', info: 1 });
        await ann.get({ type: 'typing', room: 'lobby', on: true });
        await ann.get({ type: 'history', room: 'old' });
        await ann.get({ type: 'watch', users: ['bob', 'cat', 'bob'] });
        await ann.get({ type: 'status', status: 'busy' });
        await ann.get({ type: 'request', method: 'hello' });
        await ann.get({ type: 'leave', room: 'lobby' });
        const user = { userId: 'ann', role: 'guest' };
        expect(asked).toEqual([
          [user, { action: 'join', room: 'lobby' }],
          [user, { action: 'send', room: 'lobby', event: 'said', data: 1 }],
          [user, { action: 'join', room: 'lobby' }],
          [user, { action: 'typing', room: 'lobby' }],
          [user, { action: 'history', room: 'old' }],
          [user, { action: 'watch', userId: 'bob' }],
          [user, { action: 'watch', userId: 'cat' }],
          [user, { action: 'status', status: 'busy' }],
          [user, { action: 'request', method: 'hello', data: null }],
        ]);
      });

      test.each([false, undefined, 1, 'yes', {}, null])(
        'is only what is true: %j is none',
        async (answer) => {
          const node = await fixture.node({
            serve: {
              authorize: ((_: unknown, { action }: { action: string }) =>
                action === 'join' ? answer : Promise.resolve(answer)) as never,
            },
          });
          const ann = await fixture.client(node, 'ann');
          expect(await ann.get({ type: 'join', room: 'lobby' })).toBe('FORBIDDEN');
          expect(await ann.get({ type: 'history', room: 'lobby' })).toBe('FORBIDDEN');
          expect(node.rooms.stats().rooms).toBe(0);
        },
      );

      test('that is withdrawn counts from the next frame on', async () => {
        let banned = false;
        const node = await fixture.node({ serve: { authorize: () => !banned } });
        const ann = await fixture.client(node, 'ann');
        await ann.get({ type: 'join', room: 'lobby' });
        banned = true;
        expect(await ann.get(send(1))).toBe('FORBIDDEN');
        expect(await ann.get({ type: 'update', room: 'lobby', info: 1 })).toBe('FORBIDDEN');
        expect(await ann.get({ type: 'leave', room: 'lobby' })).toBeUndefined();
      });

      test('that fails denies the request: the error is reported, and not sent to the client', async () => {
        const secret = 'postgres://admin:hunter2@db';
        const node = await fixture.node({
          serve: {
            authorize: (_, request) => {
              const { action } = request;
              if (Object.values(request).includes('two')) throw new Error(secret);
              if (action === 'history') throw new RequestError('LIMIT', 'not today', 70);
              return Promise.reject(new Error(secret));
            },
          },
        });
        const ann = await fixture.client(node, 'ann');
        expect(await ann.ask({ type: 'join', room: 'one' })).toMatchObject({
          code: 'INTERNAL',
          message: 'the server failed',
        });
        // Of many questions some are answered by throwing, others by rejecting.
        expect(await ann.get({ type: 'watch', users: ['one', 'two', 'three'] })).toBe('INTERNAL');
        expect(await ann.ask({ type: 'history', room: 'one' })).toMatchObject({
          code: 'LIMIT',
          message: 'not today',
          retryAfter: 70,
        });
        expect(node.errors).toHaveLength(2);
        expect(node.errors[0]).toContain(secret);
        expect(JSON.stringify(ann.frames)).not.toContain('hunter2');
      });
    });

    describe('requests of the application', () => {
      test('are answered with the results of their handlers', async () => {
        const node = await fixture.node({
          serve: {
            requests: {
              sum: (_, data) => (data as number[]).reduce((a, b) => a + b),
              later: async (socket, _, user) => ({ socket: socket.id, user: user.userId }),
              nothing: () => undefined,
              none: (_, data) => data,
            },
          },
        });
        const ann = await fixture.client(node, 'ann');
        const ask = (method: string, data?: unknown) => ann.get({ type: 'request', method, data });
        expect(await ask('sum', [1, 2, 3])).toBe(6);
        expect(await ask('later')).toEqual({ socket: ann.of('welcome')[0]?.socket, user: 'ann' });
        expect(await ask('nothing')).toBeUndefined();
        expect(await ask('none')).toBeNull();
        for (const method of ['toString', 'constructor', '__proto__', 'hasOwnProperty', 'x']) {
          expect(await ask(method)).toBe('UNKNOWN_METHOD');
        }
        ann.write({ type: 'request', method: 'sum', data: [1] });
        await ann.settled();
        expect(ann.frames.at(-2)).toMatchObject({ type: 'error', code: 'UNKNOWN_METHOD' });
      });

      test('fail without further effect, whatever is thrown or cannot be encoded', async () => {
        const circle: { self?: unknown } = {};
        circle.self = circle;
        const node = await fixture.node({
          serve: {
            requests: {
              throws: () => {
                throw null;
              },
              rejects: () => Promise.reject(new Error('inside')),
              big: () => 1n,
              circle: () => circle,
              refuses: () => {
                throw new RequestError('FORBIDDEN', 'not you');
              },
              odd: () => {
                throw new RequestError('LIMIT', 'odd', 1n as never);
              },
              misuses: () => node.rooms.broadcast('', 'secret'),
              closes: (socket) => socket.close(7, 'no such code'),
            },
          },
        });
        const ann = await fixture.client(node, 'ann');
        const ask = (method: string) => ann.get({ type: 'request', method });
        for (const method of ['throws', 'rejects', 'big', 'circle', 'misuses']) {
          expect(await ask(method)).toBe('INTERNAL');
        }
        expect(await ask('refuses')).toBe('FORBIDDEN');
        expect(node.errors).toHaveLength(5);
        ann.write({ type: 'request', method: 'odd' });
        await ann.settled();
        expect(node.errors).toHaveLength(6);
        ann.write({ type: 'request', method: 'closes' });
        expect((await ann.closed).code).toBe(1006);
        await waitFor(() => node.rooms.stats().sockets === 0);
      });
    });

    describe('malformed frames', () => {
      test('that are readable are answered with their id, and never end the connection', async () => {
        const node = await fixture.node();
        const ann = await fixture.client(node, 'ann');
        await ann.get({ type: 'join', room: 'lobby' });
        const wrong: object[] = [
          { type: 'join' },
          { type: 'join', room: 7 },
          { type: 'join', room: '' },
          { type: 'join', room: 'x'.repeat(513) },
          { type: 'join', room: 'ü'.repeat(300) },
          { type: 'join', room: 'x', last: -1 },
          { type: 'join', room: 'x', last: 1001 },
          { type: 'join', room: 'x', last: 1.5 },
          { type: 'join', room: 'x', since: 'yesterday' },
          { type: 'join', room: 'x', members: 'all' },
          { type: 'join', room: 'x', info: 'x'.repeat(5_000) },
          { type: 'update', room: 'lobby', info: 'x'.repeat(5_000) },
          { type: 'send', room: 'lobby' },
          { type: 'send', room: 'lobby', event: '' },
          { type: 'send', room: 'lobby', event: 'x'.repeat(129) },
          send(1, { key: '' }),
          send(1, { key: 'a b' }),
          send(1, { key: 'x'.repeat(65) }),
          send(1, { echo: 1 }),
          send(1, { keep: 'no' }),
          { type: 'typing', room: 'lobby' },
          { type: 'status' },
          { type: 'watch', users: 'bob' },
          { type: 'watch', users: [''] },
          { type: 'watch', users: [{}] },
          { type: 'watch', users: Array(1_001).fill('a') },
          { type: 'history', room: 'lobby', limit: 0 },
          { type: 'history', room: 'lobby', before: '1' },
          { type: 'request' },
          { type: 'request', method: 'a b' },
          { type: 'nonsense' },
          { type: 'welcome' },
        ];
        for (const frame of wrong) expect([frame, await ann.get(frame)]).toEqual([frame, 'INVALID']);
        for (const name of ['"\\ud800"', '"a\\udc00"']) {
          ann.write(`{"id":99,"type":"join","room":${name}}`);
        }
        await ann.settled();
        expect(ann.of('error').filter(({ id }) => id === 99)).toHaveLength(2);
        expect(node.serving.stats().malformed).toBeGreaterThan(25);
        expect(node.errors).toEqual([]);
      });

      test('that are unreadable are answered without an id, and the tenth ends the connection', async () => {
        const node = await fixture.node();
        const ann = await fixture.client(node, 'ann');
        const wrong = [
          '',
          'x',
          '{"type":"ping"',
          '[]',
          'null',
          '{"id":"1","type":"ping"}',
          '{"id":1.5,"type":"ping"}',
          `{"type":"send","data":${deep(101)}}`,
          Buffer.from('{"type":"ping"}'),
        ];
        for (const frame of wrong) ann.write(frame);
        await ann.settled();
        expect(ann.of('error')).toHaveLength(9);
        for (const frame of ann.of('error')) expect(frame).toMatchObject({ code: 'INVALID' });
        expect(ann.of('error').some((frame) => 'id' in frame)).toBe(false);
        ann.write('{}');
        expect((await ann.closed).code).toBe(4400);
        expect(node.errors).toEqual([]);
      });

      test('at the nesting limit are relayed', async () => {
        const { ann, bob } = await pair();
        const data = JSON.parse(deep(99));
        await ann.get(send(data));
        await bob.until(() => bob.receivedData('lobby').length === 1, 'the event of ann');
        expect(bob.receivedData('lobby')).toEqual([data]);
        const { events } = (await bob.get({ type: 'history', room: 'lobby' })) as HistoryResult;
        expect(events[0]?.data).toEqual(data);
      });
    });

    describe('rate limits', () => {
      test('count all sockets of a user, and answer with retryAfter', async () => {
        const node = await fixture.node({
          serve: { rateLimit: new RateLimiterMemory({ points: 5, duration: 1_000 }) },
        });
        const [one, two] = [await fixture.client(node, 'ann'), await fixture.client(node, 'ann')];
        const bob = await fixture.client(node, 'bob');
        for (const client of [one, two, one, two, one]) {
          await client.get({ type: 'join', room: 'lobby' });
        }
        for (const client of [one, two]) {
          const answer = await client.ask({ type: 'join', room: 'other' });
          expect(answer).toMatchObject({ code: 'RATE_LIMITED', retryAfter: expect.any(Number) });
          expect(Number.isInteger((answer as { retryAfter: number }).retryAfter)).toBe(true);
        }
        expect(await bob.get({ type: 'join', room: 'lobby' })).toHaveProperty('position');
        for (let at = 0; at < 99; at++) one.write({ type: 'ping' });
        expect((await one.closed).code).toBe(4529);
        expect(node.errors).toEqual([]);
        expect(node.serving.stats().limited).toBe(101);
      });

      test('count by a custom key', async () => {
        const keys: string[] = [];
        const node = await fixture.node({
          serve: {
            rateLimit: { consume: async (key) => keys.push(key) },
            rateLimitKey: ({ userId }, request) => `${userId}@${request.socket.remoteAddress}`,
          },
        });
        await (await fixture.client(node, 'ann')).settled();
        expect(keys).toEqual(['ann@127.0.0.1']);
      });

      test.each([
        [
          'throws',
          () => {
            throw new Error('no store');
          },
        ],
        ['rejects', () => Promise.reject(new Error('no store'))],
      ])('let frames pass when the limiter %s', async (_, consume) => {
        const node = await fixture.node({ serve: { rateLimit: { consume } } });
        const ann = await fixture.client(node, 'ann');
        expect(await ann.get({ type: 'join', room: 'lobby' })).toHaveProperty('position');
        expect(node.errors).toEqual(["HandlerError: a connection's handler failed: no store"]);
      });

      test.each([
        undefined,
        null,
        {},
        { msBeforeNext: Number.NaN },
        { msBeforeNext: Number.POSITIVE_INFINITY },
      ])('answer with one second when the limiter rejects with %j', async (refusal) => {
        const node = await fixture.node({ serve: { rateLimit: { consume: () => Promise.reject(refusal) } } });
        const ann = await fixture.client(node, 'ann');
        expect(await ann.ask({ type: 'join', room: 'lobby' })).toMatchObject({
          code: 'RATE_LIMITED',
          retryAfter: 1_000,
        });
        expect(node.errors).toEqual([]);
      });
    });
  });
}
