// What users write on all entry points. test/installs compiles it with several versions of TypeScript and resolutions.
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { createRollcall, defineChannel, PubSubService } from 'rollcall';
import { type Client, connect } from 'rollcall/client';
import { serveCrossws } from 'rollcall/crossws';
import { ConnectionState } from 'rollcall/driver';
import { connectEventStream } from 'rollcall/event-stream';
import { createGlideDriver } from 'rollcall/glide';
import { GraphQLPubSub } from 'rollcall/graphql';
import { msgpackCodec } from 'rollcall/msgpack';
import { RollcallModule } from 'rollcall/nestjs';
import { useRoom } from 'rollcall/react';
import { createConnectionHandler } from 'rollcall/server';
import { sharedWebSocket } from 'rollcall/shared-worker';
import { trackPresence } from 'rollcall/socket.io';
import { eventStream } from 'rollcall/sse';
import { createEmbeddedRedis } from 'rollcall/testing';
import { serveWebSocket } from 'rollcall/ws';
import { WebSocketServer } from 'ws';

const { rooms, presence } = createRollcall({ redis: createClient() });
const pubsub: PubSubService = new PubSubService({ redis: new Redis() });
const chat = defineChannel('chat:{room}', { history: { size: 10, ttl: 1_000 } });
void pubsub.publish(chat({ room: 'a' }), { text: 'hi' });
serveWebSocket(new WebSocketServer({ port: 0 }), {
  rooms,
  authenticate: () => ({ userId: 'ada' }),
  authorize: () => true,
});
const client: Client<{ note: { text: string } }> = connect({ url: 'ws://127.0.0.1' });
client.events.on('note', ({ text }) => text.length);
// @ts-expect-error Types are resolved: without them this line would compile.
client.events.on('other', () => {});
void presence.getOnlineCount().then((count: number) => count);
export const all = [
  serveCrossws,
  ConnectionState,
  connectEventStream,
  createGlideDriver,
  GraphQLPubSub,
  msgpackCodec,
  RollcallModule,
  useRoom,
  createConnectionHandler,
  sharedWebSocket,
  trackPresence,
  eventStream,
  createEmbeddedRedis,
];
