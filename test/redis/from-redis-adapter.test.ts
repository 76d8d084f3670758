import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createClient } from 'redis';
import type { RedisClient } from 'rollcall';
import { io as connectTo, type Socket } from 'socket.io-client';
import { afterEach, expect, test } from 'vitest';
import { startRedis } from '../support/redis-server.js';
import { type FaultyProxy, startFaultyProxy } from '../support/tcp-proxy.js';
import { waitFor } from '../support/wait.js';

// The chat of docs/from-redis-adapter.md, before and after.

interface Chat {
  server: Server;
  close(): Promise<void>;
}

let cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp();
  cleanUps = [];
});

/** Two servers; the connections of the second to Redis go through the proxy. */
async function startChats(version: string): Promise<{ urls: [string, string]; proxy: FaultyProxy }> {
  const { createChat } = (await import(`../../examples/from-redis-adapter/${version}.js`)) as {
    createChat(redis: RedisClient, options: { onError(): void }): Promise<Chat>;
  };
  const redis = await startRedis();
  const proxy = await startFaultyProxy(redis.port);
  cleanUps.push(
    () => redis.stop(),
    () => proxy.stop(),
  );
  const urls = [redis.port, proxy.port].map(async (port) => {
    const client = createClient({ socket: { host: '127.0.0.1', port, reconnectStrategy: 20 } });
    client.on('error', () => {});
    cleanUps.push(() => client.destroy());
    const chat = await createChat(client, { onError: () => {} });
    cleanUps.push(() => chat.close());
    await once(chat.server.listen(0, '127.0.0.1'), 'listening');
    return `http://127.0.0.1:${(chat.server.address() as AddressInfo).port}`;
  });
  return { urls: (await Promise.all(urls)) as [string, string], proxy };
}

/** A page of the chat. */
class Page {
  readonly texts: string[] = [];
  readonly socket: Socket;
  /** Of the last message. */
  position: string | null = null;
  readonly #version: string;

  constructor(version: string, url: string, name: string) {
    this.#version = version;
    this.socket = connectTo(url, { forceNew: true, auth: { name }, reconnectionDelay: 10 });
    cleanUps.push(() => this.socket.disconnect());
    this.socket.on('said', ({ text }: { text: string }, context?: { position: string }) => {
      this.texts.push(text);
      this.position = context?.position ?? null;
    });
  }

  /** The one change in the page: it passes its position. */
  async follow(): Promise<this> {
    await this.socket.emitWithAck('follow', ...(this.#version === 'after' ? [this.position] : []));
    return this;
  }

  say(text: string): Promise<unknown> {
    return this.socket.emitWithAck('say', text);
  }
}

test.each(['before', 'after'])('%s: users of two servers talk, and are shown online', async (version) => {
  const { urls } = await startChats(version);
  const [ann, bob] = await Promise.all([
    new Page(version, urls[0], 'ann').follow(),
    new Page(version, urls[1], 'bob').follow(),
  ]);
  await waitFor(async () => (await ann.socket.emitWithAck('online')).length === 2);
  for (const at of [1, 2, 3]) await ann.say(`ann ${at}`);
  await waitFor(() => bob.texts.length === 3);
  await bob.say('bob 1');
  await waitFor(() => ann.texts.length === 4);
  for (const { texts } of [ann, bob]) expect(texts).toEqual(['ann 1', 'ann 2', 'ann 3', 'bob 1']);
  expect((await bob.socket.emitWithAck('online')).sort()).toEqual(['ann', 'bob']);
  ann.socket.disconnect();
  await waitFor(async () => (await bob.socket.emitWithAck('online')).join() === 'bob');
});

test.each(['before', 'after'])('%s: a server loses its connection to Redis', async (version) => {
  const { urls, proxy } = await startChats(version);
  const ann = await new Page(version, urls[0], 'ann').follow();
  const bob = await new Page(version, urls[1], 'bob').follow();
  await ann.say('one');
  await waitFor(() => bob.texts.includes('one'));
  proxy.cut();
  await ann.say('lost?');
  await waitFor(() => ann.texts.includes('lost?'));
  proxy.restore();
  await waitFor(async () => {
    await ann.say('again');
    return bob.texts.includes('again');
  });
  const before = bob.texts.filter((text) => text !== 'again');
  expect(before).toEqual(version === 'before' ? ['one'] : ['one', 'lost?']);
});

test.each(['before', 'after'])('%s: a client loses its connection', async (version) => {
  const { urls } = await startChats(version);
  const ann = await new Page(version, urls[0], 'ann').follow();
  const bob = await new Page(version, urls[1], 'bob').follow();
  await ann.say('one');
  await waitFor(() => bob.texts.includes('one'));
  const witness = await new Page(version, urls[1], 'eve').follow();
  bob.socket.disconnect();
  await ann.say('lost?');
  await waitFor(() => witness.texts.includes('lost?'));
  bob.socket.connect();
  await bob.follow();
  await ann.say('two');
  await waitFor(() => bob.texts.includes('two'));
  expect(bob.texts).toEqual(version === 'before' ? ['one', 'two'] : ['one', 'lost?', 'two']);
});
