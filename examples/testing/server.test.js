// @ts-check
import { once } from 'node:events';
import { createChaosDriver, createEmbeddedRedis } from 'rollcall/testing';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { WebSocket } from 'ws';
import { startServer } from './server.js';

// Short, so that a crash is seen within a second or two. Defaults: 30 s and 1 s.
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

/** A server as one process of yours would run it: on a client of its own. */
async function start(client = /** @type {import('rollcall').RedisClient} */ (redis.connect())) {
  const server = await startServer({ redis: client, presence });
  cleanups.push(() => server.stop());
  return server;
}

/**
 * Somebody with a browser, and all that it was told.
 *
 * @param {{ url: string }} server
 * @param {string} user
 */
async function join(server, user) {
  const ws = new WebSocket(`${server.url}/?user=${user}`);
  cleanups.push(() => ws.terminate());
  /** @type {unknown[]} */
  const told = [];
  ws.on('message', (data) => told.push(JSON.parse(String(data))));
  await once(ws, 'open');
  return {
    told,
    /** @param {object} message */
    say: (message) => ws.send(JSON.stringify(message)),
    leave: async () => {
      ws.close();
      await once(ws, 'close');
    },
  };
}

/** Waits for what must come to pass; never for a fixed time. */
const eventually = (/** @type {() => void} */ check) => vi.waitFor(check, { timeout: 5_000, interval: 10 });

test('what is said at one server is heard at the other', async () => {
  const ann = await join(await start(), 'ann');
  const bob = await join(await start(), 'bob');
  ann.say({ text: 'hello' });
  await eventually(() => expect(bob.told).toContainEqual({ from: 'ann', text: 'hello' }));
});

test('a user with two tabs is offline when the second one closes', async () => {
  const bob = await join(await start(), 'bob');
  const server = await start();
  const tabs = [await join(server, 'ann'), await join(server, 'ann')];
  await eventually(() => expect(bob.told).toContainEqual({ userId: 'ann', status: 'online' }));

  await tabs[0]?.leave();
  tabs[1]?.say({ status: 'busy' });
  await eventually(() => expect(bob.told).toContainEqual({ userId: 'ann', status: 'busy' }));
  await tabs[1]?.leave();
  await eventually(() => expect(bob.told.at(-1)).toEqual({ userId: 'ann', status: 'offline' }));

  // One message per change of her status, and none for the tab that closed first.
  const ann = bob.told.filter((/** @type {any} */ { userId }) => userId === 'ann');
  expect(ann.map((/** @type {any} */ { status }) => status)).toEqual(['online', 'busy', 'offline']);
});

test('the users of a server that died are offline soon', async () => {
  const chaos = createChaosDriver(redis.connect());
  const ann = await join(await start(chaos), 'ann');
  const bob = await join(await start(), 'bob');
  ann.say({ status: 'away' });
  await eventually(() => expect(bob.told).toContainEqual({ userId: 'ann', status: 'away' }));

  // Cut off for good: to everybody else that is a crash.
  chaos.cut();
  await eventually(() => expect(bob.told).toContainEqual({ userId: 'ann', status: 'offline' }));
});

test('a server that was cut off comes back with its users', async () => {
  const chaos = createChaosDriver(redis.connect());
  await join(await start(chaos), 'ann');
  const bob = await join(await start(), 'bob');
  chaos.cut();
  await eventually(() => expect(bob.told).toContainEqual({ userId: 'ann', status: 'offline' }));

  chaos.restore();
  await eventually(() => expect(bob.told.at(-1)).toEqual({ userId: 'ann', status: 'online' }));
});

test('nobody is offline during a deploy', async () => {
  const bob = await join(await start(), 'bob');
  const old = await start();
  await join(old, 'ann');
  await eventually(() => expect(bob.told).toContainEqual({ userId: 'ann', status: 'online' }));

  await old.stop({ handoff: true });
  const again = await join(await start(), 'ann');
  again.say({ text: 'back' });
  await eventually(() => expect(bob.told).toContainEqual({ from: 'ann', text: 'back' }));
  expect(bob.told).not.toContainEqual({ userId: 'ann', status: 'offline' });
});
