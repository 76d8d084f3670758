import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PresenceService } from 'rollcall';
import { createChaosDriver, createEmbeddedRedis, type EmbeddedRedis } from 'rollcall/testing';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

// The examples of docs/serverless.md, with events and requests as API Gateway and devices send them.

async function load(path: string): Promise<Record<string, unknown>> {
  return await import(`../../examples/${path}`);
}

let redis: EmbeddedRedis;
let reader: PresenceService;

beforeEach(async () => {
  redis = await createEmbeddedRedis();
  reader = new PresenceService({ redis: redis.connect() });
});

afterEach(async () => {
  await reader.close();
  await redis.close();
});

/** An event of a WebSocket API, with the fields that API Gateway documents. */
function webSocketEvent(
  eventType: 'CONNECT' | 'MESSAGE' | 'DISCONNECT',
  routeKey: string,
  rest: { body?: string; userId?: string } = {},
): unknown {
  const { body, userId = 'ann' } = rest;
  const shared = { isBase64Encoded: false, ...(body === undefined ? {} : { body }) };
  return {
    ...(eventType === 'CONNECT' ? { headers: { Host: 'abc.execute-api.eu-central-1.amazonaws.com' } } : {}),
    requestContext: {
      routeKey,
      eventType,
      messageId: eventType === 'MESSAGE' ? 'WlWmkdvOjoECHlQ=' : null,
      disconnectStatusCode: eventType === 'DISCONNECT' ? 1001 : null,
      disconnectReason: eventType === 'DISCONNECT' ? 'Going away' : null,
      extendedRequestId: 'WlWmkFvujoEFbhg=',
      requestTime: '13/Dec/2025:10:17:47 +0000',
      messageDirection: 'IN',
      stage: 'prod',
      connectedAt: 1_765_621_067_185,
      requestTimeEpoch: 1_765_621_067_186,
      identity: { sourceIp: '203.0.113.7' },
      requestId: 'WlWmkFvujoEFbhg=',
      domainName: 'abc.execute-api.eu-central-1.amazonaws.com',
      connectionId: 'WlWmjejsjoECHlQ=',
      apiId: 'abc',
      ...(userId === '' ? {} : { authorizer: { principalId: userId, userId, integrationLatency: 12 } }),
    },
    ...shared,
  };
}

describe('examples/lambda-websocket', () => {
  type Handler = (event: unknown) => Promise<{ statusCode: number }>;
  type Create = (presence: PresenceService) => Handler;

  const statusOf = async (user: string) => (await reader.getPresence(user))?.status;

  test('a connection from its start to its end, each event in an instance of its own', async () => {
    const { createHandler, TTL } = await load('lambda-websocket/presence.js');
    // A new instance for each event: the worst case.
    const run = (event: unknown) => {
      const presence = new PresenceService({
        redis: redis.connect(),
        background: false,
        socketTtl: TTL as number,
      });
      return (createHandler as Create)(presence)(event);
    };
    expect(await run(webSocketEvent('CONNECT', '$connect'))).toEqual({ statusCode: 200 });
    expect((await reader.getPresence('ann'))?.sockets).toMatchObject([{ socketId: 'WlWmjejsjoECHlQ=' }]);
    const away = webSocketEvent('MESSAGE', 'status', { body: '{"action":"status","status":"away"}' });
    expect(await run(away)).toEqual({ statusCode: 200 });
    expect(await statusOf('ann')).toBe('away');
    const beat = webSocketEvent('MESSAGE', 'heartbeat', { body: '{"action":"heartbeat"}' });
    expect(await run(beat)).toEqual({ statusCode: 200 });
    expect(await statusOf('ann')).toBe('away');
    expect(await run(webSocketEvent('DISCONNECT', '$disconnect'))).toEqual({ statusCode: 200 });
    expect(await statusOf('ann')).toBe('offline');
    // Redis lost the socket, or the heartbeat came too late.
    expect(await run(beat)).toEqual({ statusCode: 200 });
    expect(await statusOf('ann')).toBe('online');
  });

  test('wrong events and an unavailable Redis are answered', async () => {
    const { createHandler } = await load('lambda-websocket/presence.js');
    const chaos = createChaosDriver(redis.connect());
    const presence = new PresenceService({
      redis: chaos,
      background: false,
      socketTtl: 60_000,
      timeout: 100,
    });
    const handler = (createHandler as Create)(presence);
    const connect = webSocketEvent('CONNECT', '$connect', { userId: '' });
    expect(await handler(connect)).toEqual({ statusCode: 401 });
    for (const body of ['{', '{"status":"offline"}', '{"status":7}']) {
      const event = webSocketEvent('MESSAGE', 'status', { body });
      expect(await handler(event), body).toEqual({ statusCode: 400 });
    }
    const log = vi.spyOn(console, 'error').mockImplementation(() => {});
    await chaos.cut();
    expect(await handler(webSocketEvent('CONNECT', '$connect'))).toEqual({ statusCode: 503 });
    log.mockRestore();
    await presence.close();
  });
});

type Authenticate = (request: { headers: unknown }) => string | undefined;

const apps: Record<string, (presence: PresenceService) => Promise<{ url: string; stop: () => void }>> = {
  'heartbeats-express': async (presence) => {
    const { createApp } = await load('heartbeats-express/app.js');
    const authenticate: Authenticate = ({ headers }) => (headers as { 'x-user'?: string })['x-user'];
    const app = (createApp as (...given: unknown[]) => RequestListener)(presence, authenticate);
    const server = createServer(app);
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return {
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      stop: () => {
        server.closeAllConnections();
        server.close();
      },
    };
  },
  'heartbeats-hono': async (presence) => {
    const { serve } = await import('@hono/node-server');
    const { createApp } = await load('heartbeats-hono/app.js');
    const authenticate: Authenticate = ({ headers }) => (headers as Headers).get('x-user') ?? undefined;
    const app = (createApp as (...given: unknown[]) => { fetch: never })(presence, authenticate);
    const server = serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' });
    await once(server, 'listening');
    return {
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      stop: () => void server.close(),
    };
  },
};

describe.each(Object.entries(apps))('examples/%s', (_name, start) => {
  test('devices are online while they send heartbeats', async () => {
    const chaos = createChaosDriver(redis.connect());
    const presence = new PresenceService({ redis: chaos, timeout: 200, onError: null });
    const app = await start(presence);
    const send = (method: string, device: string, body?: string, user = 'ann') =>
      fetch(`${app.url}/presence/${device}`, {
        method,
        headers: { connection: 'close', 'x-user': user, 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body }),
      });
    try {
      const first = await send('PUT', 'phone');
      expect([first.status, await first.json()]).toEqual([200, { status: 'online', next: 30_000 }]);
      const busy = await send('PUT', 'phone', '{"status":"busy"}');
      expect(await busy.json()).toMatchObject({ status: 'busy' });
      expect((await reader.getPresence('ann'))?.sockets).toMatchObject([{ socketId: 'phone', nodeId: '*' }]);
      expect((await send('PUT', 'phone', '{"status":"offline"}')).status).toBe(400);
      expect((await send('DELETE', 'phone')).status).toBe(204);
      expect((await reader.getPresence('ann'))?.status).toBe('offline');
      expect((await fetch(`${app.url}/presence/phone`, { method: 'PUT' })).status).toBe(401);
      await chaos.cut();
      const refused = await send('PUT', 'phone');
      expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '5']);
    } finally {
      app.stop();
      await presence.close();
    }
  });
});
