import { Redis as Ioredis5 } from 'ioredis';
import RedisMock from 'ioredis-mock';
import { Redis as Ioredis6 } from 'ioredis6';
import { createClient as createClient6 } from 'redis';
import { createClient as createClient5 } from 'redis5';
import {
  createRollcall,
  type Discontinuity,
  type DiscontinuityReason,
  type Driver,
  defineChannel,
  type MessageContext,
  type MessageStream,
  type PublishResult,
  type PublishResultWithHistory,
  type PubSubOptions,
  PubSubService,
  type PubSubStats,
  type ReceivedMessage,
  type RedisClient,
  type RollcallError,
  type RollcallErrorCode,
  type Subscription,
} from 'rollcall';
import { createEmbeddedRedis } from 'rollcall/testing';

// Only type-checked, never run.

/** True when A and B are the same type; `any` is the same only as itself. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(..._: Same<A, B> extends true ? [] : ['these types differ', A, B]): void {}

interface Chat {
  from: string;
  text: string;
}

declare const driver: Driver;
declare const anyClient: RedisClient;
declare const chat: Chat;

// Every client is accepted without a cast.
export const services: PubSubService[] = [
  new PubSubService({ redis: createClient6() }),
  new PubSubService({ redis: createClient6({ RESP: 2 }) }),
  new PubSubService({ redis: createClient6({ RESP: 3 }) }),
  new PubSubService({
    redis: createClient6({ url: 'redis://localhost', socket: { reconnectStrategy: false } }),
  }),
  new PubSubService({ redis: createClient5() }),
  new PubSubService({ redis: createClient5({ RESP: 2 }) }),
  new PubSubService({ redis: createClient5({ RESP: 3 }) }),
  new PubSubService({ redis: new Ioredis5() }),
  new PubSubService({ redis: new Ioredis5('redis://localhost', { lazyConnect: true }) }),
  new PubSubService({ redis: new Ioredis6() }),
  new PubSubService({ redis: new RedisMock() }),
  new PubSubService({ redis: driver }),
  new PubSubService({ redis: anyClient }),
];
export const connected = async () => [
  new PubSubService({ redis: await createClient6().connect() }),
  new PubSubService({
    redis: await createClient6()
      .on('error', () => {})
      .connect(),
  }),
  new PubSubService({ redis: await createClient5().connect() }),
  new PubSubService({ redis: (await createEmbeddedRedis()).client }),
];
export const both = [
  createRollcall({ redis: createClient6() }),
  createRollcall({ redis: createClient5() }),
  createRollcall({ redis: new Ioredis5() }),
  createRollcall({ redis: new Ioredis6() }),
  createRollcall({ redis: new RedisMock() }),
];

// A value that is not a client is an error.
// @ts-expect-error
new PubSubService({ redis: 'redis://localhost' });
// @ts-expect-error
new PubSubService({ redis: {} });
// @ts-expect-error
new PubSubService({ redis: new Map() });
// @ts-expect-error
new PubSubService({});
// @ts-expect-error
new PubSubService();
// @ts-expect-error
new PubSubService({ redis: driver, unknown: 1 });

export async function use(pubsub: PubSubService): Promise<void> {
  // Handlers: the message has the type that the caller passes, and is unknown by default.
  const typed = await pubsub.subscribe<Chat>('chat', (message, context) => {
    same<typeof message, Chat>();
    same<typeof context, MessageContext>();
    same<typeof context.channel, string>();
    same<typeof context.pattern, string | undefined>();
    same<typeof context.raw, string | Buffer>();
  });
  same<typeof typed, Subscription>();
  await pubsub.subscribe('chat', (message) => {
    same<typeof message, unknown>();
  });
  await pubsub.subscribe('chat', (message: Chat) => {
    same<typeof message, Chat>();
  });
  await pubsub.psubscribe<Chat>('chat*', async (message) => {
    same<typeof message, Chat>();
  });
  const { unsubscribe } = typed;
  same<ReturnType<typeof unsubscribe>, Promise<void>>();
  await using disposable = typed;
  same<typeof disposable, Subscription>();

  await pubsub.subscribe('chat', () => {}, {
    signal: AbortSignal.timeout(1),
    raw: true,
    onDiscontinuity: (gap) => {
      same<typeof gap, Discontinuity>();
      same<typeof gap.reason, DiscontinuityReason>();
    },
  });
  // @ts-expect-error: no such option
  await pubsub.subscribe('chat', () => {}, { unknown: true });
  // @ts-expect-error: a channel is a string
  await pubsub.subscribe(1, () => {});
  // @ts-expect-error: a handler is a function
  await pubsub.subscribe('chat', {});
  // @ts-expect-error: not one of the policies
  pubsub.messages('chat', { overflow: 'none' });

  // Results.
  const published = await pubsub.publish('chat', chat);
  same<typeof published, PublishResult>();
  same<typeof published.receivers, number>();
  await pubsub.publish<Chat>('chat', chat);
  // @ts-expect-error: not a Chat
  await pubsub.publish<Chat>('chat', { from: 1 });

  // With history, the position is known.
  const history = { size: 1, ttl: 1 };
  const kept = await pubsub.publish('chat', chat, { history });
  same<typeof kept, PublishResultWithHistory>();
  same<typeof kept.position, string>();
  const keptRoom = defineChannel<Chat>()('room:{id}', { history });
  const position: string = (await pubsub.publish(keptRoom({ id: 'a' }), chat)).position;
  const byOption: string = (await pubsub.publish(keptRoom({ id: 'a' }), chat, { idempotencyKey: position }))
    .position;
  await pubsub.history(keptRoom({ id: 'a' }), { since: byOption });
  // @ts-expect-error: not a Chat
  await pubsub.publish(keptRoom({ id: 'a' }), { from: 1 });
  const plainRoom = defineChannel<Chat>()('room:{id}');
  same<Awaited<ReturnType<typeof publishPlain>>, PublishResult>();
  function publishPlain() {
    return pubsub.publish(plainRoom({ id: 'a' }), chat);
  }

  const stream = pubsub.messages<Chat>('chat', { capacity: 10, overflow: 'close' });
  same<typeof stream, MessageStream<Chat>>();
  for await (const received of stream) {
    same<typeof received, ReceivedMessage<Chat>>();
    same<typeof received.message, Chat>();
    same<typeof received.channel, string>();
  }
  same<ReturnType<typeof several>, MessageStream<Chat | { typing: string }>>();
  function several() {
    const typingRoom = defineChannel<{ typing: string }>()('typing:{id}');
    const both = [plainRoom({ id: 'a' }), typingRoom({ id: 'a' }), 'chat'] as const;
    return pubsub.messages<Chat | { typing: string }>(both);
  }
  const untyped = pubsub.messages('chat');
  same<typeof untyped, MessageStream<unknown>>();

  const stats = pubsub.stats();
  same<typeof stats, PubSubStats>();
  same<typeof stats.channels, number>();
  same<ReturnType<typeof pubsub.connect>, Promise<void>>();
  same<ReturnType<typeof pubsub.close>, Promise<void>>();
}

export const options: PubSubOptions = {
  redis: driver,
  onError: (error, context) => {
    same<typeof error, RollcallError>();
    same<typeof error.code, RollcallErrorCode>();
    same<typeof error.outcome, 'failed' | 'unknown'>();
    same<typeof context.channel, string | undefined>();
  },
};

// The helper rejects different types.
// @ts-expect-error
same<string, number>();
// @ts-expect-error
same<unknown, ReturnType<typeof JSON.parse>>();
