import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createClient } from 'graphql-ws';
import type { RedisClient, RollcallError } from 'rollcall';
import { createEmbeddedRedis, type EmbeddedRedis } from 'rollcall/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { waitFor } from '../support/wait.js';

// Two servers of the example in docs/graphql.md on one Redis.

interface App {
  server: Server;
  close(): Promise<void>;
}

interface Posted {
  posted: { text: string; position: string };
}

let redis: EmbeddedRedis;
let apps: App[];
let urls: string[];
let errors: string[];

beforeEach(async () => {
  const { createApp } = (await import(`../../examples/graphql/${'app.js'}`)) as unknown as {
    createApp(redis: RedisClient, options: { onError(error: RollcallError): void }): App;
  };
  redis = await createEmbeddedRedis();
  errors = [];
  apps = [1, 2].map(() => createApp(redis.connect(), { onError: ({ message }) => errors.push(message) }));
  urls = await Promise.all(
    apps.map(async ({ server }) => {
      await once(server.listen(0, '127.0.0.1'), 'listening');
      return `127.0.0.1:${(server.address() as AddressInfo).port}/graphql`;
    }),
  );
});

afterEach(async () => {
  await Promise.all(apps.map((app) => app.close()));
  await redis.close();
  expect(errors).toEqual([]);
});

async function post(url: string, text: string): Promise<void> {
  const response = await fetch(`http://${url}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      query: 'mutation ($text: String!) { post(room: "a", text: $text) }',
      variables: { text },
    }),
  });
  expect(await response.json()).toEqual({ data: { post: true } });
}

test('a client on one server receives what is posted on the other, and continues after a position', async () => {
  const [one, other] = urls as [string, string];
  const client = createClient({ url: `ws://${one}`, webSocketImpl: WebSocket, retryAttempts: 0 });
  const query = 'subscription ($since: String) { posted(room: "a", since: $since) { text position } }';
  const first = client.iterate<Posted>({ query });
  const next = first.next();
  // The first message may come before the subscription, so they are posted until one has arrived.
  let arrived = false;
  void next.then(() => {
    arrived = true;
  });
  let count = 0;
  await waitFor(
    async () => {
      await post(other, `message ${++count}`);
      return arrived;
    },
    { interval: 100 },
  );
  const result = (await next).value as { data: Posted };
  const { text, position } = result.data.posted;
  expect(text).toMatch(/^message \d+$/);
  await first.return?.();
  await post(one, 'missed');
  const second = client.iterate<Posted>({ query, variables: { since: position } });
  const got: string[] = [];
  for await (const { data } of second) {
    got.push(data?.posted.text ?? '');
    if (data?.posted.text === 'missed') break;
  }
  expect(got.at(-1)).toBe('missed');
  await client.dispose();
});

test('a client receives server-sent events', async () => {
  const [one, other] = urls as [string, string];
  const response = await fetch(
    `http://${one}?query=${encodeURIComponent('subscription { posted(room: "b") { text } }')}`,
    {
      headers: { accept: 'text/event-stream' },
    },
  );
  expect(response.headers.get('content-type')).toContain('text/event-stream');
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  const decoder = new TextDecoder();
  let text = '';
  const reading = (async () => {
    while (!text.includes('event: next'))
      text += decoder.decode((await reader.read()).value, { stream: true });
  })();
  const body = JSON.stringify({ query: 'mutation { post(room: "b", text: "hello") }' });
  const headers = { 'content-type': 'application/json' };
  let read = false;
  void reading.then(() => {
    read = true;
  });
  await waitFor(
    async () => {
      await (await fetch(`http://${other}`, { method: 'POST', headers, body })).text();
      return read;
    },
    { interval: 100 },
  );
  expect(text).toContain('data: {"data":{"posted":{"text":"hello"}}}');
  await reader.cancel();
});
