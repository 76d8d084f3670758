import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { findRedisServer } from '../support/tools.js';
import { waitFor } from '../support/wait.js';
import {
  type Demo,
  isOn,
  killLeftovers,
  launchBrowser,
  messages,
  nextStats,
  press,
  receives,
  reports,
  say,
  sees,
  seesGone,
  startDemo,
  Tabs,
  talkAndLeave,
  watchForLoss,
} from './demo-fixture.js';

let browser: Browser;

beforeAll(async () => {
  browser = await launchBrowser();
});

afterAll(async () => {
  await browser?.close();
  killLeftovers();
});

/** Messages of Chromium when a server has gone, which these tests cause. The page may send before it sees the close. */
const SERVER_GONE = /WebSocket connection to .* failed|status of 503|already in CLOSING or CLOSED/;

const redisServer = findRedisServer();

describe.each([
  { kind: 'on the embedded Redis', real: false },
  ...(redisServer ? [{ kind: 'on a real Redis, with nodes as processes', real: true }] : []),
])('the demo $kind', ({ real }) => {
  let redis: RedisServer | undefined;
  let demo: Demo;
  let tabs: Tabs;
  let expected: RegExp | undefined;

  beforeAll(async () => {
    if (real) redis = await startRedis({ args: ['--requirepass', 'a-secret'] });
    demo = await startDemo(redis ? { REDIS_URL: `redis://:a-secret@127.0.0.1:${redis.port}` } : {});
  });

  afterAll(async () => {
    try {
      await demo?.stop();
    } finally {
      await redis?.stop();
    }
  });

  beforeEach(() => {
    tabs = new Tabs(browser, demo.url);
    expected = undefined;
  });

  afterEach(async () => {
    await tabs.close();
    expect(tabs.problems.filter((problem) => expected?.test(problem) !== true)).toEqual([]);
  });

  test('the start message names the backend, without its password, and says what to do', () => {
    expect(demo.says).toContain('Open it in two tabs. Ctrl-C ends it.');
    expect(demo.runsOn).toBe(redis ? `redis://127.0.0.1:${redis.port}` : 'embedded Redis');
  });

  test('two users on two nodes exchange messages, and see each other join and leave', async () => {
    await talkAndLeave(tabs, demo.url);
  });

  test('one user on two devices: both receive everything, and the higher-ranking status is shown', async () => {
    const laptop = await tabs.enter('carol', 'node-1');
    const phone = await tabs.enter('carol', 'node-2', { userAgent: 'Mozilla/5.0 (Linux; Android) Mobile' });
    await sees(laptop, 'carol', '2 devices', 'computer on node-1', 'phone on node-2');
    await say(laptop, 'from the laptop');
    await receives(phone, 'from the laptop');

    await phone.getByLabel('Your status').selectOption('busy');
    await sees(laptop, 'carol', 'busy', '2 devices');
    await press(phone, 'Leave the chat');
    await phone.getByLabel('Your name').waitFor();
    await sees(laptop, 'carol', 'online', 'computer on node-1');
  });

  test('a user who is put out of a room sees why, and is in it again after they ask for it', async () => {
    const mia = await tabs.enter('mia', 'node-1');
    const noah = await tabs.enter('noah', 'node-2');
    for (const page of [mia, noah]) await press(page, /^workshop, /);
    await mia.getByRole('heading', { name: 'People here: 2' }).waitFor();
    await sees(mia, 'noah', 'online');
    await press(mia, 'Put out noah');
    const refusal = noah.getByRole('alert').filter({ hasText: 'mia put you out of workshop' });
    await refusal.waitFor();
    await reports(noah, 'mia put you out of workshop');
    await sees(noah, 'noah (you)', 'online');
    await mia.getByRole('heading', { name: 'People here: 1' }).waitFor();
    // Not before the ban has ended.
    await waitFor(
      async () => {
        if (await refusal.isHidden()) return true;
        // It may be let in, and the button hidden, at this moment.
        await refusal
          .getByRole('button')
          .click({ timeout: 1_000 })
          .catch(() => {});
        return false;
      },
      { timeout: 20_000, interval: 500, message: 'noah to be let in' },
    );
    await sees(mia, 'noah', 'online');
    await say(noah, 'back again');
    await receives(mia, 'back again');
  });

  test('a user is invisible to others, and busy for a minute; their own row is always shown', async () => {
    const liv = await tabs.enter('liv', 'node-1');
    const max = await tabs.enter('max', 'node-2');
    await sees(liv, 'max', 'online');
    const choose = (status: string) => max.getByLabel('Your status').selectOption(status);
    await choose('invisible');
    await seesGone(liv, 'max');
    await sees(max, 'max (you)', 'invisible');
    await choose('busy for 1 minute');
    await sees(liv, 'max', 'busy until');
    await sees(max, 'max (you)', 'busy until');
    // Another device shows the status that holds for all of them.
    const phone = await tabs.enter('max', 'node-1');
    await sees(phone, 'max (you)', 'busy until');
    await waitFor(async () => (await phone.getByLabel('Your status').inputValue()) === 'timed', {
      message: 'the status of all devices',
    });
    await choose('away');
    await phone.close();
    await sees(liv, 'max', 'away');
    expect(await max.getByLabel('Your status').inputValue()).toBe('away');
  });

  test('a node is killed during a conversation: both tabs end with every message, once', async () => {
    // The node may die between the choice of it and the handshake.
    expected = SERVER_GONE;
    const dave = await tabs.enter('dave', 'node-1');
    const erin = await tabs.enter('erin', 'node-2');
    await sees(dave, 'erin', 'node-2');
    const daveLost = await watchForLoss(dave);
    for (const page of [dave, erin]) await page.evaluate('window.stillHere = true');

    const said: string[] = [];
    for (let number = 1; number <= 30; number++) {
      for (const [page, name] of [[dave, 'dave'] as const, [erin, 'erin'] as const]) {
        said.push(`${name} says ${number}.`);
        await say(page, `${name} says ${number}.`);
      }
      if (number === 10) await press(dave, 'Kill node-2');
    }
    await reports(erin, 'Connection to node-2 lost');
    await isOn(erin, 'node-1');

    for (const page of [dave, erin]) {
      for (const last of said.slice(-2)) await receives(page, last);
      await waitFor(async () => (await page.locator('.outbox .message').count()) === 0, {
        message: 'all to be sent',
      });
    }
    const [daveHas, erinHas] = await Promise.all([messages(dave), messages(erin)]);
    const ofThese = (text: string) => /^(dave|erin) says \d+\.$/.test(text);
    expect(daveHas.filter(ofThese).toSorted()).toEqual(said.toSorted());
    expect(erinHas.filter(ofThese)).toEqual(daveHas.filter(ofThese));
    // The messages of one user stay in the order in which they were sent.
    for (const name of ['dave', 'erin']) {
      const own = (texts: string[]) => texts.filter((text) => text.startsWith(`${name} says`));
      expect(own(daveHas)).toEqual(own(said));
    }
    for (const page of [dave, erin]) {
      // The counters of the tabs agree.
      const counter = ((await page.locator('#counter').textContent()) ?? '').replace(/\s+/g, ' ').trim();
      expect(counter).toMatch(/^This tab: sent 30, received \d+, lost 0, doubled 0$/);
      expect(await page.evaluate('window.stillHere')).toBe(true);
      await sees(page, 'dave', 'online', 'computer on node-1');
      await sees(page, 'erin', 'online', 'computer on node-1');
    }

    await press(dave, 'Start node-2');
    await dave.getByRole('button', { name: 'Kill node-2' }).waitFor();
    // The sockets of the dead node are removed by now, and no user was ever shown as gone.
    await sees(await tabs.enter('frank', 'node-2'), 'erin', 'online');
    expect(await daveLost()).toEqual([]);
  });

  test('a node restarts as in a deploy: its users reconnect elsewhere and are never shown offline', async () => {
    expected = SERVER_GONE;
    const gina = await tabs.enter('gina', 'node-1');
    const hugo = await tabs.enter('hugo', 'node-2');
    await sees(gina, 'hugo', 'node-2');
    const lost = await watchForLoss(gina);
    await press(gina, 'Restart node-2');
    await reports(hugo, 'Connection to node-2 lost: service restart');
    await reports(hugo, 'Back, on');
    await say(gina, 'still with us?');
    await receives(hugo, 'still with us?');
    await gina.getByRole('button', { name: 'Kill node-2' }).waitFor();
    expect(await lost()).toEqual([]);
  });

  test('after a lost connection the client receives the messages that it missed', async () => {
    const ida = await tabs.enter('ida', 'node-1');
    const jack = await tabs.enter('jack', 'node-2');
    await sees(jack, 'ida', 'node-1');
    let letGo = () => {};
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    await ida.route('**/connect', async (route) => {
      await held;
      await route.continue();
    });
    await press(ida, 'Drop my connection');
    await ida.locator('#connection').filter({ hasText: 'reconnecting' }).waitFor();
    for (const text of ['you missed one', 'and another', 'and a third']) await say(jack, text);
    await receives(jack, 'and a third');
    await say(ida, 'said without a connection');
    letGo();
    await reports(ida, '3 missed messages recovered in lobby');
    await receives(ida, 'said without a connection');
    await receives(jack, 'said without a connection');
    expect(await messages(ida)).toEqual(await messages(jack));
    expect((await messages(ida)).slice(-4)).toEqual([
      'you missed one',
      'and another',
      'and a third',
      'said without a connection',
    ]);
  });

  test('a user who is mentioned while offline finds the notification later, and reads it once for all devices', async () => {
    const kim = await tabs.enter('kim', 'node-1');
    const liam = await tabs.enter('liam', 'node-2');
    // In a room that liam does not see: there the messages would be read at once.
    await press(kim, /^kitchen, /);
    await liam.close();
    const isOffline = async () => {
      const answer = await (await fetch(`${demo.url}/presence?user=liam`)).json();
      return (answer as { liam: { status: string } }).liam.status === 'offline';
    };
    await waitFor(isOffline, { timeout: 20_000, message: 'liam to be offline' });
    await say(kim, 'has anybody seen @liam or @nobody-ever?');

    const back = await tabs.enter('liam', 'node-2');
    const second = await tabs.enter('liam', 'node-1');
    for (const page of [back, second])
      await page.getByRole('button', { name: 'Notifications, 1 unread' }).waitFor();
    // A user who is online gets the notification at once.
    await say(kim, '@liam there you are');
    await back.getByText('kim mentioned you in kitchen').waitFor();
    await press(back, 'Notifications, 2 unread');
    const list = back.getByRole('region', { name: 'Notifications' });
    expect(await list.locator('.text').allTextContents()).toEqual([
      '@liam there you are',
      'has anybody seen @liam or @nobody-ever?',
    ]);
    await press(back, 'Mark all as read');
    for (const page of [back, second]) {
      await page.getByRole('button', { name: 'Notifications', exact: true }).waitFor();
    }
  });

  test('other rooms show their members and unread messages, and can be left and joined again', async () => {
    const mia = await tabs.enter('mia', 'node-1');
    const noah = await tabs.enter('noah', 'node-2');
    await press(mia, /^kitchen, /);
    await press(noah, /^kitchen, 1 person/);
    await mia.getByRole('button', { name: /^kitchen, 2 people/ }).waitFor();
    await press(mia, /^lobby, /);
    await say(noah, 'soup is ready');
    await press(mia, /^kitchen, 2 people, 1 unread/);
    await receives(mia, 'soup is ready');
    await mia.getByRole('button', { name: /^kitchen, 2 people$/ }).waitFor();

    await press(mia, 'Leave kitchen');
    await seesGone(noah, 'mia');
    await press(mia, /^kitchen, /);
    await receives(mia, 'soup is ready');
    await sees(noah, 'mia', 'online');
  });

  test('the dashboard counts users, connects and messages per node', async () => {
    const olga = await tabs.enter('olga', 'node-1');
    await tabs.enter('pete', 'node-1');
    const chart = (name: RegExp) => olga.getByRole('img', { name });
    // The number shows the newest sample, which a slow page may skip. The plot keeps a connect for a minute.
    const sinceConnect = async () => {
      const line = await chart(/^Connects per second: /)
        .locator('.series.s2')
        .getAttribute('d');
      const points = [...(line ?? '').matchAll(/[ML]([\d.]+) ([\d.]+)/g)].map(([, x, y]) => [
        Number(x),
        Number(y),
      ]);
      const bottom = Math.max(...points.map(([, y = 0]) => y));
      const connect = points.findLast(([, y = 0]) => y < bottom);
      return (points.at(-1)?.[0] ?? 0) - (connect?.[0] ?? -Infinity);
    };
    await chart(/^Online users: node-1 2, node-2 0$/).waitFor();
    await chart(/^Connects per second: node-1 .*, node-2 0$/).waitFor();
    const before = await sinceConnect();
    await tabs.enter('quin', 'node-2');
    await waitFor(async () => (await sinceConnect()) < before, {
      message: 'the connect at node-2 in the plot',
    });
    await chart(/^Online users: node-1 2, node-2 1$/).waitFor();
    await chart(/^Connects per second: node-1 0, node-2 0$/).waitFor();
    // Each message counts once, at the node of its author, whatever the number of its receivers.
    let count = 0;
    await waitFor(
      async () => {
        await say(olga, `counting ${++count}`);
        // Below 1 where sending a message takes longer than a second.
        return chart(/^Messages per second: node-1 (?!0,)[\d.]+, node-2 0$/).isVisible();
      },
      { interval: 200, timeout: 15_000, message: 'messages in the plot' },
    );
    await receives(olga, `counting ${count}`);
    const { messages: total } = await nextStats(demo.url, 'node-1');
    for (const text of ['one', 'two', 'three']) await say(olga, text);
    await receives(olga, 'three');
    expect((await nextStats(demo.url, 'node-1')).messages).toBe(total + 3);
  });

  test('with all nodes killed the page shows that users are offline; after a restart they are online', async () => {
    expected = SERVER_GONE;
    const rosa = await tabs.enter('rosa', 'node-1');
    for (const node of ['node-1', 'node-2']) {
      await press(rosa, `Kill ${node}`);
      await rosa.getByRole('button', { name: `Start ${node}` }).waitFor();
    }
    await rosa.locator('#connection').filter({ hasText: 'reconnecting' }).waitFor();
    // The fault is shown where the chat is, also on a phone, and nothing is claimed about anyone.
    await rosa.setViewportSize({ width: 390, height: 700 });
    await rosa.getByRole('button', { name: 'Chat', exact: true }).click();
    await rosa.getByText('Both servers are down.').waitFor();
    await rosa.getByRole('button', { name: 'Start a server' }).waitFor();
    await rosa.setViewportSize({ width: 1300, height: 800 });
    await sees(rosa, 'rosa', 'unknown');
    await say(rosa, 'is there anybody?');
    const status = async () => {
      const answer = await (await fetch(`${demo.url}/presence?user=rosa`)).json();
      return (answer as { rosa: { status: string } }).rosa.status;
    };
    await waitFor(async () => (await status()) === 'offline', {
      timeout: 20_000,
      message: 'rosa to be offline',
    });
    for (const node of ['node-1', 'node-2']) {
      await press(rosa, `Start ${node}`);
      await rosa.getByRole('button', { name: `Kill ${node}` }).waitFor();
    }
    await isOn(rosa, /node-/);
    await sees(rosa, 'rosa', 'online');
    await rosa.getByText('Both servers are down.').waitFor({ state: 'detached' });
  });
});
