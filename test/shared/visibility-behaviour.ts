import { RequestError } from 'rollcall/ws';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
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
  });
}
