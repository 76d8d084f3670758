import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import type { GraphQLSchema } from 'graphql';
import { type Client, createClient as createGraphQLClient, type FormattedExecutionResult } from 'graphql-ws';
import { useServer as serveGraphQL } from 'graphql-ws/use/ws';
import { createGraphQLError, createSchema, createYoga } from 'graphql-yoga';
import { createClient } from 'redis';
import { PubSubService } from 'rollcall';
import {
  createYogaPubSub,
  GraphQLPubSub,
  type GraphQLPubSubOptions,
  type PayloadIterator,
} from 'rollcall/graphql';
import { afterEach, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { type FaultyProxy, startFaultyProxy } from '../support/tcp-proxy.js';
import { waitFor } from '../support/wait.js';

// What the users of a GraphQL server see when its connection to Redis is lost in the middle of a subscription.

/** The copy of graphql-ws and Yoga, which vitest does not load. */
const { parse, subscribe } = createRequire(import.meta.url)('graphql') as typeof import('graphql');

const history = { size: 1_000, ttl: 60_000 };

let cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp();
  cleanUps = [];
  ready = [];
});

interface Backend {
  server: RedisServer;
  proxy: FaultyProxy;
  /** On a connection that the proxy can break. */
  service: PubSubService;
  /** On a connection of another process. */
  other: PubSubService;
}

async function startBackend(): Promise<Backend> {
  const server = await startRedis();
  const proxy = await startFaultyProxy(server.port);
  cleanUps.push(
    () => server.stop(),
    () => proxy.stop(),
  );
  const [service, other] = [proxy.port, server.port].map((port) => {
    const redis = createClient({ socket: { host: '127.0.0.1', port, reconnectStrategy: 20 } });
    redis.on('error', () => {});
    const service = new PubSubService({ redis, onError: null });
    cleanUps.push(
      () => redis.destroy(),
      () => service.close(),
    );
    return service;
  }) as [PubSubService, PubSubService];
  await other.connect();
  return { server, proxy, service, other };
}

/** Of all subscriptions so far. */
let ready: Promise<void>[] = [];

/** A schema whose field `numbers` yields the numbers of a source. */
function schemaOn(create: () => PayloadIterator<unknown>): GraphQLSchema {
  const subscribe = () => {
    const iterator = create();
    ready.push(iterator.ready);
    return iterator;
  };
  return createSchema({
    typeDefs: 'type Query { x: Int } type Subscription { numbers: Int }',
    resolvers: { Subscription: { numbers: { subscribe, resolve: (number: number) => number } } },
  });
}

async function listen(server: ReturnType<typeof createServer>): Promise<number> {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  cleanUps.push(() => {
    server.close();
    server.closeAllConnections();
  });
  return (server.address() as AddressInfo).port;
}

/** As Apollo Server's documentation sets it up. */
async function startGraphQLWs(schema: GraphQLSchema): Promise<Client> {
  const server = createServer();
  const handle = serveGraphQL({ schema }, new WebSocketServer({ server }));
  const port = await listen(server);
  const client = createGraphQLClient({ url: `ws://127.0.0.1:${port}`, webSocketImpl: WebSocket });
  cleanUps.push(() => handle.dispose());
  cleanUps.push(() => client.dispose());
  return client;
}

interface Seen {
  values: unknown[];
  errors: readonly unknown[] | undefined;
  ended: boolean;
}

/** What a client of graphql-ws sees. */
function watchNumbers(client: Client): Seen {
  const seen: Seen = { values: [], errors: undefined, ended: false };
  client.subscribe(
    { query: 'subscription { numbers }' },
    {
      next: ({ data }: FormattedExecutionResult<Record<string, unknown>, unknown>) =>
        void seen.values.push(data?.['numbers']),
      error: (errors) => {
        seen.errors = errors as readonly unknown[];
        seen.ended = true;
      },
      complete: () => {
        seen.ended = true;
      },
    },
  );
  return seen;
}

async function startClient(options: Partial<GraphQLPubSubOptions>): Promise<Backend & { client: Client }> {
  const backend = await startBackend();
  const pubsub = new GraphQLPubSub({ pubsub: backend.service, ...options });
  return {
    ...backend,
    client: await startGraphQLWs(schemaOn(() => pubsub.asyncIterableIterator(['numbers', 'more']))),
  };
}

/** So many subscriptions are confirmed: they receive what is published from now on. */
async function confirmed(count: number): Promise<void> {
  await waitFor(() => ready.length >= count);
  await Promise.all(ready);
}

test('many subscribers cost one SUBSCRIBE per channel', async () => {
  const backend = await startBackend();
  const monitor = await backend.server.monitor();
  const pubsub = new GraphQLPubSub({ pubsub: backend.service });
  const schema = schemaOn(() => pubsub.asyncIterableIterator(['numbers', 'more']));
  const document = parse('subscription { numbers }');
  const iterators = await Promise.all(
    Array.from({ length: 100 }, async () => {
      const iterator = await subscribe({ schema, document });
      if (!(Symbol.asyncIterator in iterator)) throw new Error('refused');
      return iterator as AsyncGenerator<{ data: { numbers: number } }>;
    }),
  );
  const next = iterators.map((iterator) => iterator.next());
  await confirmed(100);
  await backend.other.publish('numbers', 1);
  for (const { value } of await Promise.all(next)) expect(value.data.numbers).toBe(1);
  await Promise.all(iterators.map((iterator) => iterator.return(undefined)));
  await waitFor(() => backend.service.stats().handlers === 0);
  const commands = await monitor.stop();
  const names = commands.flatMap((line) => /"((?:un)?subscribe)" (.*)$/i.exec(line)?.slice(1, 3) ?? []);
  expect(names.filter((name) => name.toLowerCase() === 'subscribe').length).toBeLessThanOrEqual(2);
  expect(names.join(' ')).toContain('"more"');
});

test('graphql-ws without history: the client gets an error with a code, and can subscribe again', async () => {
  const backend = await startClient({});
  const seen = watchNumbers(backend.client);
  await confirmed(1);
  await backend.other.publish('numbers', 1);
  await waitFor(() => seen.values.length === 1);
  backend.proxy.cut();
  await backend.other.publish('numbers', 2);
  backend.proxy.restore();
  await waitFor(() => seen.ended);
  expect(seen.values).toEqual([1]);
  expect(seen.errors).toEqual([
    expect.objectContaining({
      message: expect.stringMatching(/^messages on "(numbers|more)" since .* may be missing: reconnected$/),
      extensions: { code: 'ERR_DISCONTINUITY' },
    }),
  ]);
  await waitFor(() => backend.service.stats().handlers === 0);
  const again = watchNumbers(backend.client);
  await confirmed(2);
  await backend.other.publish('numbers', 3);
  await waitFor(() => again.values.length === 1);
  expect(again).toEqual({ values: [3], errors: undefined, ended: false });
});

test('graphql-ws with history: the client receives every payload once and in order, and notices nothing', async () => {
  const backend = await startClient({ history });
  const seen = watchNumbers(backend.client);
  await confirmed(1);
  const publish = (number: number) => backend.other.publish('numbers', number, { history });
  for (const number of [1, 2]) await publish(number);
  await waitFor(() => seen.values.length === 2);
  for (let round = 1; round <= 3; round++) {
    backend.proxy.cut();
    for (const number of [1, 2, 3]) await publish(10 * round + number);
    backend.proxy.restore();
    await waitFor(() => seen.values.length === 2 + 3 * round);
  }
  expect(seen).toEqual({
    values: [1, 2, 11, 12, 13, 21, 22, 23, 31, 32, 33],
    errors: undefined,
    ended: false,
  });
});

test('graphql-ws with a payload in the place of the gap, or an error of the server', async () => {
  const backend = await startClient({ discontinuities: () => -1 });
  const seen = watchNumbers(backend.client);
  await confirmed(1);
  await backend.other.publish('numbers', 1);
  await waitFor(() => seen.values.length === 1);
  backend.proxy.cut();
  backend.proxy.restore();
  await waitFor(() => seen.values.includes(-1));
  await backend.other.publish('numbers', 2);
  await waitFor(() => seen.values.includes(2));
  expect(seen.errors).toBeUndefined();
  const failing = await startClient({
    discontinuities: () => {
      throw createGraphQLError('read again', { extensions: { code: 'GAP' } });
    },
  });
  const failed = watchNumbers(failing.client);
  await confirmed(2);
  failing.proxy.cut();
  failing.proxy.restore();
  await waitFor(() => failed.ended);
  expect(failed.errors).toEqual([
    expect.objectContaining({ message: 'read again', extensions: { code: 'GAP' } }),
  ]);
});

/** Reads the events of a subscription over server-sent events. */
async function watchEvents(port: number): Promise<{ text: string; ended: boolean }> {
  const query = encodeURIComponent('subscription { numbers }');
  const response = await fetch(`http://127.0.0.1:${port}/graphql?query=${query}`, {
    headers: { accept: 'text/event-stream' },
  });
  const seen = { text: '', ended: false };
  const decoder = new TextDecoder();
  void (async () => {
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      seen.text += decoder.decode(chunk, { stream: true });
    }
  })()
    .catch(() => {})
    .then(() => {
      seen.ended = true;
    });
  return seen;
}

async function startYoga(options: Partial<GraphQLPubSubOptions>) {
  const backend = await startBackend();
  const pubsub = createYogaPubSub<{ numbers: [number] }>({ pubsub: backend.service, ...options });
  const schema = schemaOn(() => pubsub.subscribe('numbers'));
  const port = await listen(createServer(createYoga({ schema, logging: false })));
  const seen = await watchEvents(port);
  await confirmed(1);
  return { ...backend, seen };
}

test('Yoga without history: the client gets an error, and the stream ends', async () => {
  const { other, proxy, service, seen } = await startYoga({});
  await other.publish('numbers', 1);
  await waitFor(() => seen.text.includes('{"data":{"numbers":1}}'));
  proxy.cut();
  await other.publish('numbers', 2);
  proxy.restore();
  await waitFor(() => seen.ended);
  // Yoga hides the text and the code of errors that are no GraphQLError.
  expect(seen.text).toContain('{"errors":[{"message":"Unexpected error."');
  expect(seen.text).not.toContain('{"data":{"numbers":2}}');
  await waitFor(() => service.stats().handlers === 0);
});

test('Yoga with an error of the server: the client gets its code', async () => {
  const { proxy, seen } = await startYoga({
    discontinuities: () => {
      throw createGraphQLError('read again', { extensions: { code: 'GAP' } });
    },
  });
  proxy.cut();
  proxy.restore();
  await waitFor(() => seen.ended);
  expect(seen.text).toMatch(/"message":"read again".*"code":"GAP"/);
});

test('Yoga with history: the client receives every payload', async () => {
  const { other, proxy, seen } = await startYoga({ history });
  const publish = (number: number) => other.publish('numbers', number, { history });
  await publish(1);
  await waitFor(() => seen.text.includes('{"data":{"numbers":1}}'));
  proxy.cut();
  for (const number of [2, 3]) await publish(number);
  proxy.restore();
  await waitFor(() => seen.text.includes('{"data":{"numbers":3}}'));
  await publish(4);
  await waitFor(() => seen.text.includes('{"data":{"numbers":4}}'));
  expect([...seen.text.matchAll(/"numbers":(\d)/g)].map(([, number]) => Number(number))).toEqual([
    1, 2, 3, 4,
  ]);
  expect(seen.text).not.toContain('error');
});
