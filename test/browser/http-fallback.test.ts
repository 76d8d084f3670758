import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { type Browser, chromium } from 'playwright-core';
import { createRollcall, type Rollcall } from 'rollcall';
import { createHttpHandler, type HttpHandler } from 'rollcall/server';
import { createEmbeddedRedis, type EmbeddedRedis } from 'rollcall/testing';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { timeLimit } from '../support/machine.js';
import { findChromium } from '../support/tools.js';
import { waitFor } from '../support/wait.js';

// The built client in a browser, on a network that refuses WebSockets.

let browser: Browser;
let redis: EmbeddedRedis;
let rollcall: Rollcall;
let http: HttpHandler;
const servers: Server[] = [];
let upgrades: number;

beforeAll(async () => {
  browser = await chromium.launch({
    executablePath: findChromium() as string,
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run'],
  });
});
afterAll(() => browser?.close());

beforeEach(async () => {
  redis = await createEmbeddedRedis();
  rollcall = createRollcall({ redis: redis.client, presence: { grace: 0 } });
  upgrades = 0;
});
afterEach(async () => {
  await http.shutdown();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
  await rollcall.close();
  await redis.close();
});

async function listen(listener: RequestListener): Promise<string> {
  const server = createServer(listener).on('upgrade', (_request, socket: Socket) => {
    upgrades++;
    socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
  });
  servers.push(server);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const servePage: RequestListener = ({ url = '/' }, response) => {
  const [name] = /^\/[\w-]+(\.min)?\.js$/.exec(url) ?? [];
  if (name === undefined)
    return void response.setHeader('content-type', 'text/html').end('<title>chat</title>');
  response.setHeader('content-type', 'text/javascript');
  response.end(readFileSync(new URL(`../../dist${name}`, import.meta.url)));
};

const userOf = ({ headers }: IncomingMessage) => /user=(\w+)/.exec(headers.cookie ?? '')?.[1];

async function talk(chat: string, loading: Promise<typeof import('rollcall/client')>): Promise<unknown[]> {
  const { connect } = await loading;
  const client = connect({ url: `${chat}/ws`, backoff: { first: 20, max: 100 } });
  const received: unknown[] = [await client.request('echo', 'ü')];
  const room = client.join('lobby');
  const three = new Promise<void>((resolve) => {
    room.on('message', (data) => {
      received.push(data);
      if (received.length === 4) resolve();
    });
  });
  for (const n of [1, 2, 3]) await room.send('message', n);
  await three;
  return received;
}

test.each(['the same origin', 'another origin'])(
  'a page talks over HTTP to %s, with its cookies',
  async (which) => {
    const isSame = which === 'the same origin';
    const toHandler: RequestListener = (request, response) => void http.handle(request, response);
    const page = await listen((request, response) => {
      if (request.url?.startsWith('/ws')) toHandler(request, response);
      else servePage(request, response);
    });
    const chat = isSame ? page : await listen(toHandler);
    http = createHttpHandler({
      rooms: rollcall.rooms,
      authenticate: userOf,
      authorize: () => true,
      requests: { echo: (_, data) => data },
      ...(isSame ? {} : { origins: [page] }),
    });

    const tab = await browser.newPage();
    tab.setDefaultTimeout(timeLimit(20_000));
    await tab.context().addCookies([{ name: 'user', value: 'ann', url: page }]);
    await tab.goto(page);
    // As text, because the test runner rewrites dynamic imports.
    const received = await tab.evaluate(`(${talk})('${chat}', import('/client.min.js'))`);
    expect(received).toEqual(['ü', 1, 2, 3]);
    expect(upgrades).toBe(3);
    expect((await rollcall.presence.getPresence('ann'))?.status).toBe('online');
    await tab.close();
    await waitFor(async () => (await rollcall.presence.getPresence('ann'))?.status === 'offline', {
      message: 'offline after the tab was closed',
    });
  },
);
