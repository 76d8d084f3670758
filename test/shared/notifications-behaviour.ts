import {
  type ErrorContext,
  PresenceService,
  PubSubService,
  type RollcallError,
  RoomService,
  type RoomServiceOptions,
  type RoomSocket,
} from 'rollcall';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { NotificationService } from '../../src/notifications/notification-service.js';
import type { NotificationServiceOptions } from '../../src/notifications/options.js';
import { waitFor } from '../support/wait.js';
import type { PresenceBackend } from './presence-fixture.js';

/** One server process, as it were. */
export interface NotificationServer {
  pubsub: PubSubService;
  presence: PresenceService;
  rooms: RoomService;
  notifications: NotificationService;
  errors: [RollcallError, ErrorContext][];
  close(): Promise<void>;
}

export interface ServerOptions {
  notifications?: Partial<NotificationServiceOptions>;
  rooms?: Partial<RoomServiceOptions>;
  timeout?: number;
}

/** Services on a client of their own. */
export function openServer(
  redis: ReturnType<PresenceBackend['client']>,
  { notifications = {}, rooms: roomOptions = {}, timeout = 5_000 }: ServerOptions = {},
): NotificationServer {
  const errors: [RollcallError, ErrorContext][] = [];
  const onError = (error: RollcallError, context: ErrorContext) => void errors.push([error, context]);
  const pubsub = new PubSubService({ redis, onError, timeout });
  const presence = new PresenceService({ redis, onError, timeout });
  const rooms = new RoomService({ pubsub, presence, onError, ...roomOptions });
  return {
    pubsub,
    presence,
    rooms,
    notifications: new NotificationService({ rooms, onError, ...notifications }),
    errors,
    close: async () => {
      await rooms.close();
      await Promise.all([pubsub.close(), presence.close()]);
    },
  };
}

/** A user's device and the notifications that it received. */
export interface Device {
  socket: RoomSocket;
  /** Data of `notification` events. */
  received: { id: string; at: number; data: unknown }[];
  /** Ids of `notification:read` events. */
  read: string[];
}

export async function device(
  { rooms }: Pick<NotificationServer, 'rooms'>,
  userId: string,
  since?: string,
): Promise<Device> {
  const received: Device['received'] = [];
  const read: string[] = [];
  const peer = {
    bufferedAmount: 0,
    close: () => {},
    send: (frame: string | Buffer) => {
      const { event, data } = JSON.parse(String(frame));
      if (event === 'notification') received.push(data);
      if (event === 'notification:read') read.push(data.id);
    },
  };
  const socket = await rooms.attach(peer, since === undefined ? { userId } : { userId, since });
  return { socket, received, read };
}

let serial = 0;
const fresh = (name = 'u') => `${name}-n${++serial}`;
const NOBODY = { count: 0, capped: false, complete: true };
const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, at) => from + at);

const ODD_NAMES = [
  '__proto__',
  'constructor',
  '{x}',
  'a{b}c',
  '}{',
  '*?[a]',
  'a:b',
  ' ',
  'new\nline',
  '😀',
  '%',
];

/** Tests of notifications, for any server. */
export function notificationsBehaviour(name: string, start: () => Promise<PresenceBackend>): void {
  describe(name, () => {
    let fixture: PresenceBackend;
    let opened: NotificationServer[] = [];
    let expected: string[] = [];

    beforeAll(async () => {
      fixture = await start();
    });
    afterAll(() => fixture.end());
    afterEach(async () => {
      const errors = opened.flatMap((server) => server.errors.map(([error]) => error.name));
      await Promise.all(opened.map((server) => server.close()));
      opened = [];
      expect(errors).toEqual(expected);
      expected = [];
    });

    function open(options?: ServerOptions): NotificationServer {
      const server = openServer(fixture.client(), options);
      opened.push(server);
      return server;
    }
    const data = async (server: NotificationServer, user: string) =>
      (await server.notifications.list(user)).notifications.map((each) => each.data);

    test('a connected user is notified on all devices, on any server', async () => {
      const [one, two] = [open(), open()];
      const user = fresh();
      const devices = [await device(one, user), await device(one, user), await device(two, user)];
      const other = await device(two, fresh());
      const before = Date.now();
      const { id, ...rest } = await one.notifications.notify(user, { text: 'hello' });
      expect(rest).toEqual({ duplicate: false, delivered: 2, online: true });
      await waitFor(() => devices.every(({ received }) => received.length === 1), { message: 'all devices' });
      for (const { received } of devices) {
        expect(received).toEqual([{ id, at: expect.any(Number), data: { text: 'hello' } }]);
      }
      // A server's clock and ours, on one machine.
      expect(Math.abs((devices[0]?.received[0]?.at as number) - before)).toBeLessThan(60_000);
      const { notifications } = await two.notifications.list(user);
      expect(notifications).toEqual([
        { id, at: new Date(devices[0]?.received[0]?.at as number), data: { text: 'hello' }, read: false },
      ]);
      await two.notifications.notify(user, 'end');
      await waitFor(() => devices.every(({ received }) => received.length === 2), { message: 'the end' });
      expect(other.received).toEqual([]);
    });

    test('a user who was offline lists notifications newest first, and acknowledges them', async () => {
      const { notifications } = open();
      const user = fresh();
      const ids: string[] = [];
      for (const at of [1, 2, 3]) {
        const { id, delivered, online } = await notifications.notify(user, at);
        expect([delivered, online]).toEqual([0, false]);
        ids.push(id);
      }
      const first = await notifications.list(user);
      expect(first.notifications.map((each) => [each.id, each.data, each.read])).toEqual([
        [ids[2], 3, false],
        [ids[1], 2, false],
        [ids[0], 1, false],
      ]);
      expect(first).toMatchObject({
        more: false,
        unread: { count: 3, capped: false, complete: true },
        readUpTo: '0-0',
      });

      expect(await notifications.acknowledge(user, ids[1] as string)).toEqual({ readUpTo: ids[1] });
      const second = await notifications.list(user);
      expect(second.notifications.map((each) => each.read)).toEqual([false, true, true]);
      expect(second).toMatchObject({ unread: { count: 1 }, readUpTo: ids[1] });
      expect(await notifications.unread(user)).toEqual({ count: 1, capped: false, complete: true });
      await notifications.acknowledge(user, ids[2] as string);
      expect(await notifications.unread(user)).toEqual(NOBODY);
    });

    test('a device that reconnects receives missed notifications with its other missed messages', async () => {
      const server = open();
      const user = fresh();
      const before = await device(server, user);
      await server.notifications.notify(user, 1);
      await waitFor(() => before.received.length === 1);
      const since = before.socket.position as string;
      await before.socket.detach();
      await server.notifications.notify(user, 2);
      const after = await device(server, user, since);
      await waitFor(() => after.received.length === 1);
      expect(after.received.map((each) => each.data)).toEqual([2]);
    });

    test('an acknowledgement is sent to the other devices', async () => {
      const [one, two] = [open(), open()];
      const user = fresh();
      const [phone, laptop] = [await device(one, user), await device(two, user)];
      const { id } = await one.notifications.notify(user, 1);
      await one.notifications.acknowledge(user, id, { except: phone.socket.id });
      await waitFor(() => laptop.read.length === 1);
      expect(laptop.read).toEqual([id]);
      const { id: last } = await one.notifications.notify(user, 2);
      await two.notifications.acknowledge(user, last);
      await waitFor(() => phone.read.length === 1 && laptop.read.length === 2);
      expect(phone.read).toEqual([last]);
    });

    test('a read notification never becomes unread, in whatever order devices acknowledge', async () => {
      const servers = [open(), open()];
      const [one, two] = servers as [NotificationServer, NotificationServer];
      const user = fresh();
      const ids: string[] = [];
      for (const at of numbers(0, 8)) ids.push((await one.notifications.notify(user, at)).id);
      const watcher = await device(one, user);
      expect(await two.notifications.acknowledge(user, ids[3] as string)).toEqual({ readUpTo: ids[3] });
      expect(await one.notifications.acknowledge(user, ids[1] as string)).toEqual({ readUpTo: ids[3] });
      // All at one moment.
      await Promise.all(
        [6, 4, 5, 3, 6, 2].map((at) => servers[at % 2]?.notifications.acknowledge(user, ids[at] as string)),
      );
      for (const { notifications } of servers) {
        expect(await notifications.list(user)).toMatchObject({ readUpTo: ids[6], unread: { count: 1 } });
      }
      await one.notifications.acknowledge(user, ids[7] as string);
      await waitFor(() => watcher.read.includes(ids[7] as string));
      // An acknowledgement that changes nothing sends no event.
      expect(watcher.read).not.toContain(ids[1]);
      expect(watcher.read).not.toContain(ids[2]);
    });

    test.each([5, 11, 50])('%i acknowledgements at once, newest first, leave none unread', async (rows) => {
      const servers = [open(), open()];
      const user = fresh();
      const ids: string[] = [];
      for (const at of numbers(0, rows)) {
        ids.push((await (servers[0] as NotificationServer).notifications.notify(user, at)).id);
      }
      const newest = ids.at(-1) as string;
      const results = await Promise.all(
        ids.reverse().map((id, at) => servers[at % 2]?.notifications.acknowledge(user, id)),
      );
      expect(results).toContainEqual({ readUpTo: newest });
      for (const { notifications } of servers) {
        expect(await notifications.list(user)).toMatchObject({ readUpTo: newest, unread: NOBODY });
      }
      // Acknowledging older ones again, one by one, changes nothing either.
      for (const id of ids.slice(1, 12)) {
        expect(await servers[0]?.notifications.acknowledge(user, id)).toEqual({ readUpTo: newest });
      }
      expect(await servers[1]?.notifications.unread(user)).toEqual(NOBODY);
    });

    test('pages contain every notification once', async () => {
      const { notifications } = open({ notifications: { history: { size: 300, ttl: 60_000 } } });
      const user = fresh();
      await Promise.all(numbers(0, 250).map((at) => notifications.notify(user, at, { live: false })));
      const seen: number[] = [];
      const sizes: number[] = [];
      let before: string | undefined;
      for (let more = true; more; ) {
        const page = await notifications.list(user, { limit: 100, ...(before && { before }) });
        seen.push(...page.notifications.map((each) => each.data as number));
        sizes.push(page.notifications.length);
        expect(page.unread).toEqual({ count: 100, capped: true, complete: true });
        before = page.notifications.at(-1)?.id;
        more = page.more;
      }
      expect(sizes).toEqual([100, 100, 50]);
      expect(seen).toEqual(numbers(0, 250).reverse());
      expect((await notifications.list(user)).notifications).toHaveLength(50);
      await notifications.acknowledge(
        user,
        (await notifications.list(user, { limit: 8 })).notifications.at(-1)?.id as string,
      );
      expect(await notifications.unread(user)).toEqual({ count: 7, capped: false, complete: true });
    });

    test('the count is capped at the default size of the history', async () => {
      const { notifications } = open();
      const user = fresh();
      await Promise.all(numbers(0, 100).map((at) => notifications.notify(user, at, { live: false })));
      expect(await notifications.unread(user)).toEqual({ count: 100, capped: false, complete: true });
      await notifications.notify(user, 100, { live: false });
      expect(await notifications.unread(user)).toEqual({ count: 100, capped: true, complete: false });
    });

    test('the count is not complete when unread notifications are no longer stored', async () => {
      const { notifications } = open({ notifications: { history: { size: 10, ttl: 60_000 } } });
      const user = fresh();
      const send = async (count: number) => {
        let id = '';
        for (const at of numbers(0, count)) ({ id } = await notifications.notify(user, at, { live: false }));
        return id;
      };
      const first = await send(1);
      await send(24);
      const page = await notifications.list(user, { limit: 100 });
      expect(page.notifications).toHaveLength(10);
      expect(page).toMatchObject({ more: false, unread: { count: 10, capped: false, complete: false } });
      // It is gone, and nothing that is there is older.
      expect(await notifications.acknowledge(user, first)).toEqual({ readUpTo: '0-0' });
      await notifications.acknowledge(user, page.notifications[0]?.id as string);
      expect(await notifications.unread(user)).toEqual(NOBODY);
      await send(10);
      expect(await notifications.unread(user)).toEqual({ count: 10, capped: false, complete: true });
      await send(1);
      expect(await notifications.unread(user)).toEqual({ count: 10, capped: false, complete: false });
    });

    test('an idempotency key stores and sends repeated calls once', async () => {
      const [one, two] = [open(), open()];
      const user = fresh();
      const phone = await device(one, user);
      const first = await one.notifications.notify(user, 'paid', { idempotencyKey: 'order-1' });
      const again = await two.notifications.notify(user, 'paid', { idempotencyKey: 'order-1' });
      expect([first.duplicate, again.duplicate, again.delivered]).toEqual([false, true, 0]);
      expect(again.id).toBe(first.id);
      const many = await Promise.all(
        numbers(0, 6).map((at) =>
          [one, two][at % 2]?.notifications.notify(user, 'sent', { idempotencyKey: 'order-2' }),
        ),
      );
      expect(new Set(many.map((each) => each?.id)).size).toBe(1);
      expect(many.filter((each) => each?.duplicate === false)).toHaveLength(1);
      await one.notifications.notify(user, 'end');
      await waitFor(() => phone.received.some((each) => each.data === 'end'));
      expect(phone.received.map((each) => each.data)).toEqual(['paid', 'sent', 'end']);
      expect(await data(one, user)).toEqual(['end', 'sent', 'paid']);
    });

    test('a repeated call sends a notification that was stored but not sent', async () => {
      const [broken, sound] = [open(), open()];
      expected = ['ClosedError'];
      const user = fresh();
      const phone = await device(sound, user);
      await broken.rooms.close();
      const key = { idempotencyKey: 'k' };
      const first = await broken.notifications.notify(user, 1, key);
      expect(first).toMatchObject({ duplicate: false, delivered: 0 });
      expect(broken.errors[0]?.[1]).toEqual({ stage: 'peer' });
      expect(await sound.notifications.notify(user, 1, key)).toMatchObject({ duplicate: true, delivered: 1 });
      await waitFor(() => phone.received.length === 1);
      expect(phone.received[0]?.id).toBe(first.id);
    });

    test('rooms without history suffice to notify connected users', async () => {
      const server = open({ rooms: { history: false } });
      const user = fresh();
      const phone = await device(server, user);
      const key = { idempotencyKey: 'k' };
      const { id } = await server.notifications.notify(user, 1, key);
      await server.notifications.notify(user, 1, key);
      await waitFor(() => phone.received.length === 2);
      expect(phone.received.map((each) => each.id)).toEqual([id, id]);
      expect(await data(server, user)).toEqual([1]);
    });

    test('with live: false it is stored, and no socket receives it', async () => {
      const server = open();
      const user = fresh();
      const phone = await device(server, user);
      const quiet = await server.notifications.notify(user, 'quiet', { live: false });
      expect(quiet).toMatchObject({ delivered: 0, online: true });
      await server.notifications.notify(user, 'loud');
      await waitFor(() => phone.received.length > 0);
      expect(phone.received.map((each) => each.data)).toEqual(['loud']);
      expect(await data(server, user)).toEqual(['loud', 'quiet']);
    });

    test('online is true for a user with a socket, also an invisible one, and undefined without presence', async () => {
      const server = open();
      const user = fresh();
      const { socket } = await device(server, user);
      await server.presence.setStatus(user, 'invisible');
      expect((await server.notifications.notify(user, 1)).online).toBe(true);
      await socket.detach();
      expect((await server.notifications.notify(user, 1)).online).toBe(false);
      const rooms = new RoomService({ pubsub: server.pubsub });
      const without = new NotificationService({ rooms });
      expect((await without.notify(user, 1)).online).toBeUndefined();
    });

    test('users are independent, whatever their names are', async () => {
      const server = open();
      const users = ODD_NAMES.map((odd) => fresh(odd)).concat(ODD_NAMES);
      const before = await Promise.all(users.map((user) => server.notifications.list(user)));
      expect(before.every(({ notifications }) => notifications.length === 0)).toBe(true);
      const ids = await Promise.all(users.map((user) => server.notifications.notify(user, { for: user })));
      for (const [at, user] of users.entries()) {
        if (at % 2 === 0) await server.notifications.acknowledge(user, ids[at]?.id as string);
      }
      for (const [at, user] of users.entries()) {
        expect(await data(server, user)).toEqual([{ for: user }]);
        expect((await server.notifications.unread(user)).count, user).toBe(at % 2);
      }
    });

    test('only positions of stored notifications are marked, whatever id a client sends', async () => {
      const { notifications } = open();
      const user = fresh();
      const at = (id: string, by: number) => `${BigInt(id.split('-')[0] as string) + BigInt(by)}-7`;
      expect(await notifications.acknowledge(user, '9999999999999999-1')).toEqual({ readUpTo: '0-0' });
      const { id: one } = await notifications.notify(user, 1);
      const { id: two } = await notifications.notify(user, 2);
      expect(await notifications.acknowledge(user, at(one, -1))).toEqual({ readUpTo: '0-0' });
      expect(await notifications.acknowledge(user, '0-0')).toEqual({ readUpTo: '0-0' });
      expect(await notifications.acknowledge(user, at(two, -1))).toEqual({ readUpTo: one });
      expect(await notifications.acknowledge(user, '9999999999999999-1')).toEqual({ readUpTo: two });
      await notifications.notify(user, 3);
      expect(await notifications.unread(user)).toEqual({ count: 1, capped: false, complete: true });
    });

    test('sockets send requests, and receive JSON replies', async () => {
      const { notifications } = open();
      const requests = notifications.requestHandlers();
      const [userId, other] = [fresh(), fresh()];
      const ids: string[] = [];
      for (const at of [1, 2, 3]) ids.push((await notifications.notify(userId, at)).id);
      await notifications.notify(other, 'secret');
      const ask = async (method: string, content?: unknown) => {
        const answer = await requests[method]?.({ userId }, content);
        expect(JSON.parse(JSON.stringify(answer))).toEqual(answer);
        return answer;
      };
      const unread = { count: 3, capped: false, complete: true };
      expect(await ask('notifications.list', { limit: 2, userId: other })).toEqual({
        notifications: [
          { id: ids[2], at: expect.any(Number), data: 3, read: false },
          { id: ids[1], at: expect.any(Number), data: 2, read: false },
        ],
        unread,
        more: true,
        readUpTo: '0-0',
      });
      expect(await ask('notifications.list', { before: ids[1] })).toMatchObject({
        notifications: [{ data: 1 }],
        more: false,
      });
      expect(await ask('notifications.list', null)).toMatchObject({ unread });
      expect(await ask('notifications.unread')).toEqual(unread);
      expect(await ask('notifications.acknowledge', { id: ids[2] })).toEqual({ readUpTo: ids[2] });
      expect(await ask('notifications.unread', null)).toEqual(NOBODY);
      expect((await notifications.unread(other)).count).toBe(1);
    });

    test('after a wipe of Redis the list is empty, and new notifications are unread', async () => {
      const { notifications } = open();
      const user = fresh();
      const { id: lost } = await notifications.notify(user, 1);
      await notifications.acknowledge(user, lost);
      await fixture.flush();
      expect(await notifications.list(user)).toEqual({
        notifications: [],
        more: false,
        unread: NOBODY,
        readUpTo: '0-0',
      });
      expect(await notifications.acknowledge(user, lost)).toEqual({ readUpTo: '0-0' });
      const { id } = await notifications.notify(user, 2);
      expect((await notifications.unread(user)).count).toBe(1);
      expect(await notifications.acknowledge(user, id)).toEqual({ readUpTo: id });
      expect(await notifications.unread(user)).toEqual(NOBODY);
    });
  });
}
