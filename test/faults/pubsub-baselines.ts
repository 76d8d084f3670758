import type { EventEmitter } from 'node:events';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { type Discontinuity, PubSubService } from 'rollcall';
import { ioredis, nodeRedis } from '../shared/redis-clients.js';

// Ways to recover missed messages that look right and are not. The fault tests run them through the same
// faults as rollcall, and they must be seen to fail there: otherwise the faults would prove nothing.

/** What a subscriber saw, in this order: a message's number, or that messages may be missing. */
export type Seen = number | { readonly gap: Pick<Discontinuity, 'reason' | 'recovered'> };

/** Publishes numbers on one connection and receives them on another. */
export interface System {
  readonly seen: Seen[];
  /** Resolves once it is acknowledged. */
  publish(number: number): Promise<void>;
  close(): Promise<void>;
}

/** `publisher` and `subscriber` are ports, of proxies perhaps. */
export type SystemMaker = (publisher: number, subscriber: number) => Promise<System>;

/** Numbers that were published, did not arrive and are in no reported discontinuity. */
export function lostUnnoticed(seen: readonly Seen[]): number[] {
  const lost: number[] = [];
  let last = 0;
  let excused = false;
  for (const one of seen) {
    if (typeof one !== 'number') {
      excused ||= !one.gap.recovered;
      continue;
    }
    for (let number = last + 1; number < one && !excused; number++) lost.push(number);
    last = Math.max(last, one);
    excused = false;
  }
  return lost;
}

const SIZE = 10_000;
const CHANNEL = 'numbers';
const quiet = (client: object) => void (client as EventEmitter).on('error', () => {});
const connect = (port: number) => {
  const client = new Redis(port, { retryStrategy: () => 20, maxRetriesPerRequest: null });
  quiet(client);
  return client;
};

/** Repeats `call` until Redis has answered it: what an application does that must not lose a message. */
async function untilAcknowledged(call: () => Promise<unknown>, over: () => boolean): Promise<void> {
  while (!over()) {
    try {
      await call();
      return;
    } catch {
      // Once more.
    }
  }
}

/** A client that subscribes again by itself, by either library, and says when it is ready. */
async function resubscribing(
  library: 'node-redis' | 'ioredis',
  port: number,
  ready: () => void,
  got: (payload: string) => void,
): Promise<() => void> {
  if (library === 'ioredis') {
    const client = connect(port);
    client.on('message', (_channel, payload) => got(payload));
    await client.subscribe(CHANNEL);
    client.on('ready', ready);
    return () => client.disconnect();
  }
  const client = createClient({ socket: { host: '127.0.0.1', port, reconnectStrategy: 20 } });
  quiet(client);
  await client.connect();
  await client.subscribe(CHANNEL, got);
  client.on('ready', ready);
  return () => client.destroy();
}

const COUNTED = `
  local count = redis.call('INCR', KEYS[2])
  redis.call('ZADD', KEYS[1], count, count .. ':' .. ARGV[1])
  redis.call('PUBLISH', ARGV[2], count .. ':' .. ARGV[1])`;

/**
 * Messages are counted in Redis; a count that skips some is a hole, which is read from the history, and so is
 * what came since the last count when the client is ready again. A count that goes back is reported.
 */
export async function counterInRedis(publisher: number, subscriber: number): Promise<System> {
  const [writer, reader] = [connect(publisher), connect(subscriber)];
  const seen: Seen[] = [];
  let last = 0;
  let over = false;
  // One after the other, in the order in which they came.
  let queue: Promise<unknown> = Promise.resolve();
  const take = (text: string) => {
    const [count, number] = text.split(':').map(Number) as [number, number];
    if (count <= last) return;
    last = count;
    seen.push(number);
  };
  const readTo = async (end: string) => {
    for (const text of await reader.zrangebyscore(`${CHANNEL}:log`, last + 1, end)) take(text);
  };
  const got = async (text: string) => {
    const count = Number(text.split(':')[0]);
    if (count < last) {
      seen.push({ gap: { reason: 'forked', recovered: false } });
      last = count - 1;
    }
    if (count > last + 1) await readTo(String(count));
    take(text);
  };
  const next = (work: () => Promise<unknown>) => {
    queue = queue.then(work).catch(() => {});
  };
  const stop = await resubscribing(
    'ioredis',
    subscriber,
    () => next(() => readTo('+inf')),
    (text) => next(() => got(text)),
  );
  return {
    seen,
    publish: (number) =>
      untilAcknowledged(
        () => writer.eval(COUNTED, 2, `${CHANNEL}:log`, `${CHANNEL}:count`, number, CHANNEL),
        () => over,
      ),
    close: async () => {
      over = true;
      stop();
      writer.disconnect();
      reader.disconnect();
    },
  };
}

const STREAMED = `
  local id = redis.call('XADD', KEYS[1], '*', 'm', ARGV[1])
  redis.call('PUBLISH', ARGV[2], id .. ':' .. ARGV[1])`;

/**
 * Whenever the client says that it is ready again, what came since the last message is read from the
 * history; what comes twice is left out.
 */
export async function rereadOnReady(
  library: 'node-redis' | 'ioredis',
  publisher: number,
  subscriber: number,
): Promise<System> {
  const [writer, reader] = [connect(publisher), connect(subscriber)];
  const seen: Seen[] = [];
  let last = [0, 0] as [number, number];
  let over = false;
  const take = (id: string, number: number) => {
    const [time, serial] = id.split('-').map(Number) as [number, number];
    if (time < last[0] || (time === last[0] && serial <= last[1])) return;
    last = [time, serial];
    seen.push(number);
  };
  const reread = async () => {
    const entries = await reader.xrange(`${CHANNEL}:stream`, `(${last.join('-')}`, '+');
    for (const [id, [, number]] of entries) take(id, Number(number));
  };
  const stop = await resubscribing(
    library,
    subscriber,
    () => void reread().catch(() => {}),
    (text) => {
      const [id, number] = text.split(':') as [string, string];
      take(id, Number(number));
    },
  );
  return {
    seen,
    publish: (number) =>
      untilAcknowledged(
        () => writer.eval(STREAMED, 1, `${CHANNEL}:stream`, number, CHANNEL),
        () => over,
      ),
    close: async () => {
      over = true;
      stop();
      writer.disconnect();
      reader.disconnect();
    },
  };
}

/** What is to be proved. */
export async function rollcallSystem(
  library: 'node-redis' | 'ioredis',
  publisher: number,
  subscriber: number,
): Promise<System> {
  const [sending, receiving] = [
    nodeRedis(publisher),
    { ioredis, 'node-redis': nodeRedis }[library](subscriber),
  ];
  const writer = new PubSubService({ redis: sending.client });
  const reader = new PubSubService({ redis: receiving.client });
  const seen: Seen[] = [];
  let over = false;
  await reader.subscribe<number>(CHANNEL, (number) => void seen.push(number), {
    since: 'latest',
    onDiscontinuity: ({ reason, recovered }) => void seen.push({ gap: { reason, recovered } }),
  });
  const history = { size: SIZE, ttl: 600_000 };
  return {
    seen,
    publish: (number) =>
      untilAcknowledged(
        () => writer.publish(CHANNEL, number, { history, idempotencyKey: String(number) }),
        () => over,
      ),
    close: async () => {
      over = true;
      await Promise.all([writer.close(), reader.close()]);
      sending.end();
      receiving.end();
    },
  };
}
