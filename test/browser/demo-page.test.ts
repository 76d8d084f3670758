import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
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
    // In a room that zoe does not see: there the message would be read at once.
    await press(other, /^kitchen, /);
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
    await page.getByLabel('Your status').selectOption('busy');
    await page.getByText(`Read by ${ben}`).waitFor();
    await press(other, /^kitchen, /);
    await say(other, `lunch, @${cleo}?`);
    await press(page, /^Notifications, [1-9]/);
    await page.getByRole('region', { name: 'Notifications' }).getByText(`lunch, @${cleo}?`).waitFor();
    // Not sent: the bubble of a message that waits is shown as well.
    await page.route('**/connect', () => {});
    await page.evaluate('document.querySelector("#drop").click()');
    await page.locator('#connection').filter({ hasText: 'reconnecting' }).waitFor();
    await page.evaluate(`{
      document.querySelector('#text').value = 'waits';
      document.querySelector('#composer button').click();
    }`);
    await page.locator('.pending').waitFor();
    const { tooFaint, texts } = (await page.evaluate(CONTRASTS)) as { tooFaint: string[]; texts: number };
    expect(tooFaint).toEqual([]);
    expect(texts).toBeGreaterThan(30);
  });

  test('a mention is read with its message: shown in the room, it is no unread notification', async () => {
    const ned = await tabs.enter('ned', 'node-1');
    const ola = await tabs.enter('ola', 'node-2');
    await press(ned, /^kitchen, /);
    await say(ned, '@ola are you there?');
    await ola.getByRole('button', { name: 'Notifications, 1 unread' }).waitFor();
    await press(ola, /^kitchen, /);
    await receives(ola, '@ola are you there?');
    await ola.getByRole('button', { name: 'Notifications', exact: true }).waitFor();
    // So is one that arrives while the room is in view.
    await say(ned, '@ola good.');
    await receives(ola, '@ola good.');
    await press(ola, /^Notifications/);
    await ola.getByRole('region', { name: 'Notifications' }).getByText('@ola good.').waitFor();
    await ola.getByRole('button', { name: 'Notifications', exact: true }).waitFor();
  });

  test('URLs are links that open in another tab, without the punctuation behind them', async () => {
    const page = await tabs.enter('pia', 'node-1');
    await say(page, 'see (https://example.com/a?b=c#d), javascript:alert(1) and http://example.org.');
    await receives(page, 'see (https');
    const links = await page.evaluate(
      `[...document.querySelectorAll('.message .text a')].map(({ textContent, target, rel }) => [textContent, target, rel])`,
    );
    expect(links).toEqual([
      ['https://example.com/a?b=c#d', '_blank', 'noopener noreferrer'],
      ['http://example.org', '_blank', 'noopener noreferrer'],
    ]);
  });

  test('the newest message stays in view while a draft grows and when a keyboard opens', async () => {
    const page = await tabs.enter('rex', 'node-1', { viewport: { width: 390, height: 700 } });
    for (let number = 1; number <= 20; number++) await say(page, `line ${number}`);
    await receives(page, 'line 20');
    const newest = page.locator('.messages:not(.outbox) .message').last();
    const isInView = async () => {
      const [message, log] = [await newest.boundingBox(), await page.getByRole('log').boundingBox()];
      return message !== null && log !== null && message.y + message.height <= log.y + log.height;
    };
    await waitFor(isInView, { message: 'the newest message in view' });
    const heightOf = async () => (await page.getByRole('log').boundingBox())?.height ?? 0;
    const before = await heightOf();
    await page.getByRole('textbox', { name: 'Message' }).fill('a\nb\nc\nd\ne');
    await waitFor(async () => (await heightOf()) < before - 40, { message: 'the draft to grow' });
    await waitFor(isInView, { message: 'the newest message in view above the draft' });
    await page.setViewportSize({ width: 390, height: 420 });
    await waitFor(isInView, { message: 'the newest message in view above the keyboard' });
    // A reader of older messages stays there.
    await page.getByRole('log').getByText('line 1', { exact: true }).scrollIntoViewIfNeeded();
    await waitFor(async () => !(await isInView()), { message: 'the newest message out of view' });
    await page.setViewportSize({ width: 390, height: 400 });
    await page.evaluate(
      'new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))',
    );
    expect(await isInView()).toBe(false);
  });

  test('at 320 px no word is broken or cut off', async () => {
    const page = await tabs.enter('sue', 'node-1', { viewport: { width: 320, height: 568 } });
    const cut = () => page.evaluate(CUT_WORDS) as Promise<string[]>;
    for (const view of ['Chat', 'People', 'Backstage']) {
      await page.getByRole('button', { name: view, exact: true }).click();
      expect(await cut()).toEqual([]);
    }
    await page.route('**/connect', () => {});
    await press(page, 'Drop my connection');
    await page.locator('#connection').filter({ hasText: 'reconnecting' }).waitFor();
    expect(await cut()).toEqual([]);
  });

  test('all charts are in view at 1280 × 800, also with a long timeline', async () => {
    const page = await tabs.enter('tia', 'node-1', { viewport: { width: 1280, height: 800 } });
    for (let count = 0; count < 4; count++) {
      await press(page, 'Drop my connection');
      await page.locator('#connection').filter({ hasText: 'reconnecting' }).waitFor();
      await isOn(page, /node-/);
    }
    for (const chart of await page.locator('#charts figure').all()) {
      const { y = 0, height = 0 } = (await chart.boundingBox()) ?? {};
      expect(height).toBeGreaterThan(40);
      expect(y + height).toBeLessThanOrEqual(800);
    }
  });

  test.each([
    ['light', 1280, 800],
    ['dark', 1280, 800],
    ['light', 390, 844],
    ['dark', 320, 568],
  ] as const)('axe finds no violation in the %s scheme at %i × %i px', async (colorScheme, width, height) => {
    const [one, two] = [`${colorScheme}-${width}`, `other-${colorScheme}-${width}`];
    // Without motion: a toast that appears is transparent for a moment.
    const options = { colorScheme, viewport: { width, height }, reducedMotion: 'reduce' } as const;
    const page = await tabs.open(options);
    expect(await violations(page)).toEqual([]);
    await page.getByLabel('Your name').fill(one);
    await press(page, 'Join the chat');
    await isOn(page, /node-/);
    expect(await violations(page)).toEqual([]);
    const other = await tabs.enter(two, 'node-1');
    await say(other, `hello @${one}, see https://example.com/`);
    await receives(page, `hello @${one}`);
    await press(other, /^kitchen, /);
    await say(other, `lunch, @${one}?`);
    await press(page, 'Notifications, 1 unread');
    await page.getByRole('region', { name: 'Notifications' }).getByText('lunch').waitFor();
    expect(await violations(page)).toEqual([]);
    await page.keyboard.press('Escape');
    for (const view of await page.getByRole('navigation', { name: 'Views' }).getByRole('button').all()) {
      if (!(await view.isVisible())) continue;
      await view.click();
      expect(await violations(page)).toEqual([]);
    }
    // The test can see what there is.
    await page.evaluate('document.querySelector("#leave").ariaLabel = ""');
    expect(await violations(page)).toEqual([expect.stringContaining('button-name')]);
  });

  test('an empty room, and a user who is alone, are told to open a second tab', async () => {
    const fresh = await startDemo();
    const alone = new Tabs(browser, fresh.url);
    const page = await alone.enter('uno', 'node-1');
    await page.getByText('No messages yet. Open a second tab').waitFor();
    const hint = page.getByRole('region', { name: 'People here' }).getByText('Only you. Open a second tab');
    await hint.waitFor();
    const [link] = await page.getByRole('link', { name: 'Open a second tab' }).all();
    const [opened] = await Promise.all([page.context().waitForEvent('page'), link?.click()]);
    // Before its scripts have run, the form would be sent to the server.
    await opened.waitForLoadState();
    await opened.getByLabel('Your name').fill('due');
    await press(opened, 'Join the chat');
    await hint.waitFor({ state: 'hidden' });
    await say(opened, 'not alone');
    await receives(page, 'not alone');
    await page.getByText('No messages yet').waitFor({ state: 'hidden' });
    await alone.close();
    await fresh.stop();
    expect(alone.problems).toEqual([]);
  });
});

describe('the counter of a tab', () => {
  const counts = async (page: Page) =>
    ((await page.locator('#counter').textContent()) ?? '').replace(/\s+/g, ' ').trim();

  test('shows a lost message until it arrives, a doubled one, and none that was not sent', async () => {
    const page = await tabs.enter('abe', 'node-1');
    const client = connect({ url: await admit('bea'), WebSocket: WebSocket as never });
    const lobby = client.join('lobby');
    await lobby.ready;
    const send = async (n: number, unsent: number[]) => {
      const text = `${crypto.randomUUID()} `;
      await lobby.send('message', { text, tab: 'bea', n, unsent });
      await receives(page, text);
    };
    await send(4, []);
    await send(7, [5]);
    expect(await counts(page)).toMatch(/ lost 1, doubled 0$/);
    await send(6, []);
    expect(await counts(page)).toMatch(/ lost 0, doubled 0$/);
    await send(6, []);
    expect(await counts(page)).toMatch(/ lost 0, doubled 1$/);
    await send(8, []);
    expect(await counts(page)).toMatch(/ lost 1, doubled 1$/);
    await say(page, 'one of mine');
    await receives(page, 'one of mine');
    expect(await counts(page)).toMatch(/^This tab: sent 1, received \d+, lost 1, doubled 1$/);
    client.close();
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

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** What axe finds, by all its rules. */
async function violations(page: Page): Promise<string[]> {
  if (!(await page.evaluate('"axe" in window'))) await page.evaluate(axe);
  return page.evaluate(`axe.run(document).then(({ violations }) =>
    violations.map(({ id, nodes }) => [id, ...nodes.map(({ target, failureSummary }) => target + ': ' + failureSummary)].join(' '))
  )`);
}

/** The visible words that stand on more than one line, or in part outside of an element that cuts them off. */
const CUT_WORDS = `(() => {
  const cut = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement;
    if (!node.checkVisibility() || node.closest('.hidden, .message, #timeline')) continue;
    for (const { 0: word, index } of text.data.matchAll(/\\S+/g)) {
      const range = document.createRange();
      range.setStart(text, index);
      range.setEnd(text, index + word.length);
      const boxes = [...range.getClientRects()];
      const lines = new Set(boxes.map(({ top }) => Math.round(top)));
      const { right } = range.getBoundingClientRect();
      const outside = getComputedStyle(node).overflowX === 'hidden' && right > node.getBoundingClientRect().right + 1;
      if (lines.size > 1 || outside) cut.push(word);
    }
  }
  return cut;
})()`;

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
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  for (const field of document.querySelectorAll('[placeholder]')) {
    const contrast = ratio(parse(getComputedStyle(field, '::placeholder').color), behind(field));
    if (contrast < 4.5) tooFaint.push('placeholder ' + contrast.toFixed(2));
  }
  // The border of a control must stand out from what is around it.
  for (const control of document.querySelectorAll('input, textarea, select, button:not(:disabled)')) {
    const { borderTopColor, borderTopWidth } = getComputedStyle(control);
    const color = parse(borderTopColor);
    if (!control.checkVisibility() || borderTopWidth === '0px' || color[3] === 0) continue;
    const contrast = ratio(color, behind(control.parentElement));
    if (contrast < 3) tooFaint.push('border of ' + (control.id || control.textContent) + ' ' + contrast.toFixed(2));
  }
  return { tooFaint, texts };
})()`;
