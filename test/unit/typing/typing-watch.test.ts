import { beforeEach, describe, expect, test } from 'vitest';
import {
  ClosedError,
  DecodeError,
  HandlerError,
  InvalidArgumentError,
} from '../../../src/internal/errors.js';
import type { TypingService } from '../../../src/typing/typing-service.js';
import { turn } from '../../support/fake-clock.js';
import { TypingFixture } from './typing-fixture.js';

// The typing users that a server knows from events.

let fixture: TypingFixture;
let typing: TypingService;
let calls: string[][];
const handler = (typingUsers: string[]) => void calls.push(typingUsers);

beforeEach(() => {
  fixture = new TypingFixture();
  typing = fixture.open();
  calls = [];
});

const say = (payload: unknown) =>
  fixture.driver.message(
    'channel',
    'room:lobby',
    typeof payload === 'string' ? payload : JSON.stringify(payload),
  );

test('the handler receives all typing users, and is called only on changes', async () => {
  const watch = await typing.watch('lobby', handler);
  expect(watch.current()).toEqual([]);
  await typing.start('lobby', 'bob');
  await typing.start('lobby', 'ann', { except: 's1' });
  for (let times = 0; times < 40; times++) {
    await fixture.pass(100);
    await typing.start('lobby', 'bob');
  }
  expect(calls).toEqual([['bob'], ['bob', 'ann']]);
  expect(watch.current()).toEqual(['bob', 'ann']);
  await typing.stop('lobby', 'bob', { except: 's1' });
  expect(calls.splice(0)).toEqual([['bob'], ['bob', 'ann'], ['ann']]);
});

test('a user is removed after the ttl of the last message', async () => {
  const watch = await typing.watch('lobby', handler);
  await fixture.rooms.broadcastTyping('lobby', 'ann', { ttl: 500 });
  await fixture.rooms.broadcastTyping('lobby', 'bob', { ttl: 1_000 });
  await fixture.pass(499, 499);
  expect(watch.current()).toEqual(['ann', 'bob']);
  await fixture.pass(1);
  expect(calls).toEqual([['ann'], ['ann', 'bob'], ['bob']]);
  await fixture.pass(500);
  expect(watch.current()).toEqual([]);
  expect(calls).toHaveLength(4);
});

test('other events of the room are ignored', async () => {
  await typing.watch('lobby', handler);
  await fixture.rooms.broadcast('lobby', 'message', { text: '"event":"$typing"' }, { from: 'ann' });
  await fixture.rooms.broadcastTyping('other', 'ann', { ttl: 1_000 });
  say('no room event at all');
  say({ event: '$typin', from: 'ann', data: { ttl: 1 } });
  expect(calls).toEqual([]);
  expect(fixture.errors).toEqual([]);
});

test('typing events of other programs count', async () => {
  const watch = await typing.watch('lobby', handler);
  say({ data: { ttl: 1_000 }, from: '__proto__', event: '$typing' });
  expect(watch.current()).toEqual(['__proto__']);
});

test.each([
  ['{"event":"$typing"'],
  [{ event: '$typing', data: { ttl: 1_000 } }],
  [{ event: '$typing', from: 'ann', data: null }],
  [{ event: '$typing', from: 'ann' }],
  [{ event: '$typing', from: 'ann', data: { ttl: '1000' } }],
  [{ event: '$typing', from: 'ann', data: { ttl: -1 } }],
])('an invalid typing event is reported to onError: %j', async (payload) => {
  const watch = await typing.watch('lobby', handler);
  say(payload);
  expect(watch.current()).toEqual([]);
  expect(fixture.errors).toHaveLength(1);
  expect(fixture.errors[0]?.[0]).toBeInstanceOf(DecodeError);
  expect(fixture.errors[0]?.[1]).toEqual({ stage: 'decode', channel: 'room:lobby' });
});

test('a typing user is removed after an hour at most, also if the event has a larger ttl', async () => {
  const watch = await typing.watch('lobby', handler);
  say({ event: '$typing', from: 'ann', data: { ttl: 1e300 } });
  await fixture.pass(3_600_000, 3_600_000);
  expect(watch.current()).toEqual([]);
});

test('a handler that throws is reported, and the other handlers run', async () => {
  await typing.watch('lobby', () => {
    throw new Error('mine');
  });
  await typing.watch('lobby', () => Promise.reject(new Error('later')));
  await typing.watch('lobby', handler);
  await typing.start('lobby', 'ann');
  await turn();
  await fixture.pass(6_000);
  expect(calls).toEqual([['ann'], []]);
  expect(fixture.errors).toHaveLength(4);
  for (const [error, context] of fixture.errors) {
    expect(error).toBeInstanceOf(HandlerError);
    expect(context).toEqual({ stage: 'handler', channel: 'room:lobby' });
  }
});

describe('the end of a watch', () => {
  test('a closed watch receives nothing and leaves no state', async () => {
    const watch = await typing.watch('lobby', handler);
    await typing.start('lobby', 'ann');
    await Promise.all([watch.close(), watch.close(), watch[Symbol.asyncDispose]()]);
    expect(watch.current()).toEqual([]);
    expect([...fixture.driver.known]).toEqual([]);
    await fixture.pass(6_000);
    expect(calls).toEqual([['ann']]);
    expect(fixture.clock.timers).toBe(0);
  });

  test('a watch receives nothing from the call of close on', async () => {
    const watch = await typing.watch('lobby', handler);
    const closing = watch.close();
    say({ event: '$typing', from: 'ann', data: { ttl: 1_000 } });
    expect([calls, watch.current()]).toEqual([[], []]);
    await closing;
  });

  test('an AbortSignal ends a watch', async () => {
    const controller = new AbortController();
    const watch = await typing.watch('lobby', handler, { signal: controller.signal });
    await typing.start('lobby', 'ann');
    controller.abort();
    await turn();
    expect(watch.current()).toEqual([]);
    expect([...fixture.driver.known]).toEqual([]);
    await watch.close();
  });

  test('a watch ends when the service closes', async () => {
    const watch = await typing.watch('lobby', handler);
    await fixture.rooms.broadcastTyping('lobby', 'ann', { ttl: 3_600_000 });
    await typing.close();
    expect([...fixture.driver.known]).toEqual([]);
    expect(watch.current()).toEqual([]);
    // The deadline of the call that unsubscribed.
    await fixture.pass(10_000, 10_000);
    expect(fixture.clock.timers).toBe(0);
    await expect(typing.watch('lobby', handler)).rejects.toBeInstanceOf(ClosedError);
  });

  test('a watch does not start if the service is closed first', async () => {
    const watching = typing.watch('lobby', handler);
    const refused = expect(watching).rejects.toBeInstanceOf(ClosedError);
    await typing.close();
    await refused;
    await turn();
    expect([...fixture.driver.known]).toEqual([]);
  });

  test('a watch does not start if Redis rejects', async () => {
    fixture.driver.onCall = (call) => call.refuse();
    await expect(typing.watch('lobby', handler)).rejects.toMatchObject({ code: 'ERR_COMMAND' });
    expect(fixture.pubsub.stats().handlers).toBe(0);
    await typing.close();
  });
});

test.each([
  ['', handler, {}, 'room'],
  ['lobby', undefined, {}, 'handler'],
  ['lobby', handler, 1, 'options'],
  ['lobby', handler, { signal: 1 }, 'signal'],
])('watch rejects invalid arguments (%#)', async (room, handler, options, argument) => {
  const watching = typing.watch(room, handler as never, options as never);
  await expect(watching).rejects.toBeInstanceOf(InvalidArgumentError);
  await expect(watching).rejects.toMatchObject({ argument });
  expect(fixture.driver.calls).toEqual([]);
});

test('an aborted signal rejects with its reason', async () => {
  const reason = new Error('mine');
  await expect(typing.watch('lobby', handler, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  expect(fixture.driver.calls).toEqual([]);
});
