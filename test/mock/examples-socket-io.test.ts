import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { RedisClient } from 'rollcall';
import { createEmbeddedRedis, type EmbeddedRedis } from 'rollcall/testing';
import { io as connectTo, type Socket } from 'socket.io-client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { waitFor } from '../support/wait.js';

// Two servers of the chat in docs/socket-io.md on one Redis.

interface Chat {
  server: Server;
  close(): Promise<void>;
}

interface Said {
  from: string;
  text: string;
}

let redis: EmbeddedRedis;
let chats: Chat[];
let urls: string[];
let errors: string[];
let sockets: Socket[];

beforeEach(async () => {
  const { createChat } = (await import(`../../examples/socket-io-express/${'chat.js'}`)) as unknown as {
    createChat(redis: RedisClient, options: { onError(error: Error): void }): Promise<Chat>;
  };
  redis = await createEmbeddedRedis();
  errors = [];
  sockets = [];
  const onError = ({ message }: Error) => errors.push(message);
  chats = await Promise.all([1, 2].map(() => createChat(redis.connect(), { onError })));
  urls = await Promise.all(
    chats.map(async ({ server }) => {
      await once(server.listen(0, '127.0.0.1'), 'listening');
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    }),
  );
});

afterEach(async () => {
  for (const socket of sockets) socket.disconnect();
  await Promise.all(chats.map((chat) => chat.close()));
  await redis.close();
  expect(errors).toEqual([]);
});

/** A page: the members and the messages it has received. */
class Page {
  readonly lines: string[] = [];
  readonly statuses = new Map<string, string>();
  members: string[] = [];
  position: string | undefined;
  readonly socket: Socket;

  constructor(url: string, name: unknown, reconnection = true) {
    const socket = connectTo(url, { forceNew: true, auth: { name }, reconnection, reconnectionDelay: 10 });
    sockets.push(socket);
    this.socket = socket;
    socket.on('connect', () => socket.emit('follow', this.position));
    socket.on('said', ({ from, text }: Said, context: { position: string }) => {
      this.position = context.position;
      this.lines.push(`${from}: ${text}`);
    });
    const learn = ({ userId, status }: { userId: string; status: string }) =>
      this.statuses.set(userId, status);
    socket.on('members', (ids: string[]) => {
      this.members = ids;
      socket.emit('presence:watch', ids, ({ users = [] }) => users.forEach(learn));
    });
    socket.on('presence:changed', learn);
  }

  say(text: unknown): Promise<object> {
    return this.socket.timeout(5_000).emitWithAck('say', text);
  }
}

test('users on two servers see each other and all messages', async () => {
  const ann = new Page(urls[0] as string, 'Ann');
  expect(await ann.say('hello')).toEqual({});
  const bob = new Page(urls[1] as string, 'Bob');
  await waitFor(() => bob.lines.length === 1 && ann.members.includes('Bob'));
  expect(await bob.say('hi')).toEqual({});
  await waitFor(() => ann.lines.length === 2);
  expect([ann.lines, bob.lines]).toEqual([
    ['Ann: hello', 'Bob: hi'],
    ['Ann: hello', 'Bob: hi'],
  ]);
  await waitFor(() => ann.statuses.get('Bob') === 'online');
  bob.socket.emit('presence:status', 'busy');
  await waitFor(() => ann.statuses.get('Bob') === 'busy');
  expect(await (await fetch(`${urls[0]}/online`)).json()).toEqual({ online: 2 });
  bob.socket.disconnect();
  await waitFor(() => ann.statuses.get('Bob') === 'offline' && !ann.members.includes('Bob'));
});

test('no message is lost or repeated after a broken connection', async () => {
  const ann = new Page(urls[0] as string, 'Ann');
  const bob = new Page(urls[1] as string, 'Bob');
  await bob.say('one');
  await waitFor(() => ann.lines.length === 1 && bob.statuses.get('Ann') === 'online');
  const seen: string[] = [];
  bob.socket.on('presence:changed', ({ userId, status }) => seen.push(`${userId} ${status}`));
  const again = once(ann.socket as never, 'connect');
  ann.socket.io.engine.close();
  await bob.say('two');
  await again;
  expect(ann.socket.recovered).toBe(true);
  await bob.say('three');
  await waitFor(() => ann.lines.length === 3);
  expect(ann.lines).toEqual(['Bob: one', 'Bob: two', 'Bob: three']);
  ann.socket.emit('presence:status', 'away');
  await waitFor(() => seen.length > 0);
  expect(seen).toEqual(['Ann away']);
});

test('invalid messages and names are rejected', async () => {
  const ann = new Page(urls[0] as string, 'Ann');
  for (const text of ['', 'x'.repeat(1_001), 1, null, { text: 'x' }]) {
    expect(await ann.say(text)).toMatchObject({ error: { code: 'INVALID' } });
  }
  ann.socket.emit('say');
  ann.socket.emit('say', '');
  const other = connectTo(urls[0] as string, { forceNew: true, auth: { name: 'Bob' } });
  sockets.push(other);
  expect(await other.timeout(5_000).emitWithAck('follow', 'nonsense')).toMatchObject({
    error: { code: 'ERR_INVALID_ARGUMENT' },
  });
  for (const name of ['', '<b>', 1, undefined, 'x'.repeat(41)]) {
    const page = new Page(urls[0] as string, name, false);
    const [error] = await once(page.socket as never, 'connect_error');
    expect((error as Error).message).toBe('invalid name');
  }
  expect(await ann.say('still here')).toEqual({});
});

test('the page is served', async () => {
  const html = await (await fetch(urls[0] as string)).text();
  expect(html).toContain('<h1>Lobby</h1>');
  const script = await fetch(`${urls[0]}/socket.io/socket.io.js`);
  expect(script.status).toBe(200);
});
