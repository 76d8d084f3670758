import { PresenceService, PubSubService, RoomService } from 'rollcall';
import { createEmbeddedRedis } from 'rollcall/testing';
import { expect, test } from 'vitest';
import { TestEventSource } from '../support/sse-client.js';
import { waitFor } from '../support/wait.js';

// examples/sse-fastify through an HTTP client; test/browser tests its page.

interface App {
  listen(options: { port: number; host: string }): Promise<string>;
  close(): Promise<void>;
}

interface Said {
  readonly from: string;
  readonly data: { readonly text: string };
}

test('examples/sse-fastify delivers messages, and asks its clients to reconnect on shutdown', async () => {
  const { createApp } = (await import('../../examples/sse-fastify/app.js' as string)) as {
    createApp(rooms: RoomService): App;
  };
  await using redis = await createEmbeddedRedis();
  await using pubsub = new PubSubService({ redis: redis.client });
  await using presence = new PresenceService({ redis: redis.client, grace: 0 });
  await using rooms = new RoomService({ pubsub, presence });
  let app = createApp(rooms);
  let url = await app.listen({ port: 0, host: '127.0.0.1' });
  const post = async (body: object) => {
    const headers = { 'content-type': 'application/json' };
    return (await fetch(`${url}/messages`, { method: 'POST', headers, body: JSON.stringify(body) })).status;
  };
  for (const path of ['/', '/page.js']) expect((await fetch(url + path)).status).toBe(200);
  expect((await fetch(`${url}/events`)).status).toBe(400);
  expect(await post({ user: 'ann' })).toBe(400);

  const first = new TestEventSource(`${url}/events?user=ann`);
  await first.until('$ready');
  expect(await post({ user: 'bob', text: 'hello' })).toBe(204);
  await first.until('message');
  await waitFor(() => JSON.stringify(first.of('$members')).includes('"ann"'));

  await app.close();
  await first.until('$close');
  expect(first.of('$close')).toMatchObject([{ code: 1012, again: true }]);
  // The client would reconnect after some seconds.
  await first.close();
  await rooms.broadcast('lobby', 'message', { text: 'meanwhile' }, { from: 'bob' });
  app = createApp(rooms);
  url = await app.listen({ port: 0, host: '127.0.0.1' });
  const second = new TestEventSource(`${url}/events?user=ann`, first.lastEventId);
  await second.until('message');
  expect(
    [...first.of<Said>('message'), ...second.of<Said>('message')].map(({ from, data }) => [from, data.text]),
  ).toEqual([
    ['bob', 'hello'],
    ['bob', 'meanwhile'],
  ]);
  expect(second.of('$discontinuity')).toEqual([]);
  await second.close();
  await app.close();
  await waitFor(() => rooms.stats().sockets === 0);
});
