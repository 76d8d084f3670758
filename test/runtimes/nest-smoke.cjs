// Module, gateway, @Presence(), exceptions, health and shutdown with the Nest that is installed here. nest.js starts it, also
// as an ES module: each require() is a statement of its own. Argument: the port of a Redis.
const _metadata = require('reflect-metadata');
const assert = require('node:assert/strict');
const { NestFactory } = require('@nestjs/core');
const { UseFilters } = require('@nestjs/common');
const {
  ConnectedSocket,
  MessageBody,
  SubscribeMessage,
  WebSocketGateway,
  WsException,
} = require('@nestjs/websockets');
const { createClient } = require('redis');
const { PresenceService, PubSubService, RoomService } = require('rollcall');
const { connect } = require('rollcall/client');
const {
  Presence,
  RollcallAdapter,
  RollcallExceptionFilter,
  RollcallHealthIndicator,
  RollcallModule,
} = require('rollcall/nestjs');
const { RequestError } = require('rollcall/ws');
const { WebSocket, WebSocketServer } = require('ws');

const order = [];

const { version } = require('@nestjs/core/package.json');
/** Nest 10 closes global modules before the providers that use them. */
const closesGlobalModulesFirst = version.startsWith('10.');

class Gateway {
  constructor(rooms) {
    this.rooms = rooms;
    this.connected = [];
  }
  handleConnection(client) {
    this.connected.push(`+${client.user.userId}`);
  }
  handleDisconnect(client) {
    this.connected.push(`-${client.user.userId}`);
    order.push('connection');
  }
  async announce(body, client, presence) {
    await this.rooms.broadcast(body.room, 'announcement', { text: body.text, status: presence.status });
    return client.user.userId;
  }
  refuse() {
    throw new WsException('refused');
  }
  limit() {
    throw new RequestError('LIMIT', 'too many');
  }
  async onApplicationShutdown() {
    if (!closesGlobalModulesFirst) await this.rooms.broadcast('a', 'bye', null);
    order.push('provider');
  }
}
Reflect.defineMetadata('design:paramtypes', [RoomService], Gateway);
WebSocketGateway({ path: '/ws' })(Gateway);
UseFilters(new RollcallExceptionFilter())(Gateway);
for (const name of ['announce', 'refuse', 'limit']) {
  const descriptor = Object.getOwnPropertyDescriptor(Gateway.prototype, name);
  SubscribeMessage(name)(Gateway.prototype, name, descriptor);
}
MessageBody()(Gateway.prototype, 'announce', 0);
ConnectedSocket()(Gateway.prototype, 'announce', 1);
Presence()(Gateway.prototype, 'announce', 2);

class AppModule {}

async function main() {
  const redis = createClient({ url: `redis://127.0.0.1:${process.argv[2]}` });
  redis.on('error', () => {});
  const destroy = redis.destroy.bind(redis);
  redis.destroy = () => {
    order.push('redis');
    destroy();
  };
  const prefix = `nest${process.pid}`;
  const imports = [
    RollcallModule.forRootAsync({
      useFactory: () => ({ redis: () => redis, pubsub: { prefix }, presence: { prefix: `p${prefix}` } }),
    }),
  ];
  const app = await NestFactory.create(
    { module: AppModule, imports, providers: [Gateway] },
    { logger: ['error'] },
  );
  app.useWebSocketAdapter(
    new RollcallAdapter(app, {
      createServer: () => new WebSocketServer({ noServer: true }),
      authenticate: ({ url }) => new URL(url, 'http://localhost').searchParams.get('user'),
      authorize: () => true,
    }),
  );
  await app.listen(0, '127.0.0.1');
  assert.ok(app.get(PubSubService) instanceof PubSubService);
  const client = connect({
    url: `ws://127.0.0.1:${app.getHttpServer().address().port}/ws?user=ada`,
    WebSocket,
  });
  const received = [];
  const room = client.join('a');
  room.on('announcement', (data) => received.push(data));
  await room.ready;
  assert.equal(await client.request('announce', { room: 'a', text: 'hi' }), 'ada');
  while (received.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(received, [{ text: 'hi', status: 'online' }]);
  await assert.rejects(client.request('refuse'), { code: 'INVALID', message: /refused/ });
  await assert.rejects(client.request('limit'), { code: 'LIMIT' });
  await assert.rejects(client.request('nothing'), { code: 'UNKNOWN_METHOD' });
  assert.equal(await app.get(PresenceService).getOnlineCount(), 1);
  const health = app.get(RollcallHealthIndicator);
  assert.deepEqual(await health.isHealthy('redis'), { redis: { status: 'up' } });
  await app.close();
  client.close();
  assert.deepEqual(app.get(Gateway).connected, ['+ada', '-ada']);
  const end = closesGlobalModulesFirst ? ['redis', 'provider'] : ['provider', 'redis'];
  assert.deepEqual(order, ['connection', ...end]);
  assert.equal((await health.isHealthy('redis')).redis.status, 'down');
  console.log('ok');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
