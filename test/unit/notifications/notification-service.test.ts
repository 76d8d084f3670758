import { beforeEach, describe, expect, test } from 'vitest';
import { PubSubService, RoomService } from '../../../src/index.js';
import { NotificationService } from '../../../src/notifications/notification-service.js';
import { FakeDriver } from '../../support/fake-driver.js';

// Arguments that are rejected before any command is sent. test/shared/notifications-behaviour.ts tests the behaviour.

const ID = '1790000000000000-1';

let driver: FakeDriver;
let rooms: RoomService;
let notifications: NotificationService;

beforeEach(() => {
  driver = new FakeDriver();
  rooms = new RoomService({ pubsub: new PubSubService({ redis: driver, probeInterval: 0 }) });
  notifications = new NotificationService({ rooms });
});

/** Checks that `call` rejects because of `argument`, and that no command is sent. */
async function expectRejected(call: Promise<unknown> | undefined, argument: string): Promise<void> {
  await expect(call).rejects.toMatchObject({ name: 'InvalidArgumentError', argument });
  expect(driver.calls).toEqual([]);
}

describe('options', () => {
  test.each([
    [undefined, 'rooms'],
    [{}, 'rooms'],
    [{ rooms: {} }, 'rooms'],
    [{ history: 1 }, 'history'],
    [{ history: { size: 0, ttl: 1 } }, 'history.size'],
    [{ history: { size: 1 } }, 'history.ttl'],
    [{ history: { size: 1, ttl: 1_000, positionTtl: 999 } }, 'history.positionTtl'],
    [{ onError: 1 }, 'onError'],
  ])('%j', (options, argument) => {
    const given =
      options === undefined || Object.keys(options).length === 0 ? options : { rooms, ...options };
    expect(() => new NotificationService(given as never)).toThrow(
      expect.objectContaining({ name: 'InvalidArgumentError', argument }),
    );
  });
});

test.each([
  ['', 1, {}, 'userId'],
  [7, 1, {}, 'userId'],
  ['\ud800', 1, {}, 'userId'],
  // This user id makes the name of the channel too long.
  ['x'.repeat(500), 1, {}, 'userId'],
  [':'.repeat(200), 1, {}, 'userId'],
  ['ann', undefined, {}, 'notification'],
  ['ann', 1n, {}, 'notification'],
  ['ann', () => {}, {}, 'notification'],
  ['ann', 1, 1, 'options'],
  ['ann', 1, { live: 1 }, 'live'],
  ['ann', 1, { idempotencyKey: '' }, 'idempotencyKey'],
  ['ann', 1, { idempotencyKey: 'x'.repeat(513) }, 'idempotencyKey'],
])('notify rejects invalid arguments (%#)', (user, notification, options, argument) =>
  expectRejected(notifications.notify(user as never, notification as never, options as never), argument),
);

test.each([
  ['', {}, 'userId'],
  ['ann', 1, 'options'],
  ['ann', { before: 'yesterday' }, 'before'],
  ['ann', { before: 5 }, 'before'],
  ['ann', { limit: 0 }, 'limit'],
  ['ann', { limit: 1_001 }, 'limit'],
  ['ann', { limit: 1.5 }, 'limit'],
])('list rejects invalid arguments (%#)', (user, options, argument) =>
  expectRejected(notifications.list(user, options as never), argument),
);

test('unread rejects an empty user id', () => expectRejected(notifications.unread(''), 'userId'));

test.each([
  ['', ID, {}, 'userId'],
  ['ann', undefined, {}, 'id'],
  ['ann', 'latest', {}, 'id'],
  ['ann', `${ID}\n`, {}, 'id'],
  ['ann', ID, 1, 'options'],
  ['ann', ID, { except: '' }, 'except'],
])('acknowledge rejects invalid arguments (%#)', (user, id, options, argument) =>
  expectRejected(notifications.acknowledge(user, id as never, options as never), argument),
);

describe('requests', () => {
  test.each([
    ['notifications.list', 'all', 'data'],
    ['notifications.list', [], 'data'],
    ['notifications.list', { before: {} }, 'before'],
    ['notifications.list', { before: null }, 'before'],
    ['notifications.list', { limit: '5' }, 'limit'],
    ['notifications.list', { limit: -1 }, 'limit'],
    // The limit of clients is lower than the limit of the service.
    ['notifications.list', { limit: 101 }, 'limit'],
    ['notifications.acknowledge', undefined, 'data'],
    ['notifications.acknowledge', null, 'data'],
    ['notifications.acknowledge', ID, 'data'],
    ['notifications.acknowledge', {}, 'id'],
    ['notifications.acknowledge', { id: { toString: () => ID } }, 'id'],
  ])('the request %s rejects %j', (method, data, argument) =>
    expectRejected(notifications.requestHandlers()[method]?.({ userId: 'ann' }, data), argument),
  );

  test('there are exactly three requests', () => {
    expect(Object.keys(notifications.requestHandlers())).toEqual([
      'notifications.list',
      'notifications.unread',
      'notifications.acknowledge',
    ]);
  });

  test('an acknowledge request sends no event to the requesting socket', async () => {
    const calls: unknown[][] = [];
    notifications.acknowledge = async (...args) => {
      calls.push(args);
      return { readUpTo: ID };
    };
    const { 'notifications.acknowledge': acknowledge } = notifications.requestHandlers();
    await acknowledge({ userId: 'ann', id: 's1' }, { id: ID });
    await acknowledge({ userId: 'ann' }, { id: ID });
    expect(calls).toEqual([
      ['ann', ID, { except: 's1' }],
      ['ann', ID, {}],
    ]);
  });
});
