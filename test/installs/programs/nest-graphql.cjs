// A GraphQL server or a Nest gateway and one client of it, in a process that redis-loss.js starts. Arguments: the contender, the
// port of a Redis. Sends `ready`, and answers each message with what the client has seen.
const _metadata = require('reflect-metadata');
const { once } = require('node:events');
const { createServer } = require('node:http');
const { NestFactory } = require('@nestjs/core');
const { WsAdapter } = require('@nestjs/platform-ws');
const { WebSocketGateway, WebSocketServer: InjectServer } = require('@nestjs/websockets');
const { buildSchema } = require('graphql');
const { RedisPubSub } = require('graphql-redis-subscriptions');
const { createClient } = require('graphql-ws');
const { useServer } = require('graphql-ws/use/ws');
const { Redis } = require('ioredis');
const { PubSubService } = require('rollcall');
const { connect: connectClient } = require('rollcall/client');
const { GraphQLPubSub } = require('rollcall/graphql');
const { RollcallAdapter, RollcallModule } = require('rollcall/nestjs');
const { WebSocket, WebSocketServer } = require('ws');

const [contender, port] = process.argv.slice(2);
const history = { size: 10_000, ttl: 3_600_000 };

/** What the client sees: the numbers, and each notice that something may be missing. */
const seen = { numbers: [], told: [] };

/** A connection that is ready: ioredis 5.11 loses a SUBSCRIBE that is sent between `connect` and `ready`, also after the reply. */
async function openRedis() {
  const redis = new Redis(Number(port)).on('error', () => {});
  await once(redis, 'ready');
  return redis;
}

async function listen() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

/**
 * Subscribes again after an error, as a client does that reads its state again: after the last position, where payloads
 * have one. If that ends with an error at once, Redis has lost the position.
 */
async function startGraphQL(createIterator, confirmed) {
  const schema = buildSchema(
    'type Query { x: Int } type Subscription { posted(since: String): Posted } type Posted { n: Int! position: String }',
  );
  const server = await listen();
  const roots = { subscription: { posted: createIterator } };
  useServer({ schema, roots }, new WebSocketServer({ server }));
  const client = createClient({ url: `ws://127.0.0.1:${server.address().port}`, webSocketImpl: WebSocket });
  let since;
  let receivedBefore = -1;
  const follow = () => {
    client.subscribe(
      {
        query: 'subscription ($since: String) { posted(since: $since) { n position } }',
        variables: { since },
      },
      {
        next: ({ data: { posted } }) => {
          seen.numbers.push(posted.n);
          since = posted.position ?? undefined;
        },
        error: (errors) => {
          seen.told.push(errors[0]?.extensions?.code ?? String(errors));
          if (seen.numbers.length === receivedBefore) since = undefined;
          receivedBefore = seen.numbers.length;
          follow();
        },
        complete: () => seen.told.push('complete'),
      },
    );
  };
  follow();
  await confirmed();
}

/** Resolves when Redis lists a subscription of `posted`. */
async function pollSubscription() {
  const redis = await openRedis();
  while ((await redis.pubsub('NUMSUB', 'posted'))[1] !== 1)
    await new Promise((resolve) => setTimeout(resolve, 5));
  redis.disconnect();
}

async function useRollcall(options) {
  const service = new PubSubService({ redis: await openRedis(), onError: null });
  const pubsub = new GraphQLPubSub({ pubsub: service, onError: null, ...options });
  const createIterator = ({ since }) => pubsub.asyncIterableIterator('posted', since ? { since } : {});
  return startGraphQL(createIterator, pollSubscription);
}

/** As the example of docs/graphql.md. */
const mapMessage = ({ posted }, { position }) => ({ posted: { ...posted, position } });

/** A gateway as it is usually written: a subscriber of ioredis, and a loop over the clients. */
async function startHandwrittenGateway() {
  class Gateway {
    async afterInit() {
      const subscriber = await openRedis();
      subscriber.on('message', (_, text) => {
        for (const client of this.server.clients)
          client.send(JSON.stringify({ event: 'posted', data: JSON.parse(text) }));
      });
      await subscriber.subscribe('posted');
    }
  }
  WebSocketGateway({ path: '/ws' })(Gateway);
  InjectServer()(Gateway.prototype, 'server');
  class AppModule {}
  const app = await NestFactory.create({ module: AppModule, providers: [Gateway] }, { logger: ['error'] });
  app.useWebSocketAdapter(new WsAdapter(app));
  await app.listen(0, '127.0.0.1');
  const client = new WebSocket(`ws://127.0.0.1:${app.getHttpServer().address().port}/ws`);
  client.on('message', (text) => seen.numbers.push(JSON.parse(text).data.n));
  client.on('close', (code) => seen.told.push(`closed with ${code}`));
  client.on('error', ({ message }) => seen.told.push(message));
  await once(client, 'open');
  await pollSubscription();
}

async function startRollcallGateway(rooms) {
  class Gateway {}
  WebSocketGateway({ path: '/ws' })(Gateway);
  class AppModule {}
  const imports = [RollcallModule.forRoot({ redis: await openRedis(), rooms, onError: null })];
  const app = await NestFactory.create(
    { module: AppModule, imports, providers: [Gateway] },
    { logger: ['error'] },
  );
  app.useWebSocketAdapter(
    new RollcallAdapter(app, {
      createServer: () => new WebSocketServer({ noServer: true }),
      authenticate: () => ({ userId: 'ada' }),
      authorize: () => true,
      onError: null,
    }),
  );
  await app.listen(0, '127.0.0.1');
  const url = `ws://127.0.0.1:${app.getHttpServer().address().port}/ws`;
  const client = connectClient({ url, WebSocket });
  const room = client.join('posted');
  room.on('posted', ({ n }) => seen.numbers.push(n));
  room.onDiscontinuity(({ reason, recovered }) => {
    if (!recovered) seen.told.push(reason);
  });
  client.on('reconnecting', ({ code }) => seen.told.push(`closed with ${code}`));
  await room.ready;
}

const contenders = {
  'graphql-redis-subscriptions': async () => {
    const pubsub = new RedisPubSub({ publisher: await openRedis(), subscriber: await openRedis() });
    return startGraphQL(() => pubsub.asyncIterator('posted'), pollSubscription);
  },
  'rollcall/graphql': () => useRollcall({}),
  'rollcall/graphql, history': () => useRollcall({ history, mapMessage }),
  'hand-written gateway': startHandwrittenGateway,
  'rollcall/nestjs': () => startRollcallGateway({}),
  'rollcall/nestjs, without history': () => startRollcallGateway({ history: false }),
};

process.on('message', () => process.send(seen));
process.on('disconnect', () => process.exit());
contenders[contender]().then(
  () => process.send('ready'),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
