import { expect, test } from 'vitest';
import { HiddenUsers } from '../../../src/presence/hidden-users.js';
import { LocalSockets } from '../../../src/presence/local-sockets.js';
import { decodeRecord, hiddenUntil, listsSocketOf } from '../../../src/presence/record.js';
import { fc } from '../../support/property.js';

const node = fc.constantFrom('me#abc', 'me#abc.3', 'other#xyz');
const line = fc.tuple(
  fc.constantFrom('s1', 's2'),
  node,
  fc.constantFrom('', '"busy', '"~', '"online"{"a":"\\"h"}'),
);
const record = fc
  .record({
    hidden: fc.option(fc.constantFrom('', '1690000000000'), { nil: undefined }),
    status: fc.constantFrom('online', 'busy', 'offline'),
    lines: fc.array(line, { maxLength: 3 }),
  })
  .map(({ hidden, status, lines }) => ({
    hidden,
    own: lines.some(([, id]) => id.startsWith('me#')),
    text: [
      hidden === undefined ? `2${status}"5"4` : `2offline"5"4"h${hidden}`,
      ...lines.map(([socket, id, rest]) => `${socket}"${id}"kf12${rest}`),
    ].join('\n'),
  }));

test('a record says whether its user is invisible, until when, and whose sockets it lists', () => {
  fc.assert(
    fc.property(record, ({ hidden, own, text }) => {
      expect(hiddenUntil(text)).toBe(hidden === undefined ? undefined : Number(hidden));
      expect(decodeRecord('ann', text, true).status === 'invisible').toBe(hidden !== undefined);
      expect(listsSocketOf(text, (id) => id.startsWith('me#'))).toBe(own);
    }),
  );
});

test('a user is hidden and shown alternately, and only while they have sockets on this node; a missing record changes nothing', () => {
  fc.assert(
    fc.property(fc.array(fc.option(record)), (records) => {
      const hidden = new HiddenUsers({
        localSockets: new LocalSockets(),
        nodeLease: { instanceId: 'me#abc' },
      });
      const events: string[] = [];
      hidden.listen({ onHidden: () => events.push('hidden'), onShown: () => events.push('shown') });
      let isHidden = false;
      for (const one of records) {
        hidden.observe('ann', one?.text ?? null);
        if (one?.hidden !== undefined) isHidden = one.own;
        else if (one !== null) isHidden = false;
        expect(hidden.until('ann') !== undefined).toBe(isHidden);
      }
      expect(events.filter((event, at) => event === events[at - 1] && event === 'shown')).toEqual([]);
    }),
  );
});

test('a user stays hidden when Redis has none of their sockets, although this process has one', () => {
  const localSockets = new LocalSockets();
  const hidden = new HiddenUsers({ localSockets, nodeLease: { instanceId: 'me#abc' } });
  const events: string[] = [];
  hidden.listen({ onHidden: () => events.push('hidden'), onShown: () => events.push('shown') });
  const socket = { user: 'ann', socket: 's', key: 'ann"s', partition: 0, connectedAt: 1, known: true };
  localSockets.put({ ...socket, status: 'online', meta: undefined });
  hidden.observe('ann', '3offline"5"4"h"sinvisible"0\ns"me#abc"1');
  hidden.observe('ann', '3offline"6"4"sinvisible"0');
  hidden.observe('ann', '2offline"6"4');
  hidden.observe('ann', '3offline"6"4"h"sinvisible"0\nt"other#xyz"1');
  expect(hidden.until('ann')).toBe(0);
  expect(events).toEqual(['hidden']);
  hidden.observe('ann', '2online"7"4\nt"other#xyz"1');
  expect(events).toEqual(['hidden', 'shown']);
  localSockets.sockets.clear();
  hidden.observe('ann', '3offline"8"4"h"sinvisible"0\ns"me#abc"1');
  hidden.observe('ann', '3offline"9"4"sinvisible"0');
  expect(hidden.until('ann')).toBeUndefined();
});

test('memberships are written or unwritten, and found by user, socket and room', () => {
  const step = fc.record({
    what: fc.constantFrom(
      'join' as const,
      'leave' as const,
      'leaveAll' as const,
      'hide' as const,
      'show' as const,
    ),
    user: fc.constantFrom('ann', 'bob'),
    socket: fc.constantFrom('s1', 's2'),
    room: fc.constantFrom('a', 'b'),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const local = new LocalSockets();
      const model = new Map<string, { user: string; socket: string; room: string; written: boolean }>();
      for (const { what, user, socket, room } of steps) {
        const key = `${user}"${socket}"${room}`;
        if (what === 'join') {
          local.join({ user, socket, room, partition: 0, info: 'null' });
          model.set(key, { user, socket, room, written: true });
        } else if (what === 'leave') {
          local.leave(`${user}"${socket}`, room);
          model.delete(key);
        } else if (what === 'leaveAll') {
          local.leaveAll(`${user}"${socket}`);
          for (const [k, one] of model) if (one.user === user && one.socket === socket) model.delete(k);
        } else {
          for (const one of local.membershipsOf(user)) local.setWritten(one, what === 'show');
          for (const one of model.values()) if (one.user === user) one.written = what === 'show';
        }
        const all = [...model.values()];
        expect([...local.memberships.keys()].sort()).toEqual([...model.keys()].sort());
        for (const name of ['ann', 'bob']) {
          expect(local.hasMemberships(name)).toBe(all.some((one) => one.user === name));
          expect(local.membershipsOf(name)).toHaveLength(all.filter((one) => one.user === name).length);
          for (const s of ['s1', 's2'])
            expect(local.answersFor(`${name}"${s}`)).toBe(
              all.some((one) => one.user === name && one.socket === s),
            );
        }
        for (const name of ['a', 'b']) {
          const written = all.filter((one) => one.room === name && one.written);
          expect(local.isInRoom(name)).toBe(written.length > 0);
          expect(local.membershipsIn(name)).toHaveLength(written.length);
        }
        expect(local.rooms.sort()).toEqual(
          [...new Set(all.filter((one) => one.written).map((one) => one.room))].sort(),
        );
      }
    }),
  );
});

test('the oldest room of a partition is the one whose last write is the oldest', () => {
  const local = new LocalSockets();
  const join = (user: string, room: string, partition: number) =>
    local.join({ user, socket: 's', room, partition, info: 'null' });
  join('ann', 'a', 0);
  join('ann', 'b', 0);
  join('ann', 'c', 1);
  const oldest = () => Object.fromEntries(local.oldestRoomOf([0, 1, 2]));
  expect(oldest()).toEqual({ 0: 'a', 1: 'c' });
  join('bob', 'a', 0);
  expect(oldest()).toEqual({ 0: 'b', 1: 'c' });
  local.leave('ann"s', 'b');
  expect(oldest()).toEqual({ 0: 'a', 1: 'c' });
  // A room that is left and joined again waits for its confirmation.
  local.confirm('c');
  expect(local.isConfirmed('c')).toBe(true);
  local.leave('ann"s', 'c');
  join('ann', 'c', 1);
  expect(local.isConfirmed('c')).toBe(false);
});
