import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { type Browser, type BrowserContextOptions, chromium, type Locator, type Page } from 'playwright-core';
import { expect } from 'vitest';
import { measureSlowness, timeLimit } from '../support/machine.js';
import { findChromium } from '../support/tools.js';
import { waitFor, withDeadline } from '../support/wait.js';

// The demo as a user runs it: the program started as `npm start` does, and the page in a browser.
// It runs on the built package; `npm test` builds it first.

const program = fileURLToPath(new URL('../../examples/demo/main.js', import.meta.url));

/** Deadline in ms on an idle machine: lease and grace of the demo, the sweeps between them, and a reserve. */
const UNTIL_GONE = 20_000;
/** Deadline in ms on an idle machine: the longest reconnect delay of a client, and a reserve. */
const UNTIL_BACK = 15_000;
/** Deadline in ms on an idle machine of everything else in a page. */
const PAGE_TIMEOUT = 20_000;

const children = new Set<ChildProcess>();

export function killLeftovers(): void {
  for (const child of children) child.kill('SIGKILL');
}

export function spawnDemo(env: Record<string, string>, args: readonly string[] = []) {
  const { REDIS_URL: _url, HOST: _host, ...inherited } = process.env;
  const child = spawn(process.execPath, [program, ...args], {
    env: { ...inherited, PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.add(child);
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text) => (output.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text) => (output.stderr += text));
  const closed = once(child, 'close').finally(() => children.delete(child));
  return { child, output, closed };
}

export interface Demo {
  readonly url: string;
  readonly runsOn: string;
  /** The console. */
  readonly says: string;
  stop(): Promise<void>;
}

export async function startDemo(env: Record<string, string> = {}, args?: readonly string[]): Promise<Demo> {
  let attempt = spawnDemo(env, args);
  const started = await waitFor(
    () => {
      // The demo gives up soon, and a busy machine may connect later.
      if (attempt.child.exitCode !== null) attempt = spawnDemo(env, args);
      return /(http:\S+) on (.+)\n.+\n/.exec(attempt.output.stdout);
    },
    { timeout: 20_000, interval: 100, message: () => `the demo to start: ${attempt.output.stderr}` },
  );
  const { child, output, closed } = attempt;
  const [, url, runsOn] = started ?? [];
  return {
    url: url as string,
    runsOn: runsOn as string,
    says: output.stdout,
    async stop() {
      child.kill('SIGTERM');
      await withDeadline(closed, 15_000, 'stopping the demo');
      expect(output.stderr).toBe('');
      expect(child.exitCode).toBe(0);
    },
  };
}

export function launchBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: findChromium() as string,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
      '--disable-quic',
    ],
  });
}

/** The tabs of one test, and the errors and warnings of their pages. */
export class Tabs {
  readonly problems: string[] = [];
  readonly #browser: Browser;
  readonly #url: string;
  readonly #pages: Page[] = [];

  constructor(browser: Browser, url: string) {
    this.#browser = browser;
    this.#url = url;
  }

  async open(options: BrowserContextOptions = {}): Promise<Page> {
    const page = await this.#browser.newPage({ viewport: { width: 1300, height: 800 }, ...options });
    this.#pages.push(page);
    measureSlowness();
    page.setDefaultTimeout(timeLimit(PAGE_TIMEOUT));
    page.on('pageerror', (error) => this.problems.push(String(error)));
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) this.problems.push(message.text());
    });
    await page.goto(this.#url);
    return page;
  }

  /** Opens a tab and joins the chat, by `node`. */
  async enter(name: string, node: string, options?: BrowserContextOptions): Promise<Page> {
    const page = await this.open(options);
    await page.getByLabel('Your name').fill(name);
    await page.getByLabel('Connect to').selectOption(node);
    await page.getByRole('button', { name: 'Join the chat' }).click();
    await isOn(page, node);
    return page;
  }

  async close(): Promise<void> {
    await Promise.all(this.#pages.map((page) => page.close()));
  }
}

/** Waits for an element. Unlike Playwright's deadlines, this one grows when the machine becomes slower meanwhile. */
async function appears(
  element: Locator,
  ms: number,
  state: 'visible' | 'detached' = 'visible',
): Promise<void> {
  await withDeadline(element.waitFor({ state, timeout: 0 }), ms, `${element} to be ${state}`);
}

/** Waits until the tab is connected to `node`. */
export async function isOn(page: Page, node: string | RegExp): Promise<void> {
  await appears(page.locator('#connection').filter({ hasText: node }), UNTIL_BACK);
}

export async function say(page: Page, text: string): Promise<void> {
  await page.getByRole('textbox', { name: 'Message' }).fill(text);
  await page.keyboard.press('Enter');
}

/** Presses a button, which may be outside the visible part of the page. */
export const press = (page: Page, name: string | RegExp) => page.getByRole('button', { name }).click();

const log = (page: Page) => page.getByRole('log');

/** The messages of the room shown, in order, without pending ones. */
export const messages = (page: Page): Promise<string[]> =>
  log(page).locator('.messages:not(.outbox) .text').allTextContents();

/** Waits until the page shows a message that is no longer pending. */
export async function receives(page: Page, text: string): Promise<void> {
  const received = log(page).locator('.messages:not(.outbox) .text').filter({ hasText: text });
  await appears(received.first(), UNTIL_BACK);
}

const row = (page: Page, name: string) =>
  page.getByRole('region', { name: 'People here' }).getByRole('listitem').filter({ hasText: name });

/** Waits until `page` lists `name` with all of `parts`. */
export async function sees(page: Page, name: string, ...parts: string[]): Promise<void> {
  let found = row(page, name);
  for (const part of parts) found = found.filter({ hasText: part });
  await appears(found, UNTIL_GONE);
}

export async function seesGone(page: Page, name: string): Promise<void> {
  await appears(row(page, name), UNTIL_GONE, 'detached');
}

/** Watches the list of two people for users who are removed from it or shown as offline; returns them. */
export async function watchForLoss(page: Page): Promise<() => Promise<string[]>> {
  // Users of an earlier test stay in the room for their grace.
  await appears(page.getByRole('heading', { name: 'People here: 2' }), UNTIL_GONE);
  await page.evaluate(`{
    const lost = (window.lost = []);
    const list = document.querySelector('#people ul');
    new MutationObserver((records) => {
      for (const { removedNodes } of records) {
        for (const node of removedNodes) if (!node.isConnected && node.dataset) lost.push(node.dataset.key);
      }
      for (const node of list.children) if (node.dataset.status === 'offline') lost.push(node.dataset.key);
    }).observe(list, { childList: true, subtree: true, attributes: true });
  }`);
  return () => page.evaluate('window.lost') as Promise<string[]>;
}

/** Waits until the timeline of the tab's connection has an entry with `what`. */
export async function reports(page: Page, what: string | RegExp): Promise<void> {
  const timeline = page.getByRole('region', { name: 'What my connection went through' });
  const entry = timeline.getByRole('listitem').filter({ hasText: what });
  await appears(entry.first(), UNTIL_BACK);
}

/** The totals that `source` publishes next, from the stream of the dashboard. */
export async function nextStats(url: string, source: string): Promise<{ messages: number }> {
  const since = Date.now();
  const controller = new AbortController();
  const response = await fetch(`${url}/events`, { signal: controller.signal });
  const decoder = new TextDecoder();
  let text = '';
  try {
    for await (const chunk of response.body as ReadableStream<Uint8Array>) {
      text += decoder.decode(chunk, { stream: true });
      const lines = text.split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) {
        if (!line.startsWith('data:')) continue;
        const sample = JSON.parse(line.slice(5));
        if (sample.source === source && sample.at > since) return sample;
      }
    }
  } finally {
    controller.abort();
  }
  throw new Error('the stream of the dashboard has ended');
}

/** Two users on two nodes exchange messages and see each other, and one leaves. */
export async function talkAndLeave(tabs: Tabs, url: string): Promise<void> {
  const alice = await tabs.enter('alice', 'node-1');
  const bob = await tabs.enter('bob', 'node-2');
  for (const page of [alice, bob]) {
    await sees(page, 'alice', 'online', 'computer on node-1');
    await sees(page, 'bob', 'online', 'computer on node-2');
  }

  await bob.getByRole('textbox', { name: 'Message' }).pressSequentially('hello alice');
  await alice.getByText('bob is typing').waitFor();
  await bob.keyboard.press('Enter');
  await receives(alice, 'hello alice');
  await alice.getByText('bob is typing').waitFor({ state: 'detached' });
  await bob.getByText('Read by alice').waitFor();

  await bob.getByLabel('Your status').selectOption('away');
  await sees(alice, 'bob', 'away');
  const looked = await (await fetch(`${url}/presence?user=alice&user=bob&user=nobody`)).json();
  expect(looked).toMatchObject({
    alice: { userId: 'alice', status: 'online', sockets: [{ status: 'online', meta: { node: 'node-1' } }] },
    bob: { userId: 'bob', status: 'away', sockets: [{ status: 'away', meta: { node: 'node-2' } }] },
    nobody: null,
  });

  await bob.close();
  await seesGone(alice, 'bob');
  await sees(alice, 'alice', 'online');
}
