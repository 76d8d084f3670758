import type { AddressInfo } from 'node:net';
import type { INestApplication } from '@nestjs/common';
import { createClient } from 'redis';
import { createRollcall, type RedisClient } from 'rollcall';
import { type Client, connect } from 'rollcall/client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { type FaultyProxy, startFaultyProxy } from '../support/tcp-proxy.js';
import { waitFor } from '../support/wait.js';

// The example of docs/nestjs.md on a real Redis, and what its users see when its connection to Redis is lost.

let cleanUps: (() => unknown)[] = [];
let server: RedisServer;
let proxy: FaultyProxy;
let app: INestApplication;

beforeEach(async () => {
  const { createApp } = (await import(`../../examples/nestjs/${'app.ts'}`)) as unknown as {
    createApp(redis: () => RedisClient, options: { onError: null }): Promise<INestApplication>;
  };
  server = await startRedis();
  cleanUps = [() => server.stop()];
  proxy = await startFaultyProxy(server.port);
  cleanUps.push(() => proxy.stop());
  app = await createApp(() => openClient(proxy.port), { onError: null });
  app.useLogger(false);
  await app.listen(0, '127.0.0.1');
  cleanUps.push(() => app.close());
});

afterEach(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp();
});

function openClient(port: number) {
  const client = createClient({ socket: { host: '127.0.0.1', port, reconnectStrategy: 20 } });
  client.on('error', () => {});
  return client;
}

async function open(user: string): Promise<Client> {
  const { port } = app.getHttpServer().address() as AddressInfo;
  const client = connect({ url: `ws://127.0.0.1:${port}/ws?user=${user}`, WebSocket });
  cleanUps.push(() => client.close());
  await waitFor(() => client.state === 'open');
  return client;
}

async function read(path: string): Promise<unknown> {
  const { port } = app.getHttpServer().address() as AddressInfo;
  return (await fetch(`http://127.0.0.1:${port}/${path}`)).json();
}

test('the example: requests of gateways, presence in a controller, health', async () => {
  const ada = await open('ada');
  const bob = await open('bob');
  const announced: unknown[] = [];
  const room = bob.join('a');
  room.on('announcement', (data) => announced.push(data));
  await room.ready;
  await expect(ada.request('announce', { room: 'a', text: 'hi' })).rejects.toMatchObject({
    code: 'NOT_JOINED',
  });
  await ada.join('a').ready;
  expect(await ada.request('announce', { room: 'a', text: 'hi' })).toEqual({ position: expect.any(String) });
  await waitFor(() => announced.length === 1);
  expect(announced).toEqual([{ text: 'hi', status: 'online' }]);
  expect(await read('online')).toEqual({ users: 2 });
  expect(await read('health')).toEqual({ redis: { status: 'up' } });
});

test('a connection to Redis lost in mid-stream: users stay connected and receive every event once, in order', async () => {
  const redis = openClient(server.port);
  const other = createRollcall({ redis, onError: null, rooms: { history: { size: 1_000, ttl: 3_600_000 } } });
  cleanUps.push(
    () => redis.destroy(),
    () => other.close(),
  );
  const client = await open('ada');
  const states: string[] = [];
  client.on('state', (state) => states.push(state));
  const numbers: unknown[] = [];
  const discontinuities: unknown[] = [];
  const room = client.join('a');
  room.on('number', (data) => numbers.push(data));
  client.on('discontinuity', (each) => discontinuities.push(each));
  await room.ready;
  const publish = (number: number) => other.rooms.broadcast('a', 'number', number);

  await publish(1);
  await waitFor(() => numbers.length === 1);
  proxy.cut();
  for (const number of [2, 3, 4]) await publish(number);
  expect(await read('health')).toEqual({ redis: { status: 'down', message: expect.any(String) } });
  // The request is answered within the deadline of the services, and tells the client that it may try again.
  await expect(client.request('announce', { room: 'a', text: 'lost' })).rejects.toMatchObject({
    code: 'UNAVAILABLE',
    retryAfter: 1_000,
  });
  expect(numbers).toEqual([1]);
  proxy.restore();
  await publish(5);
  await waitFor(() => numbers.length === 5);
  expect(numbers).toEqual([1, 2, 3, 4, 5]);
  // The user's own events: the gap is reported with the result that none is missing.
  expect(discontinuities.length).toBeGreaterThan(0);
  for (const each of discontinuities) expect(each).toMatchObject({ recovered: true });
  expect(states).toEqual([]);
  await waitFor(async () => JSON.stringify(await read('health')) === '{"redis":{"status":"up"}}');
});
