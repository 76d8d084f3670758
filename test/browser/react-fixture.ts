import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { Redis } from 'ioredis';
import { type Browser, chromium, type Page as Tab } from 'playwright-core';
import { createRollcall, NotificationService, type Rollcall } from 'rollcall';
import { createEmbeddedRedis } from 'rollcall/testing';
import { serveWebSocket } from 'rollcall/ws';
import { WebSocketServer } from 'ws';
import { startRedis } from '../support/redis-server.js';
import { findChromium } from '../support/tools.js';
import { waitFor } from '../support/wait.js';
import type { Page, Part } from './react-app.js';

const file = (path: string) => fileURLToPath(new URL(path, import.meta.url));

const HTML = `<!doctype html><html lang="en"><head><title>React</title><link rel="icon" href="data:,"></head>
<body><div id="root"></div><script src="/app.js"></script></body></html>`;

export type ReactVersion = 18 | 19;

const REACT_18 = { react: 'react-18', 'react-dom': 'react-dom-18' };

/** `production` is also without strict mode. */
type Mode = 'development' | 'production';

/** The script of the page, from the sources. `page`: another than `react-app.ts`. */
async function bundle(react: ReactVersion, mode: Mode, page: string | undefined): Promise<string> {
  const { outputFiles } = await build({
    ...(page === undefined
      ? { entryPoints: [file('react-app.ts')] }
      : { stdin: { contents: page, loader: 'tsx' as const, resolveDir: file('.') } }),
    jsx: 'automatic',
    alias: {
      ...(react === 18 && REACT_18),
      'rollcall/client': file('../../src/client/index.ts'),
      'rollcall/react': file('../../src/react/index.ts'),
    },
    define: { 'process.env.NODE_ENV': JSON.stringify(mode), STRICT: String(mode === 'development') },
    bundle: true,
    write: false,
    logLevel: 'silent',
  });
  return outputFiles[0]?.text ?? '';
}

async function startRealRedis() {
  const server = await startRedis();
  const client = new Redis(server.port, '127.0.0.1');
  const close = async () => {
    client.disconnect();
    await server.stop();
  };
  return { client, close };
}

/** A server on Redis, and a browser. */
export interface ReactFixture extends Rollcall {
  readonly notifications: NotificationService;
  readonly browser: Browser;
  readonly url: string;
  readonly sockets: WebSocketServer;
  /** Who may not do anything where. */
  readonly forbidden: Set<string>;
  /** Actions for which `authorize` throws, as when its database is away. */
  readonly failing: Set<string>;
  /** Nobody gets a connection before it is settled. */
  gate: Promise<unknown>;
  /** Answers other paths; called with those that begin with `/x`. */
  answer: (request: IncomingMessage, response: ServerResponse) => void;
  end(): Promise<void>;
}

/** The history of each room has up to 100 messages, or 1,000 on a real server. */
export async function startFixture(
  react: ReactVersion = 19,
  redisType: 'embedded' | 'server' = 'embedded',
  mode: Mode = 'development',
  page?: string,
): Promise<ReactFixture> {
  const [script, redis] = await Promise.all([
    bundle(react, mode, page),
    redisType === 'server' ? startRealRedis() : createEmbeddedRedis(),
  ]);
  const rollcall = createRollcall({
    redis: redis.client,

    rooms: { history: { size: redisType === 'server' ? 1_000 : 100, ttl: 600_000 } },
  });
  const server = createServer((request, response) => {
    if (request.url?.startsWith('/x')) fixture.answer(request, response);
    else if (request.url === '/app.js') response.setHeader('content-type', 'text/javascript').end(script);
    else response.setHeader('content-type', 'text/html').end(HTML);
  });
  const sockets = new WebSocketServer({ server });
  const forbidden = new Set<string>();
  const notifications = new NotificationService({ rooms: rollcall.rooms });
  const serving = serveWebSocket(sockets, {
    // Those of `failing` are expected.
    ...(mode === 'production' && { onError: null }),
    rooms: rollcall.rooms,
    authenticate: async ({ url = '' }) => {
      await fixture.gate;
      return new URL(url, 'http://host').searchParams.get('user');
    },
    requests: { ...notifications.requestHandlers() },
    authorize: (_user, request) => {
      if (fixture.failing.has(request.action)) throw new Error('the database is away');
      return !('room' in request && forbidden.has(request.room));
    },
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const browser = await chromium.launch({
    executablePath: findChromium() as string,
    // As a visitor's browser: a page that is left is kept, and shown again as it was.
    ignoreDefaultArgs: ['--disable-back-forward-cache'],
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
  const fixture: ReactFixture = {
    ...rollcall,
    notifications,
    browser,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    sockets,
    forbidden,
    failing: new Set(),
    gate: Promise.resolve(),
    answer: (_, response) => void response.writeHead(404).end(),
    end: async () => {
      await browser.close();
      await serving.close();
      sockets.close();
      server.closeAllConnections();
      await once(server.close(), 'close');
      await rollcall.close();
      await redis.close();
    },
  };
  return fixture;
}

/** A tab with the page. */
export class ReactTab {
  readonly tab: Tab;
  readonly problems: string[];
  /** Messages of the console and uncaught errors that are no problem, whenever they arrive. */
  expected: RegExp | undefined;

  private constructor(tab: Tab, problems: string[]) {
    this.tab = tab;
    this.problems = problems;
  }

  static async open({ browser, url }: ReactFixture, user: string): Promise<ReactTab> {
    const tab = await browser.newPage();
    const problems: string[] = [];
    const opened = new ReactTab(tab, problems);
    const add = (problem: string) => {
      if (opened.expected?.test(problem) !== true) problems.push(problem);
    };
    // React 18 throws again what a boundary has caught.
    tab.on('pageerror', (error) => add(String(error)));
    tab.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') add(message.text());
    });
    await tab.goto(`${url}/?user=${user}`);
    await opened.until('the page', (page) => page.client.state === 'open' && !!page.show);
    return opened;
  }

  show(...parts: Part[]): Promise<void> {
    return this.tab.evaluate((parts) => (globalThis as unknown as Page).show(parts), parts);
  }

  /** What `look` makes of the page. */
  see<T, A>(look: (page: Page, arg: A) => T | Promise<T>, arg?: A): Promise<T> {
    return this.tab.evaluate(`(${look})(globalThis, ${JSON.stringify(arg)})`) as Promise<T>;
  }

  /** Waits until `look` gives true; anything else is for the error. */
  async until<A>(what: string, look: (page: Page, arg: A) => unknown, arg?: A): Promise<void> {
    let last: unknown;
    const now = async () => {
      last = await this.see(look, arg);
      return last === true;
    };
    await waitFor(now, {
      timeout: 15_000,
      message: () => `${what}; last: ${String(last)}; problems: ${this.problems.join('; ')}`,
    });
  }
}
