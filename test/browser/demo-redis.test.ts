import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startRedisCluster } from '../support/redis-cluster.js';
import { startRedisSentinel } from '../support/redis-sentinel.js';
import { findRedisServer } from '../support/tools.js';
import {
  killLeftovers,
  launchBrowser,
  messages,
  press,
  receives,
  reports,
  say,
  sees,
  startDemo,
  Tabs,
  talkAndLeave,
  watchForLoss,
} from './demo-fixture.js';

// The demo on other topologies than a single Redis, and during an outage of Redis.

let browser: Browser;

beforeAll(async () => {
  browser = await launchBrowser();
});

afterAll(async () => {
  await browser?.close();
  killLeftovers();
});

const redisServer = findRedisServer();

/** Topologies beside a single Redis; the demo takes their URLs too. */
const topologies = {
  'a Redis Cluster': async () => {
    const cluster = await startRedisCluster({ replicas: 0 });
    const hosts = cluster.ports.map((port) => `127.0.0.1:${port}`).join(',');
    return { url: `redis-cluster://${hosts}`, shown: `redis-cluster://${hosts}`, stop: () => cluster.stop() };
  },
  'a Redis under Sentinel': async () => {
    // No failover because the machine is busy: another test is about failovers.
    const fixture = await startRedisSentinel({ replicas: 1, downAfter: 30_000 });
    const shown = `redis-sentinel://${fixture.sentinels.map((port) => `127.0.0.1:${port}`).join(',')}`;
    return { url: `${shown}/${fixture.name}`, shown, stop: () => fixture.stop() };
  },
};

describe.each(redisServer ? Object.entries(topologies) : [])('the demo on %s', (_, start) => {
  test('two users on two nodes exchange messages, and see each other join and leave', async () => {
    const fixture = await start();
    try {
      const demo = await startDemo({ REDIS_URL: fixture.url });
      expect(demo.runsOn).toBe(fixture.shown);
      const tabs = new Tabs(browser, demo.url);
      await talkAndLeave(tabs, demo.url);
      await tabs.close();
      await demo.stop();
      expect(tabs.problems).toEqual([]);
    } finally {
      await fixture.stop();
    }
  });
});

describe.each([
  { kind: 'embedded and cut off', button: 'Cut off Redis for 5 s', args: [] },
  ...(redisServer
    ? [{ kind: 'started by itself and frozen', button: 'Freeze Redis for 5 s', args: ['--real'] }]
    : []),
])('the demo, its Redis $kind for longer than a lease', ({ button, args }) => {
  test('while Redis is away messages wait, arrive once afterwards, and no user goes offline', async () => {
    const demo = await startDemo({}, args);
    const tabs = new Tabs(browser, demo.url);
    const sara = await tabs.enter('sara', 'node-1');
    const tom = await tabs.enter('tom', 'node-2');
    await sees(sara, 'tom', 'node-2');
    await say(sara, 'is this on?');
    await receives(tom, 'is this on?');
    const lost = await watchForLoss(sara);
    await press(sara, button);
    await reports(sara, button);
    await sara.getByText('Redis does not answer.').waitFor();
    await say(tom, 'said meanwhile');
    await reports(sara, 'Redis can be reached again');
    await receives(sara, 'said meanwhile');
    await say(sara, 'that was cold');
    await receives(tom, 'that was cold');
    for (const page of [sara, tom]) {
      expect(await messages(page)).toEqual(['is this on?', 'said meanwhile', 'that was cold']);
    }
    expect(await lost()).toEqual([]);
    await tabs.close();
    await demo.stop();
    expect(tabs.problems).toEqual([]);
  });
});
