import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { createEmbeddedRedis, type EmbeddedRedis } from 'rollcall/testing';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
// @ts-expect-error: an example without types
import { createApp } from '../../examples/shared-worker/app.js';
import { timeLimit } from '../support/machine.js';
import { findChromium } from '../support/tools.js';
import { waitFor } from '../support/wait.js';

// The example of docs/shared-worker.md in Chromium.

type App = {
  server: import('node:http').Server;
  sockets: import('ws').WebSocketServer;
  rollcall: import('rollcall').Rollcall;
  close(): Promise<void>;
};

let browser: Browser;
let context: BrowserContext;
let redis: EmbeddedRedis;
let app: App;
let url: string;
/** Upgrades are refused. */
let blocked: boolean;

beforeAll(async () => {
  browser = await chromium.launch({
    executablePath: findChromium() as string,
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run'],
  });
});
afterAll(() => browser?.close());

beforeEach(async () => {
  redis = await createEmbeddedRedis();
  await start();
  blocked = false;
  context = await browser.newContext();
  context.setDefaultTimeout(timeLimit(20_000));
});
afterEach(async () => {
  await context.close();
  await app.close();
  await redis.close();
});

async function start(more: object = {}): Promise<void> {
  app = createApp({ redis: redis.connect(), ...more });
  const [upgrade] = app.server.listeners('upgrade') as [(...given: unknown[]) => void];
  app.server.removeAllListeners('upgrade');
  app.server.on('upgrade', (request, socket: Socket, head) => {
    if (blocked) socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
    else upgrade.call(app.server, request, socket, head);
  });
  await once(app.server.listen(0, '127.0.0.1'), 'listening');
  url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
}

async function open(user = 'ann'): Promise<Page> {
  const page = await context.newPage();
  await page.goto(`${url}/?user=${user}`);
  await page.waitForFunction('document.querySelector("#state").textContent === "open"');
  return page;
}

async function openTabs(count: number): Promise<Page[]> {
  const pages: Page[] = [];
  for (let n = 0; n < count; n++) pages.push(await open());
  await showTabs(pages, count);
  return pages;
}

const text = (page: Page, selector: string) =>
  page.evaluate(`[...document.querySelectorAll('${selector}')].map((each) => each.textContent).join()`);
const until = (message: string, fn: () => unknown) => waitFor(fn, { message, timeout: 20_000 });
const send = (n: number) => app.rollcall.rooms.broadcast('lobby', 'message', n);

/** Every page shows this number of the user's tabs. */
async function showTabs(pages: Page[], count: number): Promise<void> {
  await until(`${count} tabs`, async () => {
    const shown = await Promise.all(pages.map((page) => text(page, '#tabs')));
    return shown.every((each) => each === String(count));
  });
}

/** Every page shows the messages 1 to `last`, each once. */
async function showMessages(pages: Page[], last: number): Promise<void> {
  const expected = Array.from({ length: last }, (_, n) => `server: ${n + 1}`).join();
  const all = () => Promise.all(pages.map((page) => text(page, 'li')));
  await until(`${last} messages`, async () => (await all()).every((each) => each === expected)).catch(
    () => {},
  );
  expect(await all()).toEqual(pages.map(() => expected));
}

test('seven tabs share one connection, and survive the end of the first tab and of the connection', async () => {
  const pages = await openTabs(7);
  expect(app.sockets.clients.size).toBe(1);
  await send(1);
  await showMessages(pages, 1);

  await pages.shift()?.close();
  await showTabs(pages, 6);
  await send(2);
  await showMessages(pages, 2);
  expect(app.sockets.clients.size).toBe(1);

  for (const each of app.sockets.clients) each.terminate();
  await send(3);
  await showMessages(pages, 3);
  await showTabs(pages, 6);
  expect(app.sockets.clients.size).toBe(1);

  for (const page of pages) await page.close();
  await until('no connection', () => app.sockets.clients.size === 0);
});

test('a tab that crashes leaves its rooms', async () => {
  const pages = await openTabs(3);
  const last = pages.pop() as Page;
  const crashed = last.waitForEvent('crash');
  const cdp = await context.newCDPSession(last);
  cdp.send('Page.crash').catch(() => {});
  await crashed;
  await showTabs(pages, 2);
  await send(1);
  await showMessages(pages, 1);
});

test('a tab that stands still leaves its rooms, and catches up when it runs again', async () => {
  await app.close();
  await start({ heartbeatInterval: 200, pongTimeout: 1_000 });
  const pages = await openTabs(3);
  const [frozen] = pages.splice(1, 1) as [Page];
  const cdp = await context.newCDPSession(frozen);
  // A page that holds a Web Lock is not frozen by Chromium; one in the debugger stands still in the same way.
  await cdp.send('Debugger.enable');
  await cdp.send('Debugger.pause');
  await showTabs(pages, 2);
  await send(1);
  await showMessages(pages, 1);
  await cdp.send('Debugger.disable');
  await showMessages([frozen, ...pages], 1);
  await showTabs([frozen, ...pages], 3);
});

test('seven tabs talk over HTTP/1.1 where WebSockets are blocked, and leave the browser its other connections', async () => {
  blocked = true;
  const pages = await openTabs(7);
  await send(1);
  await showMessages(pages, 1);
  await pages[6]?.fill('input', 'hello');
  await pages[6]?.click('button');
  await until('a message of a tab', async () =>
    String(await text(pages[0] as Page, 'li')).endsWith('ann: hello'),
  );
  expect(app.sockets.clients.size).toBe(0);
});

test('tabs of different users, and of browsers without SharedWorker, have connections of their own', async () => {
  await open('ann');
  await open('bob');
  expect(app.sockets.clients.size).toBe(2);
  await context.addInitScript('delete globalThis.SharedWorker');
  const page = await open('ann');
  expect(app.sockets.clients.size).toBe(3);
  await showTabs([page], 2);
});

test('a tab whose worker cannot be loaded has a connection of its own', async () => {
  await context.route('**/tabs-worker.js', (route) => route.fulfill({ status: 404 }));
  await openTabs(2);
  expect(app.sockets.clients.size).toBe(2);
});

test('a tab that the user leaves is gone, and is back with the page', async () => {
  const pages = await openTabs(2);
  const [stays, leaves] = pages as [Page, Page];
  await leaves.goto(`${url}/page.js`);
  await showTabs([stays], 1);
  await send(1);
  await leaves.goBack();
  await showMessages(pages, 1);
  await showTabs(pages, 2);
});
