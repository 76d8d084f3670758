import { once } from 'node:events';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { createRollcall } from 'rollcall';
import { createEmbeddedRedis } from 'rollcall/testing';
import { serveWebSocket } from 'rollcall/ws';
import { expect, onTestFinished, test } from 'vitest';
import { createViteServer } from 'vitest/node';
import { WebSocketServer } from 'ws';
import { findChromium } from '../support/tools.js';
import { waitFor } from '../support/wait.js';

// A development server that replaces modules in the page, here Vite.

/** A module that connects, as in docs/client.md. Another `version` is another content of the file. */
const chatModule = (url: string, version: number) => `
import { connect } from 'rollcall/client';
export const client = connect({ url: '${url}' });
import.meta.hot?.dispose(() => client.close());
import.meta.hot?.accept();
globalThis.version = ${version};
globalThis.loads = (globalThis.loads ?? 0) + 1;
`;

test('a module that connects, and closes its client in `dispose`, leaves one connection after each update', async () => {
  const redis = await createEmbeddedRedis();
  const rollcall = createRollcall({ redis: redis.client });
  const server = createServer();
  const sockets = new WebSocketServer({ server });
  const serving = serveWebSocket(sockets, {
    rooms: rollcall.rooms,
    authenticate: () => 'alice',
    authorize: () => true,
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
  let opened = 0;
  sockets.on('connection', () => opened++);

  const folder = await mkdtemp(join(tmpdir(), 'rollcall-hmr-'));
  // In one step: a watcher that sees an empty file first replaces the module twice.
  const write = async (version: number) => {
    await writeFile(join(folder, 'chat.next'), chatModule(url, version));
    await rename(join(folder, 'chat.next'), join(folder, 'chat.js'));
  };
  await write(1);
  await writeFile(join(folder, 'index.html'), '<script type="module" src="/chat.js"></script>');
  const vite = await createViteServer({
    configFile: false,
    root: folder,
    cacheDir: join(folder, '.vite'),
    logLevel: 'silent',
    server: { host: '127.0.0.1', port: 0, fs: { strict: false } },
    resolve: {
      alias: { 'rollcall/client': fileURLToPath(new URL('../../src/client/index.ts', import.meta.url)) },
    },
  });
  await vite.listen();
  const browser = await chromium.launch({
    executablePath: findChromium() as string,
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run'],
  });
  onTestFinished(async () => {
    await browser.close();
    await vite.close();
    await serving.close();
    sockets.close();
    server.close();
    await rollcall.close();
    await redis.close();
    await rm(folder, { recursive: true, force: true });
  });

  const page = await browser.newPage();
  await page.goto(vite.resolvedUrls?.local[0] ?? '');
  await waitFor(() => sockets.clients.size === 1, { message: () => 'no first connection' });
  for (const version of [2, 3]) {
    await write(version);
    await page.waitForFunction(`globalThis.version === ${version}`);
    await waitFor(() => opened === version && sockets.clients.size === 1, {
      message: () => `${opened} connections were opened, ${sockets.clients.size} are left`,
    });
  }
  // The module was replaced; the page was not loaded again.
  expect(await page.evaluate('globalThis.loads')).toBe(3);
});
