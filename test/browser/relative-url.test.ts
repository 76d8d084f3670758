import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { chromium, type Page } from 'playwright-core';
import { expect, onTestFinished, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { timeLimit } from '../support/machine.js';
import { findChromium } from '../support/tools.js';
import { waitFor } from '../support/wait.js';

// Addresses without a host, in documents and workers whose own URL is no base for them.

/** A page at /chat/page, and the paths at which clients have opened a WebSocket or an event stream. */
async function openPage(): Promise<{ page: Page; paths: string[] }> {
  const paths: string[] = [];
  const server = createServer(({ url = '/', headers }, response) => {
    if (headers.accept === 'text/event-stream') paths.push(url);
    const isScript = url.endsWith('.js');
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
    response.end(
      isScript ? readFileSync(new URL(`../../dist${url}`, import.meta.url)) : '<title>chat</title>',
    );
  });
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (_socket, { url = '' }) => paths.push(url.split('?')[0] as string));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const browser = await chromium.launch({
    executablePath: findChromium() as string,
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run'],
  });
  onTestFinished(async () => {
    await browser.close();
    sockets.close();
    server.closeAllConnections();
    server.close();
  });
  const page = await browser.newPage();
  page.setDefaultTimeout(timeLimit(10_000));
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/chat/page`);
  return { page, paths };
}

test('a frame made by `srcdoc` resolves a relative URL against the page around it', async () => {
  const { page, paths } = await openPage();
  await page.evaluate(() => {
    const frame = document.createElement('iframe');
    frame.srcdoc = `<script type="module">
      import { connect } from '/client.min.js';
      connect({ url: 'socket' });
    </script>`;
    document.body.append(frame);
  });
  await waitFor(() => paths.length > 0);
  expect(paths[0]).toBe('/chat/socket');
});

test('a worker made from a blob resolves URLs without a host against the origin', async () => {
  const { page, paths } = await openPage();
  await page.evaluate(() => {
    const source = `
      import { connect } from '${location.origin}/client.min.js';
      import { connectEventStream } from '${location.origin}/event-stream.js';
      connect({ url: '/socket' });
      connectEventStream({ url: '/events' });
    `;
    new Worker(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })), { type: 'module' });
  });
  await waitFor(() => paths.includes('/socket') && paths.includes('/events'), {
    message: () => `only ${paths}`,
  });
});
