import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PresenceService } from 'rollcall';
import {
  type ChaosDriver,
  createChaosDriver,
  createEmbeddedRedis,
  type EmbeddedRedis,
} from 'rollcall/testing';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

// The servers of docs/rest-lookups.md through an HTTP client.

/** Starts an example's app on a free port. */
type Start = (presence: PresenceService) => Promise<{ url: string; stop: () => Promise<unknown> }>;

async function example(name: string): Promise<{ createApp(presence: PresenceService): unknown }> {
  return await import(`../../examples/${name}/app.js`);
}

interface FastifyApp {
  listen(options: { port: number; host: string }): Promise<string>;
  close(): Promise<void>;
}

const frameworks: Record<string, Start> = {
  'rest-express': async (presence) => {
    const { createApp } = await example('rest-express');
    const server: Server = createServer(createApp(presence) as RequestListener);
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return {
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      stop: async () => {
        server.closeAllConnections();
        await once(server.close(), 'close');
      },
    };
  },
  'rest-fastify': async (presence) => {
    const { createApp } = await example('rest-fastify');
    const app = createApp(presence) as FastifyApp;
    return { url: await app.listen({ port: 0, host: '127.0.0.1' }), stop: () => app.close() };
  },
};

describe.each(Object.entries(frameworks))('examples/%s', (_name, start) => {
  let redis: EmbeddedRedis;
  let owner: PresenceService;
  let reader: PresenceService;
  let chaos: ChaosDriver;
  let app: Awaited<ReturnType<Start>>;

  beforeEach(async () => {
    redis = await createEmbeddedRedis();
    owner = new PresenceService({ redis: redis.connect() });
    chaos = createChaosDriver(redis.connect());
    reader = new PresenceService({ redis: chaos, timeout: 200 });
    app = await start(reader);
  });

  afterEach(async () => {
    vi.restoreAllMocks();
    await app.stop();
    await reader.close();
    await owner.close();
    await redis.close();
  });

  async function get(path: string): Promise<[status: number, body: unknown, headers: Headers]> {
    const response = await fetch(app.url + path);
    return [response.status, await response.json(), response.headers];
  }

  async function post(body: string): Promise<[status: number, body: unknown]> {
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(`${app.url}/presence`, { method: 'POST', headers, body });
    return [response.status, await response.json()];
  }

  test('1,000 users are returned in the requested order, known or unknown', async () => {
    const ids = Array.from({ length: 1_000 }, (_, at) => `user-${at}`);
    await Promise.all(
      ids.filter((_, at) => at % 2 === 0).map((id) => owner.setPresence(id, 'socket', 'busy')),
    );
    const [status, body] = await post(JSON.stringify({ ids }));
    expect(status).toBe(200);
    const { users } = body as { users: { userId: string; status: string; lastSeen: string | null }[] };
    expect(users.map(({ userId }) => userId)).toEqual(ids);
    expect(users.map((user) => user.status)).toEqual(ids.map((_, at) => (at % 2 === 0 ? 'busy' : 'offline')));
    expect(users[1]?.lastSeen).toBeNull();
    expect(new Date(users[0]?.lastSeen as string).getTime()).toBeGreaterThan(0);
  });

  test('a query has one or many ids, with any characters', async () => {
    await owner.setPresence('__proto__', 'socket');
    await owner.setPresence('ann & bob', 'socket', 'away', { secret: 1 });
    const lastSeen = expect.any(String);
    const [, one, headers] = await get('/presence?id=__proto__');
    expect(one).toEqual({ users: [{ userId: '__proto__', status: 'online', lastSeen }] });
    expect(headers.get('cache-control')).toBe('no-store');
    const [, two] = await get(`/presence?id=${encodeURIComponent('ann & bob')}&id=nobody`);
    expect(two).toEqual({
      users: [
        { userId: 'ann & bob', status: 'away', lastSeen },
        { userId: 'nobody', status: 'offline', lastSeen: null },
      ],
    });
  });

  test('1,000 ids in the query are all returned, also after other parameters', async () => {
    const query = Array.from({ length: 1_000 }, (_, at) => `id=${at}`).join('&');
    const [status, body] = await get(`/presence?${'x&'.repeat(500)}${query}`);
    expect(status).toBe(200);
    expect((body as { users: unknown[] }).users).toHaveLength(1_000);
  });

  test('counts are returned', async () => {
    await owner.setPresence('ann', 'socket');
    expect((await get('/presence/count'))[1]).toEqual({ online: 1 });
  });

  const manyInQuery = Array.from({ length: 1_200 }, (_, at) => `id=${at}`).join('&');
  const many = JSON.stringify({ ids: Array.from({ length: 1_001 }, (_, at) => `user-${at}`) });
  test.each([
    ['no ids', () => get('/presence')],
    ['an empty id', () => get('/presence?id=')],
    [
      'an id over 512 bytes in fewer characters',
      () => get(`/presence?id=${encodeURIComponent('é'.repeat(300))}`),
    ],
    ['an empty list', () => post('{"ids":[]}')],
    ['a list that is none', () => post('{"ids":{"length":1}}')],
    ['an id that is an object', () => post('{"ids":[{}]}')],
    ['a list with a number', () => post('{"ids":["ann",1]}')],
    ['a list with null', () => post('{"ids":["ann",null]}')],
    ['a string instead of a list', () => post('{"ids":"ann"}')],
    ['too many ids', () => post(many)],
    ['too many ids in a query', () => get(`/presence?${manyInQuery}`)],
    ['too many ids behind other parameters', () => get(`/presence?${'x&'.repeat(500)}${manyInQuery}`)],
    ['no body', () => post('{}')],
    ['a body that is no JSON', () => post('{')],
  ])('the server responds 400 to %s', async (_what, ask) => {
    const [status, body] = await ask();
    expect(status).toBe(400);
    expect(body).toMatchObject({ error: expect.stringMatching(/^(BAD_REQUEST|ERR_INVALID_ARGUMENT)$/) });
  });

  test('the server responds 503 while Redis is unavailable, and recovers', async () => {
    await owner.setPresence('ann', 'socket');
    expect((await get('/presence?id=ann'))[0]).toBe(200);
    chaos.cut();
    const [status, body, headers] = await get('/presence?id=ann');
    expect(status).toBe(503);
    expect(body).toEqual({ error: 'ERR_TIMEOUT' });
    expect(headers.get('retry-after')).toBe('1');
    chaos.restore();
    expect((await get('/presence?id=ann'))[0]).toBe(200);
  });

  test('the server responds 503 after its presence service is closed', async () => {
    await reader.close();
    const [status, body] = await get('/presence?id=ann');
    expect([status, body]).toEqual([503, { error: 'ERR_CLOSED' }]);
  });

  test('unexpected errors are not revealed', async () => {
    const logged = vi.spyOn(console, 'error').mockImplementation(() => {});
    vi.spyOn(reader, 'getMultiplePresence').mockRejectedValue(new Error('the password is 1234'));
    const [status, body] = await get('/presence?id=ann');
    expect([status, body]).toEqual([500, { error: 'INTERNAL' }]);
    expect(logged).toHaveBeenCalledOnce();
  });
});
