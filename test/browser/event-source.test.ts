import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Browser, chromium, type Page } from 'playwright-core';
import { CloseCode, defineChannel, PresenceService, PubSubService, RoomService } from 'rollcall';
import { pipeEventStream } from 'rollcall/sse';
import { createEmbeddedRedis, type EmbeddedRedis } from 'rollcall/testing';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { timeLimit } from '../support/machine.js';
import { type SseServer, sseServers } from '../support/sse-servers.js';
import { findChromium } from '../support/tools.js';
import { waitFor } from '../support/wait.js';

// What the browser's own EventSource makes of our streams.

let browser: Browser;
let redis: EmbeddedRedis;
const undo: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  browser = await chromium.launch({
    executablePath: findChromium() as string,
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run'],
  });
});

afterAll(() => browser?.close());

beforeEach(async () => {
  redis = await createEmbeddedRedis();
  undo.push(() => redis.close());
});

afterEach(async () => {
  for (const each of undo.splice(0).reverse()) await each();
});

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  undo.push(async () => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function openPage(url?: string): Promise<Page> {
  const page = await browser.newPage();
  undo.push(() => page.close());
  page.setDefaultTimeout(timeLimit(10_000));
  const blank: RequestListener = (_request, response) => {
    response.setHeader('content-type', 'text/html');
    response.end('<title>test</title>');
  };
  await page.goto(url ?? (await serve(blank)));
  return page;
}

interface Seen {
  events: [type: string, data: string][];
  /** `readyState` at each error. */
  errors: number[];
}

/** Opens an EventSource in the page, which notes what comes. */
async function listen(page: Page, url: string, types: string[]): Promise<() => Promise<Seen>> {
  const script = `
    window.seen = { events: [], errors: [] };
    const source = new EventSource(${JSON.stringify(url)});
    for (const type of ${JSON.stringify(types)}) {
      source.addEventListener(type, (event) => window.seen.events.push([type, event.data]));
    }
    source.addEventListener('error', () => window.seen.errors.push(source.readyState));
    undefined`;
  await page.evaluate(script);
  return () => page.evaluate('window.seen') as Promise<Seen>;
}

test.each(['node:http', 'Hono'] as const)(
  'EventSource in the browser resumes over a server restart without losing an event (%s)',
  async (name) => {
    const feed = defineChannel<number>()('feed', { history: { size: 5_000, ttl: 60_000 } });
    const outside = new PubSubService({ redis: redis.connect() });
    undo.push(() => outside.close());
    let server: SseServer | undefined;
    let own: PubSubService | undefined;
    const up = async (port?: number) => {
      own = new PubSubService({ redis: redis.connect() });
      const pubsub = own;
      const headers = { 'access-control-allow-origin': '*' };
      const channels = [{ channel: feed(), event: 'message' }, 'other'];
      server = await sseServers[name](() => ({ pubsub, channels, headers, retry: 100 }), port);
    };
    const down = async () => {
      await server?.stop();
      await own?.close();
    };
    await up();
    undo.push(down);
    const url = server?.url as string;
    const seen = await listen(await openPage(), `${url}/events`, ['message', '$ready', '$discontinuity']);
    const ready = async (count: number) =>
      (await seen()).events.filter(([type]) => type === '$ready').length >= count;
    await waitFor(() => ready(1), { timeout: 10_000 });

    let count = 0;
    const publish = async (more: number) => {
      for (let at = 0; at < more; at++) await outside.publish(feed(), ++count);
    };
    for (let round = 0; round < 3; round++) {
      // The first time, the page has not seen a single event yet.
      await publish(round * 50);
      await down();
      await publish(50);
      const { errors } = await seen();
      await waitFor(async () => (await seen()).errors.length > errors.length + 1, { timeout: 10_000 });
      await up(Number(new URL(url).port));
      await publish(50);
      await waitFor(() => ready(round + 2), { timeout: 20_000 });
    }
    const messages = async () => (await seen()).events.filter(([type]) => type === 'message');
    await waitFor(async () => (await messages()).length >= count, {
      timeout: 10_000,
      message: () => `${count} messages`,
    });
    expect((await messages()).map(([, data]) => Number(data))).toEqual(
      Array.from({ length: count }, (_, at) => at + 1),
    );
    const { events, errors } = await seen();
    // The feed misses nothing; for the channel without history that is unknown.
    const missing = events.filter(([type]) => type === '$discontinuity').map(([, data]) => JSON.parse(data));
    expect(new Set(missing.map(({ channel }) => channel))).toEqual(new Set(['other']));
    // CONNECTING each time: the page did nothing to come back.
    expect(new Set(errors)).toEqual(new Set([0]));
  },
);

test('an event that has only an id sets the last event id; 204 ends reconnecting', async () => {
  const ids: unknown[] = [];
  const url = await serve((request, response) => {
    ids.push(request.headers['last-event-id']);
    response.setHeader('access-control-allow-origin', '*');
    response.setHeader('content-type', 'text/event-stream');
    if (ids.length === 3) response.writeHead(204).end();
    else response.end(`retry: 20\n:\n\nid: only-${ids.length}\n\n`);
  });
  const seen = await listen(await openPage(), url, ['message']);
  await waitFor(async () => (await seen()).errors.includes(2), { timeout: 10_000 });
  expect(ids).toEqual([undefined, 'only-1', 'only-2']);
  expect(await seen()).toEqual({ events: [], errors: [0, 0, 2] });
});

test('any status but 200 ends reconnecting, also on a reconnect: a stream starts with 200 while Redis is away', async () => {
  for (const status of [503, 502, 401]) {
    let requests = 0;
    const url = await serve((_request, response) => {
      requests++;
      response.setHeader('access-control-allow-origin', '*');
      response.setHeader('retry-after', '1');
      if (requests === 2) response.writeHead(status).end();
      else response.writeHead(200, { 'content-type': 'text/event-stream' }).end('retry: 20\n\n');
    });
    const seen = await listen(await openPage(), url, []);
    await waitFor(async () => (await seen()).errors.includes(2), { timeout: 10_000 });
    expect([(await seen()).errors, requests]).toEqual([[0, 2], 2]);
  }
});

test('a client that is disconnected receives $close, and may close', async () => {
  const pubsub = new PubSubService({ redis: redis.client });
  const rooms = new RoomService({ pubsub });
  undo.push(() => rooms.close().then(() => pubsub.close()));
  const headers = { 'access-control-allow-origin': '*' };
  let banned = false;
  const server = await sseServers.Express(() =>
    banned ? undefined : { rooms, user: { userId: 'ann' }, headers, retry: 20 },
  );
  undo.push(() => server.stop());
  const seen = await listen(await openPage(), `${server.url}/events`, ['$ready', '$close']);
  await waitFor(async () => (await seen()).events.length === 1, { timeout: 10_000 });
  banned = true;
  await rooms.disconnectUser('ann', 'spam');
  await waitFor(async () => (await seen()).errors.includes(2), { timeout: 10_000 });
  const close = { code: CloseCode.DISCONNECTED, reason: 'spam', again: false };
  expect((await seen()).events[1]).toEqual(['$close', JSON.stringify(close)]);
});

test.each([
  ['keeps its EventSource open: its user stays online, and receives all when it is shown again', false],
  ['that closes its EventSource on pagehide is offline, and resumes by the id when it is shown again', true],
])('a page in the back/forward cache %s', async (_, closes) => {
  const cached = await chromium.launch({
    executablePath: findChromium() as string,
    ignoreDefaultArgs: ['--disable-back-forward-cache'],
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run'],
  });
  undo.push(() => cached.close());
  const pubsub = new PubSubService({ redis: redis.client });
  const presence = new PresenceService({ redis: redis.client, grace: 0 });
  const rooms = new RoomService({ pubsub, presence });
  const requests: string[] = [];
  const url = await serve((request, response) => {
    const { pathname, search } = new URL(request.url ?? '/', 'http://localhost');
    if (pathname === '/events') {
      requests.push(search);
      pipeEventStream(request, response, { rooms, user: { userId: 'ann' }, join: ['lobby'], retry: 60_000 });
      return;
    }
    response.setHeader('content-type', 'text/html');
    response.end(`<!doctype html><title>${pathname}</title>`);
  });
  undo.push(async () => {
    await rooms.close();
    await presence.close();
    await pubsub.close();
  });
  const page = await cached.newPage();
  page.setDefaultTimeout(timeLimit(10_000));
  await page.goto(`${url}/first`);
  // The handlers of pagehide and pageshow are those of docs/sse.md.
  await page.evaluate(`
    globalThis.seen = [];
    let lastId = '';
    const listen = () => {
      const events = new EventSource('/events?lastEventId=' + encodeURIComponent(lastId));
      for (const name of ['$ready', 'message', '$discontinuity']) {
        events.addEventListener(name, ({ type, data, lastEventId }) => {
          lastId = lastEventId;
          seen.push(type === 'message' ? JSON.parse(data).data : type);
        });
      }
      return events;
    };
    globalThis.events = listen();
    if (${closes}) {
      addEventListener('pagehide', () => events.close());
      addEventListener('pageshow', ({ persisted }) => {
        if (persisted) events = listen();
      });
    }
    undefined`);
  const seen = () =>
    page.evaluate('globalThis.seen').catch(() => undefined) as Promise<unknown[] | undefined>;
  await waitFor(async () => (await seen())?.length === 1, { timeout: 10_000 });
  await rooms.broadcast('lobby', 'message', 1);
  await waitFor(async () => (await seen())?.length === 2, { timeout: 10_000 });

  await page.goto(`${url}/second`);
  const status = closes ? 'offline' : 'online';
  await waitFor(async () => (await presence.getPresence('ann'))?.status === status, { timeout: 10_000 });
  await rooms.broadcast('lobby', 'message', 2);
  // `goBack` would wait for a load, which a kept page does not have.
  await page.evaluate('setTimeout(() => history.back())');
  await waitFor(async () => (await seen())?.includes(2), { timeout: 10_000 });
  expect((await presence.getPresence('ann'))?.status).toBe('online');
  const first = ['$ready', 1];
  expect((await seen())?.sort()).toEqual((closes ? [...first, '$ready', 2] : [...first, 2]).sort());
  expect(requests).toEqual(
    closes ? ['?lastEventId=', expect.stringMatching(/^\?lastEventId=.{10}/)] : ['?lastEventId='],
  );
});

test('examples/sse-fastify: two users chat during a restart', async () => {
  interface App {
    listen(options: { port: number; host: string }): Promise<string>;
    close(): Promise<void>;
  }
  const { createApp } = (await import('../../examples/sse-fastify/app.js' as string)) as {
    createApp(rooms: RoomService): App;
  };
  const pubsub = new PubSubService({ redis: redis.client });
  const presence = new PresenceService({ redis: redis.client, grace: 0 });
  const rooms = new RoomService({ pubsub, presence });
  undo.push(async () => {
    await app.close();
    await rooms.close();
    await presence.close();
    await pubsub.close();
  });
  let app = createApp(rooms);
  const url = await app.listen({ port: 0, host: '127.0.0.1' });
  const ann = await openPage(`${url}/?user=ann`);
  await ann.getByText('You are ann.').waitFor();
  const bob = await openPage(`${url}/?user=bob`);
  await ann.getByText('Here: ann, bob').waitFor();
  const say = async (page: Page, text: string) => {
    await page.getByLabel('Message', { exact: true }).fill(text);
    await page.getByRole('button', { name: 'Send' }).click();
  };
  await say(bob, 'hello ann');
  await ann.getByText('bob: hello ann').waitFor();

  await app.close();
  await Promise.all([ann, bob].map((page) => page.getByText('Connecting …').waitFor()));
  await rooms.broadcast('lobby', 'message', { text: 'meanwhile' }, { from: 'zoe' });
  app = createApp(rooms);
  await app.listen({ port: Number(new URL(url).port), host: '127.0.0.1' });
  // Up to five times `retry`, so that not all come at once.
  await ann.getByText('You are ann.').waitFor({ timeout: timeLimit(20_000) });
  await bob.getByText('You are bob.').waitFor({ timeout: timeLimit(20_000) });
  await say(ann, 'hello bob');
  for (const page of [ann, bob]) {
    await page.getByText('ann: hello bob').waitFor();
    expect(await page.getByRole('listitem').allTextContents()).toEqual([
      'bob: hello ann',
      'zoe: meanwhile',
      'ann: hello bob',
    ]);
  }
});
