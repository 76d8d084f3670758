import 'reflect-metadata';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import type { INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ack, SubscribeMessage, WebSocketGateway, WsException } from '@nestjs/websockets';
import { PresenceService, PubSubService, type RedisClient, RoomService } from 'rollcall';
import { type Client, connect } from 'rollcall/client';
import {
  type GatewayClient,
  Presence,
  RollcallAdapter,
  type RollcallAdapterOptions,
  RollcallHealthIndicator,
  RollcallModule,
  type RollcallModuleOptions,
} from 'rollcall/nestjs';
import { createEmbeddedRedis, type EmbeddedRedis } from 'rollcall/testing';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { waitFor } from '../support/wait.js';

// With the Nest of the development dependencies. test/runtimes/nest.js runs a part of it with other versions.

let redis: EmbeddedRedis;
let cleanUps: (() => unknown)[];

beforeEach(async () => {
  redis = await createEmbeddedRedis();
  cleanUps = [() => redis.close()];
});

afterEach(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp();
});

/** Applies decorators without the syntax, which needs options of TypeScript that the tests do not have. */
function decorate(
  type: new (...given: never[]) => object,
  decorators: Record<string, MethodDecorator[]>,
): void {
  for (const [name, list] of Object.entries(decorators)) {
    const descriptor = Object.getOwnPropertyDescriptor(type.prototype, name) as PropertyDescriptor;
    for (const each of list) each(type.prototype, name, descriptor);
  }
}

interface Gateway {
  new (...given: never[]): object;
}

async function createApp(
  gateways: Gateway[],
  adapter: Partial<RollcallAdapterOptions> = {},
  module: Partial<RollcallModuleOptions> = {},
): Promise<INestApplication> {
  class AppModule {}
  const imports = [RollcallModule.forRoot({ redis: redis.connect(), onError: null, ...module })];
  const app = await NestFactory.create(
    { module: AppModule, imports, providers: gateways },
    { logger: false, abortOnError: false },
  );
  cleanUps.push(() => app.close());
  app.useWebSocketAdapter(
    new RollcallAdapter(app, {
      createServer: () => new WebSocketServer({ noServer: true }),
      authenticate: ({ url = '' }) => new URL(url, 'http://localhost').searchParams.get('user'),
      authorize: () => true,
      onError: null,
      ...adapter,
    }),
  );
  await app.listen(0, '127.0.0.1');
  return app;
}

const urlOf = (app: INestApplication, path = '/ws'): string =>
  `ws://127.0.0.1:${(app.getHttpServer().address() as AddressInfo).port}${path}`;

async function connectTo(app: INestApplication, user: string, path?: string): Promise<Client> {
  const client = connect({ url: `${urlOf(app, path)}?user=${user}`, WebSocket });
  cleanUps.push(() => client.close());
  await waitFor(() => client.state === 'open');
  return client;
}

describe('RollcallModule', () => {
  test('provides the services to the whole application', async () => {
    const app = await createApp([]);
    expect(app.get(PubSubService)).toBeInstanceOf(PubSubService);
    expect(app.get(PresenceService)).toBeInstanceOf(PresenceService);
    expect(app.get(RoomService)).toBeInstanceOf(RoomService);
    await app.get(PresenceService).setPresence('ada', 's1', 'online');
    expect(await app.get(PresenceService).getOnlineCount()).toBe(1);
  });

  test('forRootAsync takes the options of a factory with injected values', async () => {
    class Settings {}
    const settings = {
      module: Settings,
      providers: [{ provide: 'PREFIX', useValue: 'mine' }],
      exports: ['PREFIX'],
    };
    const module = RollcallModule.forRootAsync({
      imports: [settings],
      inject: ['PREFIX'],
      useFactory: async (prefix: string) => ({ redis: redis.connect(), pubsub: { prefix } }),
    });
    class AppModule {}
    const app = await NestFactory.createApplicationContext(
      { module: AppModule, imports: [module] },
      { logger: false, abortOnError: false },
    );
    cleanUps.push(() => app.close());
    expect(app.get(PubSubService).prefix).toBe('mine');
  });

  test('refuses unknown options, also of forRootAsync', async () => {
    expect(() => RollcallModule.forRootAsync({ useFactroy: () => ({}) } as never)).toThrow(
      'did you mean "useFactory"',
    );
    const start = (options: unknown) => {
      class AppModule {}
      const imports = [RollcallModule.forRoot(options as RollcallModuleOptions)];
      return NestFactory.createApplicationContext(
        { module: AppModule, imports },
        { logger: false, abortOnError: false },
      );
    };
    await expect(start({ redis: redis.connect(), timout: 1 })).rejects.toThrow('did you mean "timeout"');
    await expect(start({ redis: redis.connect(), shutdown: { handof: true } })).rejects.toThrow(
      'did you mean "handoff"',
    );
    await expect(start({ redis: Promise.resolve(redis.connect()) })).rejects.toThrow('is a Promise');
    await expect(start(undefined)).rejects.toThrow('must be an object');
  });

  test('ends the connections, then the services, then the client that it has created', async () => {
    const order: string[] = [];
    const client = redis.connect() as RedisClient & { disconnect(): void };
    const disconnect = client.disconnect.bind(client);
    client.disconnect = () => {
      order.push('client');
      disconnect();
    };
    class Worker {
      constructor(readonly pubsub: PubSubService) {}
      // After the connections, before the services.
      async onApplicationShutdown() {
        await this.pubsub.publish('news', 1);
        order.push('worker');
      }
    }
    class AppModule {}
    const app = await NestFactory.create(
      {
        module: AppModule,
        imports: [RollcallModule.forRoot({ redis: () => client })],
        providers: [
          { provide: Worker, inject: [PubSubService], useFactory: (it: PubSubService) => new Worker(it) },
          Empty,
        ],
      },
      { logger: false, abortOnError: false },
    );
    app.useWebSocketAdapter(
      new RollcallAdapter(app, {
        createServer: () => new WebSocketServer({ noServer: true }),
        authenticate: () => 'ada',
        authorize: () => true,
      }),
    );
    await app.listen(0, '127.0.0.1');
    const socket = new WebSocket(urlOf(app), 'rollcall.1');
    await once(socket, 'message');
    const pubsub = app.get(PubSubService);
    const closed = once(socket, 'close').then(([code]) => order.push(`connection ${code}`));
    await app.close();
    await closed;
    expect(order).toEqual(['connection 1012', 'worker', 'client']);
    await expect(pubsub.publish('news', 2)).rejects.toThrow('closed');
  });

  test('with handoff, the users of closed connections stay online for the next process', async () => {
    const statusAfter = async (handoff: boolean) => {
      const app = await createApp([Empty], {}, { shutdown: { handoff } });
      await connectTo(app, `user-${handoff}`);
      await app.close();
      const next = await createApp([]);
      return (await next.get(PresenceService).getPresence(`user-${handoff}`))?.status;
    };
    expect(await statusAfter(true)).toBe('online');
    expect(await statusAfter(false)).not.toBe('online');
  });

  test('leaves a client open that it was given', async () => {
    const given = redis.connect();
    const app = await createApp([], {}, { redis: given });
    await app.close();
    const again = await createApp([], {}, { redis: given });
    await again.get(PubSubService).publish('news', 1);
  });
});

class Empty {}
WebSocketGateway({ path: '/ws' })(Empty);

describe('RollcallAdapter', () => {
  class Chat {
    events: string[] = [];
    handleConnection(client: GatewayClient) {
      this.events.push(`+${client.user.userId}`);
    }
    handleDisconnect(client: GatewayClient) {
      this.events.push(`-${client.user.userId}`);
    }
    async double(_client: GatewayClient, data: number) {
      return data * 2;
    }
    fail() {
      throw new Error('a secret');
    }
    refuse() {
      throw new WsException({ code: 'LIMIT', message: 'too many' });
    }
    guarded() {
      throw new WsException('not like this');
    }
    status(presence: { status: string }) {
      return presence.status;
    }
  }
  WebSocketGateway({ path: '/ws' })(Chat);
  decorate(Chat, {
    double: [SubscribeMessage('double')],
    fail: [SubscribeMessage('fail')],
    refuse: [SubscribeMessage('refuse')],
    guarded: [SubscribeMessage('guarded')],
    status: [SubscribeMessage('status')],
  });
  Presence()(Chat.prototype, 'status', 0);

  test('a request of a client calls the handler with its name, whose result is the reply', async () => {
    const app = await createApp([Chat]);
    const client = await connectTo(app, 'ada');
    expect(await client.request('double', 21)).toBe(42);
    await expect(client.request('nothing')).rejects.toMatchObject({ code: 'UNKNOWN_METHOD' });
  });

  test('the user of a client is the present one, from handleConnection to handleDisconnect', async () => {
    const clients: GatewayClient[] = [];
    class Account extends Chat {
      override handleConnection(client: GatewayClient) {
        super.handleConnection(client);
        clients.push(client);
      }
      async login(client: GatewayClient, userId: string) {
        await client.socket.identify(userId, { user: { userId, role: 'admin' } as never });
        return client.user;
      }
    }
    WebSocketGateway({ path: '/ws' })(Account);
    decorate(Account, { login: [SubscribeMessage('login')] });
    let user = 'guest';
    const app = await createApp([Account], { identityChange: true });
    const client = connect({ url: () => `${urlOf(app)}?user=${user}`, WebSocket });
    cleanUps.push(() => client.close());
    await waitFor(() => client.state === 'open');
    expect(clients[0]?.user).toEqual({ userId: 'guest' });
    user = 'ada';
    await client.refresh();
    expect(clients[0]?.user).toEqual({ userId: 'ada' });
    expect(await client.request('login', 'bob')).toEqual({ userId: 'bob', role: 'admin' });
    client.close();
    await waitFor(() => app.get(Account).events.length === 2);
    expect([clients[0]?.user.userId, ...app.get(Account).events]).toEqual(['bob', '+guest', '-bob']);
  });

  test('exceptions answer the request they belong to', async () => {
    const app = await createApp([Chat]);
    const client = await connectTo(app, 'ada');
    const results = await Promise.allSettled([
      client.request('fail'),
      client.request('refuse'),
      client.request('double', 1),
      client.request('guarded'),
    ]);
    expect(results).toMatchObject([
      { reason: { code: 'INTERNAL', message: expect.not.stringContaining('secret') } },
      { reason: { code: 'LIMIT', message: expect.stringContaining('too many') } },
      { value: 2 },
      { reason: { code: 'INVALID', message: expect.stringContaining('not like this') } },
    ]);
  });

  test('@Presence() is the presence of the user over all their connections', async () => {
    const app = await createApp([Chat]);
    const client = await connectTo(app, 'ada');
    expect(await client.request('status')).toBe('online');
    await app.get(PresenceService).setStatus('ada', 'busy');
    expect(await client.request('status')).toBe('busy');
  });

  test('handleConnection and handleDisconnect are called for each client', async () => {
    const app = await createApp([Chat]);
    const { events } = app.get(Chat);
    const ada = await connectTo(app, 'ada');
    await waitFor(() => events.length === 1);
    await connectTo(app, 'bob');
    await waitFor(() => events.length === 2);
    ada.close();
    await waitFor(() => events.length === 3);
    expect(events).toEqual(['+ada', '+bob', '-ada']);
  });

  test('gateways of one path share its connections; other paths are not served', async () => {
    class Second {
      triple(_client: GatewayClient, data: number) {
        return data * 3;
      }
    }
    WebSocketGateway({ path: '/ws/' })(Second);
    class Third extends Second {}
    WebSocketGateway({ path: 'other' })(Third);
    class Fourth {
      half(_client: GatewayClient, data: number) {
        return data / 2;
      }
    }
    WebSocketGateway({ path: '/ws' })(Fourth);
    decorate(Second, { triple: [SubscribeMessage('triple')] });
    decorate(Fourth, { half: [SubscribeMessage('half')] });
    const app = await createApp([Chat, Second, Fourth, Third]);
    const client = await connectTo(app, 'ada');
    const replies = ['double', 'half', 'triple'].map((method) => client.request(method, 2));
    expect(await Promise.all(replies)).toEqual([4, 1, 6]);
    const other = await connectTo(app, 'ada', '/other');
    expect(await other.request('triple', 2)).toBe(6);
    const unserved = new WebSocket(urlOf(app, '/nowhere'));
    const [error] = await once(unserved, 'error');
    expect(error.message).toContain('404');
  });

  test('a client that is not authenticated is rejected', async () => {
    const app = await createApp([Chat]);
    const socket = new WebSocket(urlOf(app), 'rollcall.1');
    expect((await once(socket, 'close'))[0]).toBe(4401);
    expect(app.get(Chat).events).toEqual([]);
  });

  test('misuse has a clear error', async () => {
    class Ported {}
    WebSocketGateway(9_999)(Ported);
    await expect(createApp([Ported])).rejects.toThrow('has no port');
    class Spaced {}
    WebSocketGateway({ namespace: 'chat' })(Spaced);
    await expect(createApp([Spaced])).rejects.toThrow('has no namespace');
    await expect(createApp([Chat], { createServer: () => ({}) as never })).rejects.toThrow('noServer: true');
    await expect(createApp([Chat], { maxRoms: 1 } as never)).rejects.toThrow('did you mean "maxRooms"');
    class AppModule {}
    const app = await NestFactory.create({ module: AppModule }, { logger: false, abortOnError: false });
    cleanUps.push(() => app.close());
    const create = () =>
      new RollcallAdapter(app, {
        createServer: () => null as never,
        authenticate: () => null,
        authorize: () => true,
      });
    expect(create).toThrow('does not import RollcallModule');
  });

  test('a message that clients cannot send is reported', async () => {
    class Spaced {
      on() {}
    }
    WebSocketGateway({ path: '/ws' })(Spaced);
    decorate(Spaced, { on: [SubscribeMessage('a b')] });
    const errors: string[] = [];
    const app = await createApp([Spaced], { onError: ({ message }) => errors.push(message) });
    await connectTo(app, 'ada');
    await waitFor(() => errors.length > 0);
    expect(errors[0]).toContain('"a b" is no name that a client can call');
  });

  test('a handler with @Ack() is reported', async () => {
    class Acknowledged {
      on() {}
    }
    WebSocketGateway({ path: '/ws' })(Acknowledged);
    decorate(Acknowledged, { on: [SubscribeMessage('on')] });
    Ack()(Acknowledged.prototype, 'on', 0);
    const errors: string[] = [];
    const app = await createApp([Acknowledged], { onError: ({ message }) => errors.push(message) });
    await connectTo(app, 'ada');
    await waitFor(() => errors.length > 0);
    expect(errors[0]).toContain('has @Ack()');
  });
});

describe('RollcallHealthIndicator', () => {
  test('is up while Redis replies, down afterwards', async () => {
    const app = await createApp([]);
    const health = app.get(RollcallHealthIndicator);
    expect(await health.isHealthy('redis')).toEqual({ redis: { status: 'up' } });
    await app.close();
    expect(await health.isHealthy()).toEqual({ rollcall: { status: 'down', message: expect.any(String) } });
    await expect(health.isHealthy('')).rejects.toThrow('key');
  });
});
