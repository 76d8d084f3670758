import type { RedisClient } from 'rollcall';
import type { Client, Room } from 'rollcall/client';
import { createEmbeddedRedis, type EmbeddedRedis } from 'rollcall/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { waitFor } from '../support/wait.js';

// The six steps of docs/tutorial.md, on the embedded Redis.

type Main = (options: {
  createRedis(): RedisClient;
  log(line: string): void;
  ports: readonly number[];
}) => Promise<(() => Promise<void>) | undefined>;

async function load<T>(file: string): Promise<T> {
  return (await import(new URL(`../../examples/tutorial/${file}`, import.meta.url).href)) as T;
}

let redis: EmbeddedRedis;
let lines: string[];
let stop: (() => Promise<void>) | undefined;
let clients: Client[];

beforeEach(async () => {
  redis = await createEmbeddedRedis();
  lines = [];
  clients = [];
});

afterEach(async () => {
  for (const client of clients) client.close();
  await stop?.();
  stop = undefined;
  await redis.close();
});

/** Runs a step, and returns the URLs that it has logged. */
async function run(step: number): Promise<string[]> {
  const { main } = await load<{ main: Main }>(`${step}/main.js`);
  stop = await main({ createRedis: () => redis.connect(), log: (line) => lines.push(line), ports: [0, 0] });
  return lines.flatMap((line) => /http:\/\/127\.0\.0\.1:\d+/.exec(line) ?? []);
}

async function cookieOf(user: string): Promise<string> {
  const { createCookie } = await load<{ createCookie(user: string): string }>('session.js');
  return createCookie(user);
}

async function connectAs(user: string, url: string): Promise<Client> {
  const { connectWithCookie } = await load<{ connectWithCookie(url: string, cookie: string): Client }>(
    '4/client.js',
  );
  const client = connectWithCookie(url, await cookieOf(user));
  clients.push(client);
  return client;
}

test('step 1: a user is online from the first socket to the last', async () => {
  await run(1);
  // Events arrive on a connection of their own: their order to results of calls is not fixed.
  expect(lines).toContain('ann is busy on 2 devices');
  expect(lines.filter((line) => line.includes('->'))).toEqual([
    'ann: offline -> online',
    'ann: online -> busy',
    'ann: busy -> online',
    'ann: online -> offline',
  ]);
});

test('step 2: each of two servers knows who is connected to the other', async () => {
  const [first, second] = await run(2);
  const online = async (url: string | undefined) => await (await fetch(`${url}/`)).json();
  const socket = new WebSocket(String(first).replace('http', 'ws'), {
    headers: { cookie: await cookieOf('ann') },
  });
  await waitFor(async () => JSON.stringify(await online(second)) === '["ann"]');
  const stranger = new WebSocket(String(first).replace('http', 'ws'), {
    headers: { cookie: (await cookieOf('ann')).replace('ann', 'bob') },
  });
  const code = await new Promise((resolve) => stranger.on('close', resolve));
  expect(code).toBe(4401);
  socket.close();
  await waitFor(async () => JSON.stringify(await online(second)) === '[]');
});

test('step 3: members and messages of a room, on both servers, and the past for whoever comes later', async () => {
  const [first = '', second = ''] = await run(3);
  const ann = (await connectAs('ann', first)).join<{ message: { text: string } }>('lobby', { members: true });
  const bobs: [from: string | undefined, text: string][] = [];
  await ann.ready;
  await ann.send('message', { text: 'before' });
  const bob: Room<{ message: { text: string } }> = (await connectAs('bob', second)).join('lobby', {
    last: 50,
  });
  bob.on('message', ({ text }, { from }) => bobs.push([from, text]));
  await bob.ready;
  await ann.send('message', { text: 'hello' });
  await waitFor(() => bobs.length === 2);
  expect(bobs).toEqual([
    ['ann', 'before'],
    ['ann', 'hello'],
  ]);
  await waitFor(() => ann.members.has('ann') && ann.members.has('bob'));
  await expect(ann.send('message', { text: 7 } as never)).rejects.toMatchObject({ code: 'FORBIDDEN' });
  await expect((await connectAs('eve', first)).join('secret').ready).rejects.toMatchObject({
    code: 'FORBIDDEN',
  });
  for (const path of ['/', '/page.js']) expect((await fetch(first + path)).status, path).toBe(200);
  const signedIn = await fetch(`${first}/sign-in?name=ann`, { redirect: 'manual' });
  expect(signedIn.headers.get('set-cookie')).toContain(await cookieOf('ann'));
});

test('step 4: connections that are cut lose and double nothing', async () => {
  await run(4);
  expect(lines).toEqual(['cut 4 times: sent 20, lost 0, doubled 0, gaps 0']);
});

test('step 5: a deploy shows no user offline', async () => {
  await run(5);
  expect(lines.slice(0, 2)).toEqual(['ann: offline -> online', 'after the deploy ann is online on 1 device']);
  expect(lines.filter((line) => line.includes('-> offline')).length).toBeLessThanOrEqual(1);
});

test('step 6: statuses over HTTP, for signed-in users', async () => {
  const [chat = '', api = ''] = await run(6);
  const { ready } = (await connectAs('ann', chat)).join('lobby');
  await ready;
  const get = async (query: string, cookie?: string) => {
    const response = await fetch(`${api}/presence${query}`, {
      headers: { connection: 'close', ...(cookie ? { cookie } : {}) },
    });
    return [response.status, await response.json()];
  };
  const bob = await cookieOf('bob');
  expect(await get('?id=ann&id=bob', bob)).toEqual([
    200,
    [
      { userId: 'ann', status: 'online' },
      { userId: 'bob', status: 'offline' },
    ],
  ]);
  expect(await get('?id=ann')).toEqual([401, { error: 'sign in first' }]);
  expect((await get('', bob))[0]).toBe(400);
  expect((await get('?id=', bob))[0]).toBe(400);
});
