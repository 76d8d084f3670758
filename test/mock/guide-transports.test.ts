import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import {
  bufferCodec,
  type Driver,
  defineChannel,
  NotificationService,
  PresenceService,
  PubSubService,
  RoomService,
  TypingService,
} from 'rollcall';
import { type ChannelStreamOptions, eventStream } from 'rollcall/sse';
import { createChaosDriver, createEmbeddedRedis, type EmbeddedRedis } from 'rollcall/testing';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { EventParser } from '../support/sse-client.js';
import { waitFor, withDeadline } from '../support/wait.js';

// Sentences of docs/sse.md, rooms.md, typing.md and notifications.md that no other test covers.

let redis: EmbeddedRedis;
let pubsub: PubSubService;
let ends: (() => unknown)[];
beforeEach(async () => {
  redis = await createEmbeddedRedis();
  pubsub = new PubSubService({ redis: redis.client });
  ends = [() => redis.close(), () => pubsub.close()];
});
afterEach(async () => {
  for (const end of ends.reverse()) await end();
});

describe('an event stream', () => {
  function open(
    options: Omit<ChannelStreamOptions, 'pubsub'>,
    query = '',
    headers: Record<string, string> = {},
  ) {
    const abort = new AbortController();
    const request = new Request(`http://127.0.0.1/events${query}`, { headers, signal: abort.signal });
    const response = eventStream(request, { pubsub, ...options });
    const parser = new EventParser();
    const read = async () => {
      const decoder = new TextDecoder();
      for await (const chunk of response.body ?? []) parser.feed(decoder.decode(chunk, { stream: true }));
    };
    read().catch(() => {});
    ends.push(async () => {
      abort.abort();
      await response.events.closed;
    });
    return {
      response,
      id: () => parser.lastEventId,
      of: (name: string) => parser.events.filter(({ type }) => type === name).map(({ data }) => data),
    };
  }

  test('carries the payloads of a binary codec in base64', async () => {
    const frames = defineChannel<Uint8Array>()('frames', { codec: bufferCodec });
    const stream = open({ channels: [frames()] });
    await waitFor(() => stream.of('$ready').length === 1);
    await pubsub.publish(frames(), Buffer.from([0, 255, 10]));
    await waitFor(() => stream.of('frames').length === 1);
    expect(stream.of('frames')).toEqual([Buffer.from([0, 255, 10]).toString('base64')]);
  });

  test('has headers that turn off buffering and transformation, which `headers` may replace', () => {
    const shown = ({ headers }: Response) => [headers.get('cache-control'), headers.get('x-accel-buffering')];
    expect(shown(open({ channels: ['x'] }).response)).toEqual(['no-cache, no-transform', 'no']);
    const headers = { 'cache-control': 'no-store', 'x-accel-buffering': 'yes', 'x-more': '1' };
    const { response } = open({ channels: ['x'], headers });
    expect([...shown(response), response.headers.get('x-more')]).toEqual(['no-store', 'yes', '1']);
  });

  test('of 100 channels has ids of at most 4 kB; with an id in the URL and the header, the header applies', async () => {
    const history = { size: 10, ttl: 60_000 };
    const channels = Array.from({ length: 100 }, (_, n) => ({ channel: `channel-${n}` }));
    await Promise.all(channels.map(({ channel }) => pubsub.publish(channel, 'old', { history })));
    const first = open({ channels });
    await waitFor(() => first.of('$ready').length === 1);
    const early = first.id();
    await Promise.all(channels.map(({ channel }) => pubsub.publish(channel, 'new', { history })));
    await waitFor(() => first.of('channel-99').length === 1);
    expect(first.id().length).toBeGreaterThan(1_000);
    expect(first.id().length).toBeLessThanOrEqual(4_096);

    const [early0, late] = [encodeURIComponent(early), first.id()];
    const inUrl = open({ channels }, `?lastEventId=${early0}`);
    const both = open({ channels }, `?lastEventId=${early0}`, { 'last-event-id': late });
    await waitFor(() => inUrl.of('channel-0').length === 1 && both.of('$ready').length === 1);
    await pubsub.publish('channel-0', 'last', { history });
    await waitFor(() => both.of('channel-0').length === 1);
    expect(both.of('channel-0')).toEqual(['"last"']);
    expect(inUrl.of('channel-0')[0]).toBe('"new"');
  });

  test('ends when its client disconnects, also if its Request was garbage collected before', async () => {
    setFlagsFromString('--expose-gc');
    const collectGarbage = runInNewContext('gc') as () => void;
    const abort = new AbortController();
    // In a function of its own, so that only the stream can keep the Request.
    const begin = () =>
      eventStream(new Request('http://127.0.0.1/events', { signal: abort.signal }), {
        pubsub,
        channels: ['x'],
      });
    const response = begin();
    await response.body?.getReader().read();
    await waitFor(() => pubsub.stats().handlers === 1);
    for (let round = 0; round < 5; round++) {
      collectGarbage();
      // WeakRefs that were read are kept until the end of the turn.
      await new Promise((resolve) => setImmediate(resolve));
    }
    abort.abort();
    expect(await withDeadline(response.events.closed, 5_000, 'the end')).toMatchObject({ code: 1006 });
    expect(pubsub.stats().handlers).toBe(0);
  });

  test.each(['open', 'error', '$news', 'two\nlines', 'two\rlines'])(
    'refuses %j as the name of an event',
    (event) => {
      expect(() => open({ channels: [{ channel: 'x', event }] })).toThrow(/event/);
    },
  );
});

test('hasHistory is false without history, and then nothing has a position', async () => {
  const [kept, passing] = [new RoomService({ pubsub }), new RoomService({ pubsub, history: false })];
  ends.push(
    () => kept.close(),
    () => passing.close(),
  );
  expect([kept.hasHistory, passing.hasHistory]).toEqual([true, false]);
  expect(await passing.broadcast('lobby', 'message', 1)).not.toHaveProperty('position');
  expect(await kept.broadcast('lobby', 'message', 1)).toHaveProperty('position');
});

test('users who type are listed in the order in which they started', async () => {
  const rooms = new RoomService({ pubsub });
  const typing = new TypingService({ rooms });
  ends.push(
    () => rooms.close(),
    () => typing.close(),
  );
  let users: readonly string[] = [];
  await typing.watch('lobby', (list) => {
    users = list;
  });
  for (const user of ['zoe', 'ann', 'mia']) {
    await typing.start('lobby', user);
    await waitFor(() => users.includes(user));
  }
  expect(users).toEqual(['zoe', 'ann', 'mia']);
  await typing.stop('lobby', 'zoe');
  await waitFor(() => users.length === 2);
  expect(users).toEqual(['ann', 'mia']);
});

describe('notifications', () => {
  test('notify runs two scripts and one read, acknowledge two scripts, and a third if the marker moves', async () => {
    const sent: string[] = [];
    const driver = createChaosDriver(redis.connect());
    const execute = driver.execute.bind(driver);
    const counting: Driver = Object.assign(driver, {
      execute: (...args: Parameters<Driver['execute']>) => {
        for (const command of args[0]) sent.push(Array.isArray(command) ? String(command[0]) : 'script');
        return execute(...args);
      },
    });
    const presence = new PresenceService({ redis: counting });
    const rooms = new RoomService({ pubsub: new PubSubService({ redis: counting }), presence });
    ends.push(
      () => presence.close(),
      () => rooms.close(),
    );
    const notifications = new NotificationService({ rooms });
    // The first call connects, and reads the layout of presence.
    await notifications.notify('bob', 0);
    await presence.getPresence('bob');
    const during = async (call: () => Promise<unknown>) => {
      sent.length = 0;
      await call();
      return sent.toSorted();
    };
    let id = '';
    const notify = async () => {
      ({ id } = await notifications.notify('ann', 1));
    };
    expect(await during(notify)).toEqual(['MGET', 'script', 'script']);
    expect(await during(() => notifications.acknowledge('ann', id as never))).toEqual(
      Array(3).fill('script'),
    );
    expect(await during(() => notifications.acknowledge('ann', id as never))).toEqual(
      Array(2).fill('script'),
    );
  });

  test('the read marker is kept for a year', async () => {
    const rooms = new RoomService({ pubsub });
    ends.push(() => rooms.close());
    const notifications = new NotificationService({ rooms });
    const { id } = await notifications.notify('ann', 1);
    await notifications.acknowledge('ann', id);
    const client = redis.client as unknown as {
      keys(p: string): Promise<string[]>;
      pttl(key: string): Promise<number>;
    };
    const [key = ''] = await client.keys('rollcall:read:*');
    expect(key).toBe('rollcall:read:notifications:ann');
    expect(Math.round((await client.pttl(key)) / 86_400_000)).toBe(365);
  });
});
