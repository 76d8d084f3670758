// @ts-check
import { once } from 'node:events';
import { createChaosDriver, createEmbeddedRedis } from 'rollcall/testing';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { WebSocket } from 'ws';
import { startServer } from './server.js';

// Short, so that a crash is detected within a second or two. Defaults: 30 s and 1 s.
const presence = { lease: 500, sweepInterval: 50 };

/** @type {Awaited<ReturnType<typeof createEmbeddedRedis>>} */
let redis;
/** @type {(() => unknown)[]} */
let cleanups;

beforeEach(async () => {
  redis = await createEmbeddedRedis();
  cleanups = [];
});

afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
  await redis.close();
});

/** Starts a server on a Redis client of its own, as in a process of its own. */
async function start(client = /** @type {import('rollcall').RedisClient} */ (redis.connect())) {
  const server = await startServer({ redis: client, presence });
  cleanups.push(() => server.stop());
  return server;
}

/**
 * A user's connection, with all messages it has received.
 *
 * @param {{ url: string }} server
 * @param {string} user
 */
async function join(server, user) {
  const ws = new WebSocket(`${server.url}/?user=${user}`);
  cleanups.push(() => ws.terminate());
  /** @type {unknown[]} */
  const received = [];
  ws.on('message', (data) => received.push(JSON.parse(String(data))));
  await once(ws, 'open');
  return {
    received,
    /** @param {object} message */
    send: (message) => ws.send(JSON.stringify(message)),
    close: async () => {
      ws.close();
      await once(ws, 'close');
    },
  };
}

/** Waits until `check` passes, never for a fixed time. */
const eventually = (/** @type {() => void} */ check) => vi.waitFor(check, { timeout: 5_000, interval: 10 });

test('a message sent to one server reaches clients of the other', async () => {
  const ann = await join(await start(), 'ann');
  const bob = await join(await start(), 'bob');
  ann.send({ text: 'hello' });
  await eventually(() => expect(bob.received).toContainEqual({ from: 'ann', text: 'hello' }));
});

test('a user with two tabs is offline after the second tab closes', async () => {
  const bob = await join(await start(), 'bob');
  const server = await start();
  const tabs = [await join(server, 'ann'), await join(server, 'ann')];
  await eventually(() => expect(bob.received).toContainEqual({ userId: 'ann', status: 'online' }));

  await tabs[0]?.close();
  tabs[1]?.send({ status: 'busy' });
  await eventually(() => expect(bob.received).toContainEqual({ userId: 'ann', status: 'busy' }));
  await tabs[1]?.close();
  await eventually(() => expect(bob.received.at(-1)).toEqual({ userId: 'ann', status: 'offline' }));

  // One message per status change, and none for the tab that closed first.
  const ann = bob.received.filter((/** @type {any} */ { userId }) => userId === 'ann');
  expect(ann.map((/** @type {any} */ { status }) => status)).toEqual(['online', 'busy', 'offline']);
});

test('users of a crashed server are reported offline', async () => {
  const chaos = createChaosDriver(redis.connect());
  const ann = await join(await start(chaos), 'ann');
  const bob = await join(await start(), 'bob');
  ann.send({ status: 'away' });
  await eventually(() => expect(bob.received).toContainEqual({ userId: 'ann', status: 'away' }));

  // A server that stays cut off looks like a crash to all others.
  chaos.cut();
  await eventually(() => expect(bob.received).toContainEqual({ userId: 'ann', status: 'offline' }));
});

test('a server that was cut off restores its users', async () => {
  const chaos = createChaosDriver(redis.connect());
  await join(await start(chaos), 'ann');
  const bob = await join(await start(), 'bob');
  chaos.cut();
  await eventually(() => expect(bob.received).toContainEqual({ userId: 'ann', status: 'offline' }));

  chaos.restore();
  await eventually(() => expect(bob.received.at(-1)).toEqual({ userId: 'ann', status: 'online' }));
});

test('no user is reported offline during a deploy', async () => {
  const bob = await join(await start(), 'bob');
  const old = await start();
  await join(old, 'ann');
  await eventually(() => expect(bob.received).toContainEqual({ userId: 'ann', status: 'online' }));

  await old.stop({ handoff: true });
  const again = await join(await start(), 'ann');
  again.send({ text: 'back' });
  await eventually(() => expect(bob.received).toContainEqual({ from: 'ann', text: 'back' }));
  expect(bob.received).not.toContainEqual({ userId: 'ann', status: 'offline' });
});
