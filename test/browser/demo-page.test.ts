import { once } from 'node:events';
import type { Browser, Page } from 'playwright-core';
import { connect } from 'rollcall/client';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { waitFor, withDeadline } from '../support/wait.js';
import {
  type Demo,
  isOn,
  killLeftovers,
  launchBrowser,
  messages,
  press,
  receives,
  say,
  startDemo,
  Tabs,
} from './demo-fixture.js';

// The demo's page as different people use it, and its server as a stranger does.

let browser: Browser;
let demo: Demo;
let tabs: Tabs;

beforeAll(async () => {
  browser = await launchBrowser();
  demo = await startDemo();
});

afterAll(async () => {
  await demo?.stop();
  await browser?.close();
  killLeftovers();
});

beforeEach(() => {
  tabs = new Tabs(browser, demo.url);
});

afterEach(async () => {
  await tabs.close();
  expect(tabs.problems).toEqual([]);
});

/** A ticket, as the page gets it. */
async function admit(name: string): Promise<string> {
  const response = await post('/connect', { name, node: 'node-1' });
  const { url } = (await response.json()) as { url: string };
  return demo.url.replace('http', 'ws') + url;
}

function post(path: string, body: object, headers: Record<string, string> = {}) {
  return fetch(demo.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
}

describe('the page', () => {
  test('after a reload the user is signed in as before, and the room is shown', async () => {
    const page = await tabs.enter('uma', 'node-1');
    await say(page, 'before the reload');
    await receives(page, 'before the reload');
    await page.reload();
    await isOn(page, 'node-1');
    await receives(page, 'before the reload');
  });

  test('a new member sees the last messages, and older ones after scrolling up', async () => {
    const url = await admit('vera');
    const client = connect({ url, WebSocket: WebSocket as never });
    const workshop = client.join('workshop');
    await workshop.ready;
    for (let number = 1; number <= 70; number++)
      await workshop.send('message', { text: `number ${number}.` });
    client.close();

    const page = await tabs.enter('will', 'node-2');
    await press(page, /^workshop, /);
    await receives(page, 'number 70.');
    expect(await messages(page)).toEqual(numbers(21, 70));
    await page.getByText('number 21.').scrollIntoViewIfNeeded();
    await receives(page, 'number 1.');
    expect(await messages(page)).toEqual(numbers(1, 70));
    await page.getByRole('button', { name: 'Older messages' }).waitFor({ state: 'hidden' });
  });

  test('messages are shown as text, also when they contain markup', async () => {
    const page = await tabs.enter('xena', 'node-1');
    const nasty = `<img src=x onerror="document.title='broken'"><b>bold</b>`;
    await say(page, nasty);
    await receives(page, nasty);
    expect(await page.getByRole('log').locator('img, b:not(.head b)').count()).toBe(0);
  });

  test('the keyboard suffices to sign in, send a message, change the room and open a notification', async () => {
    const other = await tabs.enter('yara', 'node-1');
    const page = await tabs.open();
    const { keyboard } = page;
    await page.getByLabel('Your name').press('Tab');
    await keyboard.press('Shift+Tab');
    await keyboard.type('zoe');
    await keyboard.press('Enter');
    await isOn(page, /node-/);
    await keyboard.type('typed at once');
    await keyboard.press('Enter');
    await receives(other, 'typed at once');
    await say(other, '@zoe hello');
    await page.getByRole('button', { name: 'Notifications, 1 unread' }).focus();
    await keyboard.press('Enter');
    await page.getByRole('region', { name: 'Notifications' }).getByText('@zoe hello').waitFor();
    await keyboard.press('Escape');
    await page.getByRole('region', { name: 'Notifications' }).waitFor({ state: 'hidden' });
    const focused = () => page.evaluate('document.activeElement.getAttribute("aria-label")');
    expect(await focused()).toMatch(/^Notifications/);
    // The log can be scrolled by keyboard, too.
    await page.getByRole('log').focus();
    expect(await focused()).toBe('Messages in lobby');
  });

  test('a rejected name shows an error beside the field, which has the focus', async () => {
    const page = await tabs.open();
    await page.getByLabel('Your name').fill('no spaces please');
    await press(page, 'Join the chat');
    await page.getByRole('alert').filter({ hasText: 'A name is 1 to 24 letters' }).waitFor();
    expect(await page.evaluate('document.activeElement.id')).toBe('name');
    // Chromium itself logs every status above 399.
    expect(tabs.problems.splice(0)).toEqual([expect.stringContaining('status of 400')]);
  });

  test.each([320, 360, 390, 800])('at a width of %i px the page does not scroll sideways', async (width) => {
    const page = await tabs.open({ viewport: { width, height: 700 } });
    const overflow = () =>
      page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth');
    expect(await overflow()).toBe(0);
    await page.getByLabel('Your name').fill('abcdefghijklmnopqrstuvwx');
    await press(page, 'Join the chat');
    await isOn(page, /node-/);
    // The longest thing that can stand there.
    await page.evaluate('document.querySelector("#connection").textContent = "reconnecting …"');
    await say(page, `${'wide'.repeat(100)} @abcdefghijklmnopqrstuvwx`);
    await receives(page, 'wide');
    for (const view of await page.getByRole('navigation', { name: 'Views' }).getByRole('button').all()) {
      if (!(await view.isVisible())) continue;
      await view.click();
      expect(await overflow()).toBe(0);
      for (const button of await page.getByRole('button').all()) {
        const box = (await button.isVisible()) ? await button.boundingBox() : null;
        if (box) expect(box.x + box.width).toBeLessThanOrEqual(width);
      }
    }
  });

  test('every control has an accessible name', async () => {
    const page = await tabs.open();
    expect(await nameless(page)).toEqual([]);
    await page.getByLabel('Your name').fill('amy');
    await press(page, 'Join the chat');
    await isOn(page, /node-/);
    await press(page, /^kitchen, /);
    await say(page, 'hello');
    await receives(page, 'hello');
    await press(page, 'Notifications');
    await page.getByRole('region', { name: 'Notifications' }).waitFor();
    expect(await nameless(page)).toEqual([]);
    // The test can see what there is.
    await page.evaluate('document.querySelector("#drop").textContent = ""');
    expect(await nameless(page)).toEqual(['button']);
  });

  test.each(['light', 'dark'] as const)('in the %s scheme all text can be read', async (colorScheme) => {
    const [ben, cleo] = [`ben-${colorScheme}`, `cleo-${colorScheme}`];
    const other = await tabs.enter(ben, 'node-1', { colorScheme });
    const page = await tabs.enter(cleo, 'node-2', { colorScheme });
    await say(other, `hello @${cleo}`);
    await receives(page, `hello @${cleo}`);
    await say(page, `hello @${ben}`);
    await receives(page, `hello @${ben}`);
    await page.getByLabel('Status of this device').selectOption('busy');
    await press(page, /^Notifications, [1-9]/);
    await page.getByRole('region', { name: 'Notifications' }).getByText(`hello @${cleo}`).waitFor();
    await page.getByRole('img', { name: `Read by ${ben}` }).waitFor();
    const { tooFaint, texts } = (await page.evaluate(CONTRASTS)) as { tooFaint: string[]; texts: number };
    expect(tooFaint).toEqual([]);
    expect(texts).toBeGreaterThan(30);
  });
});

describe('an unauthenticated client', () => {
  const refusals = [
    { what: 'nobody', path: '/presence', says: 'user' },
    { what: 'an empty name', path: '/presence?user=', says: 'userId' },
    { what: 'a name too long', path: `/presence?user=${'x'.repeat(513)}`, says: 'userId' },
    { what: 'too many', path: `/presence?${'user=a&'.repeat(101)}`, says: '100' },
  ];

  test.each(refusals)('GET /presence of $what is a bad request', async ({ path, says }) => {
    const response = await fetch(demo.url + path);
    expect(response.status).toBe(400);
    const body = (await response.json()) as { error: string };
    expect(Object.keys(body)).toEqual(['error']);
    expect(body.error).toContain(says);
    expect(body.error).not.toContain('\n');
  });

  test.each([undefined, 7, '', ' ', 'a b', '-x', 'x'.repeat(25), '<b>', '\ud800', { a: 1 }])(
    'is rejected with the name %j',
    async (name) => {
      const response = await post('/connect', { name });
      expect(response.status).toBe(400);
    },
  );

  test('that sends malformed frames gets errors, and is disconnected in the end', async () => {
    const socket = new WebSocket(await admit('mallory'));
    const frames: { type: string; code?: string }[] = [];
    socket.on('message', (data) => frames.push(JSON.parse(String(data))));
    const closed = once(socket, 'close');
    await waitFor(() => frames.some(({ type }) => type === 'welcome'));
    const refused = [
      '{"type":"join","room":"cellar","id":1}',
      '{"type":"join","room":"__proto__","id":2}',
      '{"type":"status","status":"offline","id":3}',
      '{"type":"request","method":"constructor","id":4}',
      '{"type":"send","room":"lobby","event":"message","data":{"text":"not joined"},"id":5}',
    ];
    for (const frame of refused) socket.send(frame);
    const codes = () => frames.flatMap(({ type, code }) => (type === 'error' ? [code] : []));
    await waitFor(() => codes().length === refused.length, { message: () => `the errors: ${codes()}` });
    expect(codes().toSorted()).toEqual([
      'FORBIDDEN',
      'FORBIDDEN',
      'FORBIDDEN',
      'NOT_JOINED',
      'UNKNOWN_METHOD',
    ]);
    for (let count = 0; count < 10; count++) socket.send('{');
    const [code] = await withDeadline(closed, 5_000, 'the end of the connection');
    expect(code).toBe(4400);
  });

  test('that sends a frame over the limit is disconnected', async () => {
    const socket = new WebSocket(await admit('mallory'));
    await withDeadline(once(socket, 'message'), 5_000, 'the welcome');
    socket.send('x'.repeat(10_000));
    const [code] = await withDeadline(once(socket, 'close'), 5_000, 'the end of the connection');
    expect(code).toBe(1009);
  });

  test.each([
    ['none', () => ''],
    ['a forged one', (ticket: string) => ticket.replace(/\.\w/, '.-')],
    ['half of one', (ticket: string) => ticket.split('.')[0] as string],
  ])('without a ticket, or with %s, no connection is accepted', async (_, change) => {
    const url = new URL(await admit('mallory'));
    url.searchParams.set('ticket', change(url.searchParams.get('ticket') as string));
    const socket = new WebSocket(url);
    const [code] = await withDeadline(once(socket, 'close'), 5_000, 'the refusal');
    expect(code).toBe(4401);
  });

  test('on another origin cannot connect', async () => {
    const foreign = new WebSocket(await admit('mallory'), { origin: 'http://example.com' });
    const [error] = await withDeadline(once(foreign, 'error'), 5_000, 'the refusal');
    expect(String(error)).toContain('403');
    for (const path of ['/connect', '/nodes/node-1/kill', '/redis/freeze']) {
      expect((await post(path, { name: 'x', ms: 1 }, { origin: 'http://example.com' })).status).toBe(403);
    }
  });

  test.each([
    ['GET', '/nodes/node-1/kill', 405],
    ['POST', '/nodes/node-1/toString', 404],
    ['POST', '/nodes/node-9/kill', 404],
    ['POST', '/', 405],
    ['GET', '/../package.json', 404],
    ['GET', '/rollcall/index.js', 404],
  ])('%s %s: %i', async (method, path, status) => {
    expect((await fetch(demo.url + path, { method })).status).toBe(status);
  });
});

const numbers = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, at) => `number ${from + at}.`);

/** The roles of what can be used, but has no name, in the accessibility tree of Chromium. */
async function nameless(page: Page): Promise<string[]> {
  const session = await page.context().newCDPSession(page);
  const { nodes } = await session.send('Accessibility.getFullAXTree');
  const used =
    /^(button|link|textbox|combobox|radio|checkbox|navigation|region|log|dialog|img|image|option)$/;
  return nodes
    .filter(({ ignored, role, name }) => !ignored && used.test(String(role?.value)) && !name?.value)
    .map(({ role }) => String(role?.value));
}

/** Computes for each text that is shown how much it stands out, by the formula of WCAG 2. */
const CONTRASTS = `(() => {
  const parse = (color) => {
    const [r, g, b, a = 1] = color.match(/[\\d.]+/g).map(Number);
    return color.startsWith('color(srgb') ? [r * 255, g * 255, b * 255, a] : [r, g, b, a];
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color[3] === 1) return color;
    }
    return [255, 255, 255, 1];
  };
  const tooFaint = [];
  let texts = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement;
    if (!text.data.trim() || !node.checkVisibility({ checkVisibilityCSS: true }) || node.closest('.hidden, :disabled')) continue;
    texts++;
    const [one, two] = [light(parse(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (two + 0.05);
    if (contrast < 4.5) tooFaint.push(node.tagName + ' ' + text.data.trim().slice(0, 30) + ' ' + contrast.toFixed(2));
  }
  return { tooFaint, texts };
})()`;
