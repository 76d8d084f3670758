import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { startRedisCluster } from '../support/redis-cluster.js';
import { startRedisSentinel } from '../support/redis-sentinel.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { findChromium, findRedisServer } from '../support/tools.js';
import { waitFor, withDeadline } from '../support/wait.js';

// The demo as a person meets it: the program started as `npm start` does, and the page in a browser.
// It runs on the built package; `npm test` builds it first.

const program = fileURLToPath(new URL('../../examples/demo/main.js', import.meta.url));

/** Lease and grace of the demo, the sweeps between them, and some patience. */
const UNTIL_GONE = 15_000;

const children = new Set<ChildProcess>();

function spawnDemo(env: Record<string, string>) {
  const { REDIS_URL: _url, HOST: _host, ...inherited } = process.env;
  const child = spawn(process.execPath, [program], {
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

async function startDemo(env: Record<string, string> = {}) {
  const { child, output, closed } = spawnDemo(env);
  const started = await waitFor(() => /(http:\S+) on (.+)\n/.exec(output.stdout), {
    timeout: 20_000,
    message: () => `the demo to start: ${output.stderr}`,
  });
  const [, url, runsOn] = started ?? [];
  return {
    url: url as string,
    runsOn: runsOn as string,
    output,
    async stop() {
      child.kill('SIGTERM');
      await withDeadline(closed, 10_000, 'stopping the demo');
      expect(output.stderr).toBe('');
      expect(child.exitCode).toBe(0);
    },
  };
}

let browser: Browser;

beforeAll(async () => {
  browser = await chromium.launch({
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
});

afterAll(async () => {
  await browser?.close();
  for (const child of children) child.kill('SIGKILL');
});

/** A tab of its own. Whatever goes wrong in it is in `problems`. */
async function openTab(url: string, problems: string[]): Promise<Page> {
  const page = await browser.newPage();
  page.setDefaultTimeout(10_000);
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error') problems.push(message.text());
  });
  await page.goto(url);
  return page;
}

async function join(page: Page, name: string, node: string): Promise<void> {
  await page.getByLabel('Your name').fill(name);
  await page.getByRole('radio', { name: node }).check();
  await page.getByRole('button', { name: 'Join' }).click();
  await page.getByText(`You are ${name} on ${node}.`).waitFor();
}

const row = (page: Page, name: string) =>
  page.getByRole('region', { name: 'Online' }).getByRole('listitem').filter({ hasText: name });

/** Waits until `page` lists `name` with all of `parts`. */
async function sees(page: Page, name: string, ...parts: string[]): Promise<void> {
  let found = row(page, name);
  for (const part of parts) found = found.filter({ hasText: part });
  await found.waitFor({ timeout: UNTIL_GONE });
}

async function seesGone(page: Page, name: string): Promise<void> {
  await row(page, name).waitFor({ state: 'detached', timeout: UNTIL_GONE });
}

/** Two people on two nodes see each other come, change and go. */
async function comeChangeAndGo(open: () => Promise<Page>, url: string): Promise<void> {
  const [a, b] = [await open(), await open()];
  await join(a, 'alice', 'node-1');
  await join(b, 'bob', 'node-2');
  for (const page of [a, b]) {
    await sees(page, 'alice', 'online', '1 socket', 'node-1');
    await sees(page, 'bob', 'online', '1 socket', 'node-2');
  }

  await b.getByRole('radio', { name: 'away' }).check();
  await sees(a, 'bob', 'away');
  await a.getByText('bob online → away').waitFor();

  await b.getByRole('button', { name: 'Wave' }).click();
  await a.getByText('bob waves').waitFor();

  const looked = await (await fetch(`${url}/presence?user=alice&user=bob&user=nobody`)).json();
  expect(looked).toMatchObject({
    alice: { userId: 'alice', status: 'online', sockets: [{ status: 'online', meta: { node: 'node-1' } }] },
    bob: { userId: 'bob', status: 'away', sockets: [{ status: 'away', meta: { node: 'node-2' } }] },
    nobody: null,
  });

  await b.close();
  await sees(a, 'bob', 'within grace');
  await seesGone(a, 'bob');
  await a.getByText('bob away → offline').waitFor();
  await sees(a, 'alice', 'online');
}

const redisServer = findRedisServer();

/** Topologies beside a single Redis; the demo takes their URLs too. */
const topologies = {
  'a Redis Cluster': async () => {
    const cluster = await startRedisCluster({ replicas: 0 });
    const hosts = cluster.ports.map((port) => `127.0.0.1:${port}`).join(',');
    return { url: `redis-cluster://${hosts}`, shown: `redis-cluster://${hosts}`, stop: () => cluster.stop() };
  },
  'a Redis under Sentinel': async () => {
    const world = await startRedisSentinel({ replicas: 1 });
    const shown = `redis-sentinel://${world.sentinels.map((port) => `127.0.0.1:${port}`).join(',')}`;
    return { url: `${shown}/${world.name}`, shown, stop: () => world.stop() };
  },
};

describe.each(redisServer ? Object.entries(topologies) : [])('the demo on %s', (_, start) => {
  test('two people on two nodes see each other come, change and go', async () => {
    const world = await start();
    const pages: Page[] = [];
    const problems: string[] = [];
    try {
      const demo = await startDemo({ REDIS_URL: world.url });
      expect(demo.runsOn).toBe(world.shown);
      const open = async () => {
        const page = await openTab(demo.url, problems);
        pages.push(page);
        return page;
      };
      await comeChangeAndGo(open, demo.url);
      await Promise.all(pages.map((page) => page.close()));
      await demo.stop();
      expect(problems).toEqual([]);
    } finally {
      await world.stop();
    }
  });
});

describe.each([
  { kind: 'on the embedded Redis', real: false },
  ...(redisServer ? [{ kind: 'on a real Redis, with nodes as processes', real: true }] : []),
])('the demo $kind', ({ real }) => {
  let redis: RedisServer | undefined;
  let demo: Awaited<ReturnType<typeof startDemo>>;
  let pages: Page[] = [];
  let problems: string[] = [];

  const open = async () => {
    const page = await openTab(demo.url, problems);
    pages.push(page);
    return page;
  };

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
    problems = [];
  });

  afterEach(async () => {
    await Promise.all(pages.map((page) => page.close()));
    pages = [];
    expect(problems).toEqual([]);
  });

  test('says what it runs on, without the password', () => {
    expect(demo.runsOn).toBe(redis ? `redis://127.0.0.1:${redis.port}` : 'embedded Redis');
  });

  test('two people on two nodes see each other come, change and go', async () => {
    await comeChangeAndGo(open, demo.url);
  });

  test('one person in two tabs has two sockets', async () => {
    const [a, b] = [await open(), await open()];
    await join(a, 'carol', 'node-1');
    await join(b, 'carol', 'node-2');
    await sees(a, 'carol', '2 sockets', 'node-1', 'node-2');
    await b.getByRole('radio', { name: 'busy' }).check();
    await sees(a, 'carol', 'busy', '2 sockets');
    await b.getByRole('button', { name: 'Leave' }).click();
    await sees(a, 'carol', 'online', '1 socket', 'node-1');
    await sees(b, 'carol', 'online', '1 socket', 'node-1');
  });

  test('the users of a killed node go, the others stay; the node can be started again', async () => {
    const [a, b, c] = [await open(), await open(), await open()];
    await join(a, 'dave', 'node-1');
    await join(b, 'erin', 'node-2');
    await join(c, 'dave', 'node-2');
    await sees(a, 'dave', '2 sockets');
    await sees(a, 'erin', '1 socket', 'node-2');

    await a.getByRole('button', { name: 'Kill node-2' }).click();
    await a.getByRole('button', { name: 'Start node-2' }).waitFor();
    await b.getByRole('alert').filter({ hasText: 'The connection to node-2 is lost' }).waitFor();
    await seesGone(a, 'erin');
    await a.getByText('erin online → offline').waitFor();
    await sees(a, 'dave', 'online', '1 socket', 'node-1');
    // The tab whose node has gone goes on watching.
    await seesGone(b, 'erin');
    // Nobody can join by a node that is down.
    expect(await b.getByRole('radio', { name: 'node-2' }).isDisabled()).toBe(true);

    await a.getByRole('button', { name: 'Start node-2' }).click();
    await a.getByRole('button', { name: 'Kill node-2' }).waitFor();
    await join(b, 'erin', 'node-2');
    await sees(a, 'erin', 'online', '1 socket', 'node-2');
  });

  test('with all nodes killed the front announces who is offline', async () => {
    const [a, b] = [await open(), await open()];
    await join(a, 'frank', 'node-1');
    await sees(b, 'frank', 'node-1');
    for (const node of ['node-1', 'node-2']) await b.getByRole('button', { name: `Kill ${node}` }).click();
    await seesGone(b, 'frank');
    await b.getByText('frank online → offline').waitFor();
    for (const node of ['node-1', 'node-2']) {
      await b.getByRole('button', { name: `Start ${node}` }).click();
      await b.getByRole('button', { name: `Kill ${node}` }).waitFor();
    }
  });

  test.each([
    { what: 'nobody', path: '/presence', says: 'user' },
    { what: 'an empty name', path: '/presence?user=', says: 'userId' },
    { what: 'a name too long', path: `/presence?user=${'x'.repeat(513)}`, says: 'userId' },
    { what: 'too many', path: `/presence?${'user=a&'.repeat(101)}`, says: '100' },
  ])('GET /presence of $what is a bad request', async ({ path, says }) => {
    const response = await fetch(demo.url + path);
    expect(response.status).toBe(400);
    const body = (await response.json()) as { error: string };
    expect(Object.keys(body)).toEqual(['error']);
    expect(body.error).toContain(says);
    expect(body.error).not.toContain('\n');
  });

  test('a stranger who sends nonsense is told, and harms nobody', async () => {
    const socket = new WebSocket(`${demo.url.replace('http', 'ws')}/ws?node=node-1`);
    const errors: string[] = [];
    socket.on('message', (data) => {
      const message = JSON.parse(String(data)) as { type: string; message: string };
      if (message.type === 'error') errors.push(message.message);
    });
    await withDeadline(once(socket, 'open'), 5_000, 'connecting');
    const refused = [
      '{',
      'null',
      '[]',
      '{"type":"status","status":"online"}',
      '{"type":"hello"}',
      '{"type":"hello","name":"   "}',
      JSON.stringify({ type: 'hello', name: 'x'.repeat(41) }),
      String.raw`{"type":"hello","name":"\ud800"}`,
    ];
    for (const frame of refused) socket.send(frame);
    await waitFor(() => errors.length === refused.length, { message: () => `the errors: ${errors}` });

    socket.send('{"type":"hello","name":"__proto__"}');
    socket.send('{"type":"hello","name":"twice"}');
    socket.send('{"type":"status","status":"offline"}');
    await waitFor(() => errors.length === refused.length + 2, { message: () => `the errors: ${errors}` });

    socket.send('x'.repeat(2_000));
    const [code] = await withDeadline(once(socket, 'close'), 5_000, 'the end of the connection');
    expect(code).toBe(1009);
    expect((await fetch(`${demo.url}/presence?user=__proto__`)).status).toBe(200);

    const foreign = new WebSocket(`${demo.url.replace('http', 'ws')}/ws`, { origin: 'http://example.com' });
    const [error] = await withDeadline(once(foreign, 'error'), 5_000, 'the refusal');
    expect(String(error)).toContain('403');
  });
});

describe('what cannot work gets one line and exit code 1', () => {
  async function failure(env: Record<string, string>) {
    const { child, output, closed } = spawnDemo(env);
    await withDeadline(closed, 20_000, 'the demo to give up');
    return { code: child.exitCode, ...output };
  }

  test('a port that is taken', async () => {
    const other = createServer();
    await once(other.listen(0, '127.0.0.1'), 'listening');
    const { port } = other.address() as { port: number };
    const failed = await failure({ PORT: String(port) });
    other.close();
    expect(failed).toEqual({
      code: 1,
      stdout: '',
      stderr: `rollcall demo: port ${port} is taken; choose another with PORT=…\n`,
    });
  });

  test.each(['port', '-1', '65536', '3000.5'])('PORT=%s', async (port) => {
    const failed = await failure({ PORT: port });
    expect(failed).toMatchObject({ code: 1, stdout: '' });
    expect(failed.stderr).toMatch(/^rollcall demo: PORT must be .+\n$/);
  });

  test('a Redis that cannot be reached', async () => {
    const closed = createServer();
    await once(closed.listen(0, '127.0.0.1'), 'listening');
    const { port } = closed.address() as { port: number };
    closed.close();
    const failed = await failure({ REDIS_URL: `redis://somebody:a-secret@127.0.0.1:${port}` });
    expect(failed).toMatchObject({ code: 1, stdout: '' });
    expect(failed.stderr).toMatch(
      new RegExp(`^rollcall demo: redis://127.0.0.1:${port}: .*ECONNREFUSED.*\n$`),
    );
    expect(failed.stderr).not.toContain('a-secret');
  });

  test.each(['nonsense', 'http://127.0.0.1:1'])('REDIS_URL=%s', async (url) => {
    const failed = await failure({ REDIS_URL: url });
    expect(failed).toMatchObject({ code: 1, stdout: '' });
    expect(failed.stderr).toMatch(/^rollcall demo: .+\n$/);
  });

  test.skipIf(!redisServer)('a wrong password', async () => {
    const redis = await startRedis({ args: ['--requirepass', 'a-secret'] });
    try {
      const failed = await failure({ REDIS_URL: `redis://:wrong@127.0.0.1:${redis.port}` });
      expect(failed).toMatchObject({ code: 1, stdout: '' });
      expect(failed.stderr).toMatch(/^rollcall demo: redis:.+WRONGPASS.*\n$/);
    } finally {
      await redis.stop();
    }
  });
});
