import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { createRollcall, type Rollcall } from 'rollcall';
import type { Client, WebSocketConstructor } from 'rollcall/client';
import { createHttpHandler, type HttpHandler } from 'rollcall/server';
import { createEmbeddedRedis, type EmbeddedRedis } from 'rollcall/testing';
import { type ServeHandle, type ServeOptions, serveWebSocket } from 'rollcall/ws';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { HttpSocket } from '../../src/client/http-socket.js';
import { FakeBrowser, type FakeTab } from '../shared/tabs-fixture.js';
import { waitFor } from '../support/wait.js';

let redis: EmbeddedRedis;
let rollcall: Rollcall;
let server: Server;
let wss: WebSocketServer;
let serving: ServeHandle;
let http: HttpHandler;
let url: string;
let browser: FakeBrowser;
/** Upgrades are refused. */
let blocked: boolean;
/** Messages of the server that the worker has received. */
let arrived: string[];
/** Queries that `authenticate` was asked about. */
let asked: (string | null)[];
const failures: unknown[] = [];

const query = ({ url = '' }: { url?: string | undefined }) =>
  new URLSearchParams(url.slice(url.indexOf('?')));

class CountedWebSocket extends WebSocket {
  constructor(address: string, protocols: string[]) {
    super(address, protocols);
    this.on('message', (data) => arrived.push(String(data)));
  }
}

function serve(more: Partial<ServeOptions> = {}): void {
  const options: ServeOptions = {
    rooms: rollcall.rooms,
    authenticate(request: IncomingMessage) {
      asked.push(query(request).get('token'));
      return query(request).get('user');
    },
    authorize: () => true,
    requests: { echo: (_, data) => data },
    onError: (error) => failures.push(error),
    ...more,
  };
  wss = new WebSocketServer({ noServer: true });
  serving = serveWebSocket(wss, options);
  http = createHttpHandler(options);
}

beforeEach(async () => {
  redis = await createEmbeddedRedis();
  rollcall = createRollcall({
    redis: redis.client,
    presence: { grace: 0 },
    rooms: { history: { size: 1_000, ttl: 60_000 } },
    onError: (error) => failures.push(error),
  });
  blocked = false;
  arrived = [];
  asked = [];
  server = createServer((request, response) => void http.handle(request, response));
  server.on('upgrade', (request, socket: Socket, head) => {
    if (blocked) socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
    else wss.handleUpgrade(request, socket, head, (each) => wss.emit('connection', each, request));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}/ws`;
  browser = new FakeBrowser({
    WebSocket: CountedWebSocket as unknown as WebSocketConstructor,
    HttpSocket,
    now: Date.now,
  });
});

afterEach(async () => {
  browser.close();
  await serving.close();
  await http.shutdown();
  for (const each of wss.clients) each.terminate();
  server.closeAllConnections();
  server.close();
  await rollcall.close();
  await redis.close();
  expect(failures.splice(0)).toEqual([]);
});

const until = (message: string, fn: () => unknown) => waitFor(fn, { message, timeout: 10_000 });
const openTab = (user = 'ann', identity?: string) => browser.open({ url: `${url}?user=${user}` }, identity);
const openTabs = (count: number) => Array.from({ length: count }, () => openTab());
const cut = () => {
  for (const each of wss.clients) each.terminate();
  server.closeAllConnections();
};

/** Events of a room, as one tab receives them. */
function listen({ client }: { client: Client }, name = 'lobby') {
  const room = client.join(name, { members: true });
  const received: unknown[] = [];
  const gaps: boolean[] = [];
  room.on('message', (data) => received.push(data));
  room.onDiscontinuity(({ recovered }) => gaps.push(recovered));
  return { room, received, gaps };
}

async function listenAll(tabs: FakeTab[]) {
  const all = tabs.map((tab) => listen(tab));
  await Promise.all(all.map(({ room }) => room.ready));
  return all;
}

describe('tabs with one connection', () => {
  test('seven tabs receive each event once, which travels once', async () => {
    serve();
    const tabs = await listenAll(openTabs(7));
    expect(wss.clients.size).toBe(1);
    expect(serving.stats().connections).toBe(7);
    arrived.length = 0;
    for (const n of [1, 2, 3]) await rollcall.rooms.broadcast('lobby', 'message', n);
    await until('three events', () => tabs.every(({ received }) => received.length === 3));
    expect(tabs.map(({ received }) => received)).toEqual(tabs.map(() => [1, 2, 3]));
    expect(arrived.filter((text) => text.includes('"message"'))).toHaveLength(3);
    await until('seven sockets', () => tabs.every(({ room }) => room.members.get('ann')?.sockets === 7));
  });

  test('each tab has its own calls, status, info and echo', async () => {
    serve();
    const tabs = openTabs(3);
    const all = await listenAll(tabs);
    const [first, second] = tabs as [FakeTab, FakeTab];
    expect(await Promise.all(tabs.map(({ client }, n) => client.request('echo', n)))).toEqual([0, 1, 2]);
    await all[0]?.room.send('message', 'mine', { echo: false });
    await all[1]?.room.send('message', 'ours');
    await until('two events', () => all[2]?.received.length === 2);
    expect(all.map(({ received }) => received)).toEqual([['ours'], ['mine', 'ours'], ['mine', 'ours']]);
    await Promise.all([first.client.setStatus('away'), second.client.setStatus('busy')]);
    const data = await rollcall.presence.getPresence('ann');
    expect(Object.keys(data?.sockets ?? {})).toHaveLength(3);
    expect(new Set(tabs.map(({ client }) => client.socket)).size).toBe(3);
  });

  test('the end of the tab that was first changes nothing for the others, and the last one closes the connection', async () => {
    serve();
    const tabs = openTabs(3);
    const all = await listenAll(tabs);
    const lost: unknown[] = [];
    for (const { client } of tabs.slice(1)) client.on('reconnecting', (info) => lost.push(info));
    tabs[0]?.client.close();
    await until('two sockets', () => all[1]?.room.members.get('ann')?.sockets === 2);
    await rollcall.rooms.broadcast('lobby', 'message', 1);
    await until('one event', () => all.slice(1).every(({ received }) => received.length === 1));
    expect([lost, all[0]?.received, wss.clients.size]).toEqual([[], [], 1]);
    for (const { client } of tabs) client.close();
    await until('no connection', () => wss.clients.size === 0);
    await until('offline', async () => (await rollcall.presence.getPresence('ann'))?.status === 'offline');
  });

  test('every tab recovers what it missed while the connection was lost', async () => {
    serve();
    const tabs = openTabs(4);
    const all = await listenAll(tabs);
    await rollcall.rooms.broadcast('lobby', 'message', 1);
    await until('one event', () => all.every(({ received }) => received.length === 1));
    for (const round of [2, 3]) {
      blocked = true;
      cut();
      await until('lost', () => tabs.every(({ client }) => client.state !== 'open'));
      await rollcall.rooms.broadcast('lobby', 'message', round);
      blocked = false;
      await until('recovered', () => all.every(({ received }) => received.length === round));
    }
    expect(all.map(({ received }) => received)).toEqual(all.map(() => [1, 2, 3]));
    expect(all.flatMap(({ gaps }) => gaps)).not.toContain(false);
    // After three refused upgrades, the connection is an event stream.
    expect(wss.clients.size).toBe(http.stats().connections > 0 ? 0 : 1);
  });

  test('a tab that crashes leaves its rooms, and the others stay', async () => {
    serve();
    const tabs = openTabs(2);
    const [, second] = await listenAll(tabs);
    await until('two sockets', () => second?.room.members.get('ann')?.sockets === 2);
    tabs[0]?.crash();
    await until('one socket', () => second?.room.members.get('ann')?.sockets === 1);
    expect([wss.clients.size, serving.stats().connections]).toEqual([1, 1]);
  });

  test('a frozen tab leaves its rooms, and recovers when it runs again', async () => {
    serve({ heartbeatInterval: 50, pongTimeout: 100 });
    const tabs = openTabs(2);
    const [first, second] = await listenAll(tabs);
    await until('two sockets', () => second?.room.members.get('ann')?.sockets === 2);
    tabs[0]?.freeze();
    await until('one socket', () => second?.room.members.get('ann')?.sockets === 1);
    expect(serving.stats().silent).toBe(1);
    await rollcall.rooms.broadcast('lobby', 'message', 1);
    await until('one event', () => second?.received.length === 1);
    tabs[0]?.thaw();
    await until('recovered', () => first?.received.length === 1);
    expect(first?.gaps).not.toContain(false);
    expect([wss.clients.size, tabs[1]?.client.state]).toEqual([1, 'open']);
  });

  test('tabs with different identities or addresses do not share', async () => {
    serve();
    await listenAll([openTab('ann', 'a'), openTab('bob', 'b'), openTab('ann', 'a')]);
    expect(wss.clients.size).toBe(2);
    await listenAll([browser.open({ url: `${url}2?user=ann` }, 'a')]);
    expect(wss.clients.size).toBe(3);
  });

  test('every tab authenticates with its own URL, which it makes for each connection', async () => {
    serve();
    let token = 0;
    const open = () => browser.open({ url: () => `${url}?user=ann&token=${++token}` });
    const tabs = [open(), open(), open()];
    await listenAll(tabs);
    expect(asked).toEqual(['1', '2', '3']);
    cut();
    await until('again', () => asked.length === 6 && tabs.every(({ client }) => client.state === 'open'));
    expect(asked.slice(3)).toEqual(expect.arrayContaining(['4', '5', '6']));
  });

  test('a tab that logs in changes its own user, and the others keep theirs', async () => {
    serve({ identityChange: true });
    let user = 'guest';
    const tabs = [browser.open({ url: () => `${url}?user=${user}` }), openTab('guest')];
    const [one] = await listenAll(tabs);
    user = 'ann';
    await tabs[0]?.client.refresh();
    expect(tabs.map(({ client }) => client.user)).toEqual(['ann', 'guest']);
    await until('both', () => one?.room.members.size === 2);
    expect(wss.clients.size).toBe(1);
  });

  test('a refused tab is closed with its code, and the others stay', async () => {
    serve();
    const tabs = openTabs(2);
    await listenAll(tabs);
    const closed: unknown[] = [];
    openTab('').client.on('closed', ({ code }) => closed.push(code));
    await until('refused', () => closed.length === 1);
    expect([closed, tabs.map(({ client }) => client.state)]).toEqual([[4401], ['open', 'open']]);
  });

  test('a tab that the headers of an older handshake would refuse gets a connection of its own', async () => {
    let session = 'old';
    serve({ authenticate: ({ headers }) => (headers.cookie === session ? 'ann' : null) });
    class CookieWebSocket extends WebSocket {
      constructor(address: string, protocols: string[]) {
        super(address, protocols, { headers: { cookie: session } });
      }
    }
    browser = new FakeBrowser({
      WebSocket: CookieWebSocket as unknown as WebSocketConstructor,
      HttpSocket,
      now: Date.now,
    });
    const first = openTab();
    await listenAll([first]);
    session = 'new';
    const later = openTabs(2);
    await listenAll(later);
    expect([wss.clients.size, asked.length, first.client.state]).toEqual([2, 0, 'open']);
  });

  test('a restart of the server moves all tabs', async () => {
    serve();
    const tabs = openTabs(3);
    const all = await listenAll(tabs);
    const before = serving;
    const codes: number[] = [];
    for (const { client } of tabs) client.on('reconnecting', ({ code }) => codes.push(code));
    await before.close({ drainPeriod: 100 });
    serve();
    await rollcall.rooms.broadcast('lobby', 'message', 1);
    await until('one event', () => all.every(({ received }) => received.length === 1));
    expect(new Set(codes.filter((code) => code !== 1012 && code !== 1006))).toEqual(new Set());
    await until('one connection', () => wss.clients.size === 1);
  });

  test('a server that does not know shared connections ends the tabs with 1002', async () => {
    serve();
    wss.removeAllListeners('connection');
    wss.on('connection', (socket) => socket.send('{"type":"welcome","heartbeat":1000}'));
    const closed: unknown[] = [];
    for (const { client } of openTabs(2)) client.on('closed', (info) => closed.push(info));
    await until('closed', () => closed.length === 2);
    const reason = 'the server does not know shared connections';
    expect(closed).toEqual([
      { code: 1002, reason },
      { code: 1002, reason },
    ]);
  });

  test('where WebSockets are blocked, all tabs share one event stream', async () => {
    serve();
    blocked = true;
    const tabs = openTabs(7);
    const all = await listenAll(tabs);
    await all[3]?.room.send('message', 1);
    await until('one event', () => all.every(({ received }) => received.length === 1));
    expect([wss.clients.size, http.stats().connections]).toEqual([0, 7]);
    // A keep-alive connection may be idle; one response is open.
    tabs[0]?.client.close();
    await until('six sockets', () => all[1]?.room.members.get('ann')?.sockets === 6);
  });

  test('more tabs than one connection takes get a second one', async () => {
    serve({ maxRooms: 1 });
    const tabs = openTabs(60);
    await until('open', () => tabs.every(({ client }) => client.state === 'open'));
    expect(wss.clients.size).toBe(2);
  });
});

describe('the server', () => {
  async function raw(): Promise<{ socket: WebSocket; messages: string[]; closed: number[] }> {
    const socket = new WebSocket(`${url}?user=ann&shared=1`, ['rollcall.1']);
    const messages: string[] = [];
    const closed: number[] = [];
    socket.on('message', (data) => messages.push(String(data)));
    socket.on('close', (code) => closed.push(code));
    await until('welcome', () => messages.some((text) => text.startsWith('1 {"type":"welcome"')));
    return { socket, messages, closed };
  }

  test('announces a shared connection, and the length that frames of a tab may have', async () => {
    serve();
    const { socket, messages } = await raw();
    expect(messages[0]).toBe('{"type":"shared"}');
    const { maxBytes } = JSON.parse(messages[1]?.slice(2) as string);
    const frame = (length: number) => `{"type":"ping","x":"${'x'.repeat(length - 22)}"}`;
    expect(frame(100)).toHaveLength(100);
    socket.send(`2 open /ws?user=ann`);
    socket.send(`1 ${frame(maxBytes)}`);
    await until('pong', () => messages.includes('1 {"type":"pong"}'));
    socket.send(`1 ${frame(maxBytes + 1)}`);
    await until('closed', () => messages.includes('1 close 1009 the frame is too long'));
    socket.send('2 {"type":"ping"}');
    await until('pong', () => messages.includes('2 {"type":"pong"}'));
    socket.close();
  });

  test.each(['', 'x', '{"type":"ping"}', '0 close', '1', '01 close', '1 open /ws', '1e3 open /ws'])(
    'closes a connection that sends %j with 4400',
    async (text) => {
      serve();
      const { socket, closed } = await raw();
      socket.send(text);
      await until('closed', () => closed.length === 1);
      expect([closed, serving.stats().malformed]).toEqual([[4400], 1]);
      await until('detached', () => serving.stats().connections === 0);
    },
  );

  test('closes a connection whose tab has an address that is too long', async () => {
    serve();
    const { socket, closed } = await raw();
    socket.send(`2 open /${'x'.repeat(16_384)}`);
    await until('closed', () => closed.length === 1);
    expect(closed).toEqual([4400]);
  });

  test('ignores frames for tabs that have ended, and never uses a number again', async () => {
    serve();
    const { socket, messages, closed } = await raw();
    socket.send('2 open /ws?user=bob');
    await until('welcome', () => messages.some((text) => text.startsWith('2 {"type":"welcome"')));
    socket.send('2 close');
    for (const text of [
      '2 {"type":"ping"}',
      '2 close',
      '2 pong 1',
      '9 {"type":"ping"}',
      '1 {"type":"ping"}',
    ]) {
      socket.send(text);
    }
    await until('pong', () => messages.includes('1 {"type":"pong"}'));
    expect([messages.includes('2 {"type":"pong"}'), closed]).toEqual([false, []]);
    socket.send('2 open /ws?user=bob');
    await until('closed', () => closed.length === 1);
    expect(closed).toEqual([4400]);
  });

  test('refuses tabs over the limit, also while earlier ones are attached', async () => {
    serve();
    const { socket, messages } = await raw();
    for (let id = 2; id <= 102; id++) socket.send(`${id} open /ws?user=user${id}`);
    await until('refused', () => messages.some((text) => text.includes('close')));
    expect(messages.filter((text) => text.includes('close'))).toEqual(['101,102 close 4529 too many tabs']);
    socket.close();
  });

  test('closes a connection without tabs', async () => {
    serve();
    const { socket, closed } = await raw();
    socket.send('1 close');
    await until('closed', () => closed.length === 1);
    expect(closed).toEqual([4000]);
  });
});
