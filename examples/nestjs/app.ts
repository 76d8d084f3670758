import 'reflect-metadata';
import type { IncomingMessage } from 'node:http';
import { Controller, Get, Inject, Module, type Type, UseFilters } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ConnectedSocket, MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { type PresenceData, PresenceService, type RedisClient, RoomService } from 'rollcall';
import {
  type GatewayClient,
  Presence,
  RollcallAdapter,
  RollcallExceptionFilter,
  RollcallHealthIndicator,
  RollcallModule,
  type RollcallModuleOptions,
} from 'rollcall/nestjs';
import { RequestError } from 'rollcall/ws';
import { WebSocketServer } from 'ws';

/** Joins, events, typing and presence need no code here; these are the application's own requests. */
@UseFilters(new RollcallExceptionFilter())
@WebSocketGateway({ path: '/ws' })
export class ChatGateway {
  constructor(@Inject(RoomService) private readonly rooms: RoomService) {}

  @SubscribeMessage('announce')
  async announce(
    @MessageBody() body: { room: string; text: string },
    @ConnectedSocket() client: GatewayClient,
    @Presence() presence: PresenceData | null,
  ) {
    if (!client.socket.isIn(body.room)) throw new RequestError('NOT_JOINED', 'join the room first');
    const data = { text: body.text, status: presence?.status ?? 'offline' };
    const { position } = await this.rooms.broadcast(body.room, 'announcement', data);
    return { position };
  }
}

@Controller()
export class StatusController {
  constructor(
    @Inject(PresenceService) private readonly presence: PresenceService,
    @Inject(RollcallHealthIndicator) private readonly redis: RollcallHealthIndicator,
  ) {}

  @Get('online')
  async online() {
    return { users: await this.presence.getOnlineCount() };
  }

  @Get('health')
  health() {
    return this.redis.isHealthy('redis');
  }
}

/** Services and gateways report errors that no caller awaits to `onError`. */
type Options = Pick<RollcallModuleOptions, 'onError'>;

/** @param redis creates the client, which the module closes when the application closes */
function createAppModule(redis: () => RedisClient, options: Options): Type {
  @Module({
    imports: [
      RollcallModule.forRootAsync({
        useFactory: () => ({
          ...options,
          redis,
          rooms: { history: { size: 1_000, ttl: 3_600_000 } },
        }),
      }),
    ],
    providers: [ChatGateway],
    controllers: [StatusController],
  })
  class AppModule {}
  return AppModule;
}

/** Your rule for who may enter a room. */
function isMember(room: string, userId: string): boolean {
  return room.length > 0 && userId !== 'banned';
}

/** The user of `?user=…`: use a session of yours instead. */
function authenticate({ url = '' }: IncomingMessage): string | null {
  return new URL(url, 'http://localhost').searchParams.get('user');
}

export async function createApp(redis: () => RedisClient, options: Options = {}) {
  const app = await NestFactory.create(createAppModule(redis, options), { logger: ['error', 'warn'] });
  app.useWebSocketAdapter(
    new RollcallAdapter(app, {
      ...options,
      createServer: () => new WebSocketServer({ noServer: true }),
      authenticate,
      authorize: (user, request) => !('room' in request) || isMember(request.room, user.userId),
    }),
  );
  // SIGTERM closes the application: connections first, then the services, then the Redis client.
  app.enableShutdownHooks();
  return app;
}
