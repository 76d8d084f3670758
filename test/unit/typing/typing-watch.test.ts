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

// Who types, as servers hear of it.

let fixture: TypingFixture;
let typing: TypingService;
let heard: string[][];
const hear = (typingUsers: string[]) => void heard.push(typingUsers);

beforeEach(() => {
  fixture = new TypingFixture();
  typing = fixture.open();
  heard = [];
});

const say = (payload: unknown) =>
  fixture.driver.message(
    'channel',
    'room:lobby',
    typeof payload === 'string' ? payload : JSON.stringify(payload),
  );

test('the handler receives all users who type, only on changes', async () => {
  const watch = await typing.watch('lobby', hear);
  expect(watch.current()).toEqual([]);
  await typing.start('lobby', 'bob');
  await typing.start('lobby', 'ann', { except: 's1' });
  for (let times = 0; times < 40; times++) {
    await fixture.pass(100);
    await typing.start('lobby', 'bob');
  }
  expect(heard).toEqual([['bob'], ['bob', 'ann']]);
  expect(watch.current()).toEqual(['bob', 'ann']);
  await typing.stop('lobby', 'bob', { except: 's1' });
  expect(heard.splice(0)).toEqual([['bob'], ['bob', 'ann'], ['ann']]);
});

test('a user is removed after the ttl of the last message', async () => {
  const watch = await typing.watch('lobby', hear);
  await fixture.rooms.broadcastTyping('lobby', 'ann', { ttl: 500 });
  await fixture.rooms.broadcastTyping('lobby', 'bob', { ttl: 1_000 });
  await fixture.pass(499, 499);
  expect(watch.current()).toEqual(['ann', 'bob']);
  await fixture.pass(1);
  expect(heard).toEqual([['ann'], ['ann', 'bob'], ['bob']]);
  await fixture.pass(500);
  expect(watch.current()).toEqual([]);
  expect(heard).toHaveLength(4);
});

test('other events of the room are ignored', async () => {
  await typing.watch('lobby', hear);
  await fixture.rooms.broadcast('lobby', 'message', { text: '"event":"$typing"' }, { from: 'ann' });
  await fixture.rooms.broadcastTyping('other', 'ann', { ttl: 1_000 });
  say('no room event at all');
  say({ event: '$typin', from: 'ann', data: { ttl: 1 } });
  expect(heard).toEqual([]);
  expect(fixture.errors).toEqual([]);
});

test('typing events of other programs count', async () => {
  const watch = await typing.watch('lobby', hear);
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
])('an invalid typing event goes to onError: %j', async (payload) => {
  const watch = await typing.watch('lobby', hear);
  say(payload);
  expect(watch.current()).toEqual([]);
  expect(fixture.errors).toHaveLength(1);
  expect(fixture.errors[0]?.[0]).toBeInstanceOf(DecodeError);
  expect(fixture.errors[0]?.[1]).toEqual({ stage: 'decode', channel: 'room:lobby' });
});

test('a user types for an hour at most, whatever ttl the event has', async () => {
  const watch = await typing.watch('lobby', hear);
  say({ event: '$typing', from: 'ann', data: { ttl: 1e300 } });
  await fixture.pass(3_600_000, 3_600_000);
  expect(watch.current()).toEqual([]);
});

test('a handler that throws is reported, and the other handlers run', async () => {
  await typing.watch('lobby', () => {
    throw new Error('mine');
  });
  await typing.watch('lobby', () => Promise.reject(new Error('later')));
  await typing.watch('lobby', hear);
  await typing.start('lobby', 'ann');
  await turn();
  await fixture.pass(6_000);
  expect(heard).toEqual([['ann'], []]);
  expect(fixture.errors).toHaveLength(4);
  for (const [error, context] of fixture.errors) {
    expect(error).toBeInstanceOf(HandlerError);
    expect(context).toEqual({ stage: 'handler', channel: 'room:lobby' });
  }
});

describe('a watch that has ended', () => {
  test('receives nothing and leaves nothing behind', async () => {
    const watch = await typing.watch('lobby', hear);
    await typing.start('lobby', 'ann');
    await Promise.all([watch.close(), watch.close(), watch[Symbol.asyncDispose]()]);
    expect(watch.current()).toEqual([]);
    expect([...fixture.driver.known]).toEqual([]);
    await fixture.pass(6_000);
    expect(heard).toEqual([['ann']]);
    expect(fixture.clock.timers).toBe(0);
  });

  test('receives nothing after the call of close', async () => {
    const watch = await typing.watch('lobby', hear);
    const closing = watch.close();
    say({ event: '$typing', from: 'ann', data: { ttl: 1_000 } });
    expect([heard, watch.current()]).toEqual([[], []]);
    await closing;
  });

  test('can end by an AbortSignal', async () => {
    const controller = new AbortController();
    const watch = await typing.watch('lobby', hear, { signal: controller.signal });
    await typing.start('lobby', 'ann');
    controller.abort();
    await turn();
    expect(watch.current()).toEqual([]);
    expect([...fixture.driver.known]).toEqual([]);
    await watch.close();
  });

  test('ends with the service', async () => {
    const watch = await typing.watch('lobby', hear);
    await fixture.rooms.broadcastTyping('lobby', 'ann', { ttl: 3_600_000 });
    await typing.close();
    expect([...fixture.driver.known]).toEqual([]);
    expect(watch.current()).toEqual([]);
    // The deadline of the call that unsubscribed.
    await fixture.pass(10_000, 10_000);
    expect(fixture.clock.timers).toBe(0);
    await expect(typing.watch('lobby', hear)).rejects.toBeInstanceOf(ClosedError);
  });

  test('does not start when the service is closed first', async () => {
    const watching = typing.watch('lobby', hear);
    const refused = expect(watching).rejects.toBeInstanceOf(ClosedError);
    await typing.close();
    await refused;
    await turn();
    expect([...fixture.driver.known]).toEqual([]);
  });

  test('does not start when Redis rejects', async () => {
    fixture.driver.onCall = (call) => call.refuse();
    await expect(typing.watch('lobby', hear)).rejects.toMatchObject({ code: 'ERR_COMMAND' });
    expect(fixture.pubsub.stats().handlers).toBe(0);
    await typing.close();
  });
});

test.each([
  ['', hear, {}, 'room'],
  ['lobby', undefined, {}, 'handler'],
  ['lobby', hear, 1, 'options'],
  ['lobby', hear, { signal: 1 }, 'signal'],
])('bad input %#', async (room, handler, options, argument) => {
  const watching = typing.watch(room, handler as never, options as never);
  await expect(watching).rejects.toBeInstanceOf(InvalidArgumentError);
  await expect(watching).rejects.toMatchObject({ argument });
  expect(fixture.driver.calls).toEqual([]);
});

test('an aborted signal rejects with its reason', async () => {
  const reason = new Error('mine');
  await expect(typing.watch('lobby', hear, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  expect(fixture.driver.calls).toEqual([]);
});
