import { beforeEach, describe, expect, test } from 'vitest';
import {
  ClosedError,
  CommandError,
  ConnectionError,
  InvalidArgumentError,
} from '../../../src/internal/errors.js';
import { TypingService } from '../../../src/typing/typing-service.js';
import { turn } from '../../support/fake-clock.js';
import type { FakeCall } from '../../support/fake-driver.js';
import { TypingFixture } from './typing-fixture.js';

// Which typing events a process publishes for its own users.

let fixture: TypingFixture;
let typing: TypingService;

beforeEach(() => {
  fixture = new TypingFixture();
  typing = fixture.open();
});

/** The reason that `promise` rejects with. */
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );

test('the first keystroke is published at once, and many keystrokes once per half ttl', async () => {
  await typing.start('lobby', 'ann');
  expect(fixture.takePublished()).toEqual(['0 ann 6000']);
  for (let strokes = 0; strokes < 95; strokes++) {
    await fixture.pass(100);
    await typing.start('lobby', 'ann');
  }
  expect(fixture.takePublished()).toEqual(['3000 ann 5900', '6000 ann 5900', '9000 ann 5900']);
});

test('the last keystroke counts for a whole ttl, although it was published later', async () => {
  await typing.start('lobby', 'ann');
  await fixture.pass(1_000);
  await typing.start('lobby', 'ann');
  await fixture.pass(20_000);
  expect(fixture.takePublished()).toEqual(['0 ann 6000', '3000 ann 4000']);
});

test('one keystroke is published once', async () => {
  await typing.start('lobby', 'ann');
  await fixture.pass(20_000);
  expect(fixture.takePublished()).toEqual(['0 ann 6000']);
});

test('a stop is published once, and only after a start was published', async () => {
  await typing.stop('lobby', 'ann');
  await typing.start('lobby', 'ann');
  await typing.stop('lobby', 'ann');
  await typing.stop('lobby', 'ann');
  expect(fixture.takePublished()).toEqual(['0 ann 6000', '0 ann 0']);
});

test('a stop after the ttl publishes nothing, because the indicator has expired', async () => {
  await typing.start('lobby', 'ann');
  await fixture.pass(6_000);
  await typing.stop('lobby', 'ann');
  expect(fixture.takePublished()).toEqual(['0 ann 6000']);
});

test('a user who continues soon after a stop is published as soon as the rate allows', async () => {
  await typing.start('lobby', 'ann');
  await typing.stop('lobby', 'ann');
  await fixture.pass(1_000);
  await typing.start('lobby', 'ann');
  expect(fixture.takePublished()).toEqual(['0 ann 6000', '0 ann 0']);
  await fixture.pass(20_000);
  expect(fixture.takePublished()).toEqual(['3000 ann 4000']);
});

test('a user who continues and stops again before the rate allows it is not published', async () => {
  for (let times = 0; times < 10; times++) {
    await typing.start('lobby', 'ann');
    await typing.stop('lobby', 'ann');
  }
  await fixture.pass(20_000);
  expect(fixture.takePublished()).toEqual(['0 ann 6000', '0 ann 0']);
});

test('rooms and users are independent, whatever their names are', async () => {
  const names = ['__proto__', 'constructor', '{a}b', 'a:b', 'a b', '😀'];
  for (const room of names) for (const user of names) await typing.start(room, user);
  expect(fixture.published).toHaveLength(36);
  expect(new Set(fixture.published.map(({ room, from }) => `${room} ${from}`)).size).toBe(36);
  for (const room of names) await typing.stop(room, '__proto__');
  expect(fixture.published.slice(36).map(({ from, ttl }) => [from, ttl])).toEqual(
    names.map(() => ['__proto__', 0]),
  );
});

test('the `except` socket is included in the event', async () => {
  await typing.start('lobby', 'ann', { except: 's1' });
  await typing.stop('lobby', 'ann', { except: 's2' });
  expect(fixture.published.map(({ except }) => except)).toEqual(['s1', 's2']);
});

test('stopAll publishes in all rooms where the user types, and in no other', async () => {
  await typing.start('a', 'ann');
  await typing.start('b', 'ann');
  await typing.start('c', 'ann');
  await typing.start('a', 'bob');
  await typing.stop('b', 'ann');
  fixture.published.length = 0;
  await typing.stopAll('ann', { except: 's1' });
  await typing.stopAll('ann');
  await typing.stopAll('nobody');
  expect(fixture.published.map(({ room, from, ttl }) => [room, from, ttl])).toEqual([
    ['a', 'ann', 0],
    ['c', 'ann', 0],
  ]);
});

test('after expiry no state and no timer is left', async () => {
  const before = fixture.clock.timers;
  for (let user = 0; user < 50; user++) await typing.start('lobby', `user${user}`);
  await typing.stop('lobby', 'user7');
  expect(fixture.clock.timers).toBeGreaterThanOrEqual(before + 50);
  await fixture.pass(6_000);
  expect(fixture.clock.timers).toBe(before);
  await typing.start('lobby', 'user7');
  expect(fixture.published).toHaveLength(52);
});

describe('with a slow Redis', () => {
  let pending: FakeCall[];
  beforeEach(() => {
    pending = [];
    fixture.onPublish = (call) => void pending.push(call);
  });
  const answer = async () => {
    fixture.publish(pending.shift() as FakeCall);
    await turn();
  };

  test('concurrent calls publish one message', async () => {
    const calls = [1, 2, 3].map(() => typing.start('lobby', 'ann'));
    await turn();
    expect(pending).toHaveLength(1);
    await answer();
    await Promise.all(calls);
    expect(pending).toEqual([]);
  });

  test('a stop is published after the start in flight, and resolves then', async () => {
    let stopped = false;
    const started = typing.start('lobby', 'ann');
    const stopping = typing.stop('lobby', 'ann').then(() => {
      stopped = true;
    });
    await turn();
    expect(pending).toHaveLength(1);
    await answer();
    expect([pending.length, stopped]).toEqual([1, false]);
    await answer();
    await Promise.all([started, stopping]);
    expect(fixture.takePublished()).toEqual(['0 ann 6000', '0 ann 0']);
  });

  test('only the final state of many starts and stops is published', async () => {
    const calls = [typing.start('lobby', 'ann')];
    await turn();
    for (let times = 0; times < 20; times++) {
      calls.push(typing.stop('lobby', 'ann'), typing.start('lobby', 'ann'));
    }
    await answer();
    await Promise.all(calls);
    expect(pending).toEqual([]);
    expect(fixture.takePublished()).toEqual(['0 ann 6000']);
  });

  test('nothing is published while the first message is in flight', async () => {
    const started = typing.start('lobby', 'ann');
    for (let times = 0; times < 40; times++) {
      await fixture.pass(100);
      typing.start('lobby', 'ann').catch(() => {});
    }
    expect(pending).toHaveLength(1);
    await answer();
    // Keystrokes in the meantime are published after it.
    expect(pending).toHaveLength(1);
    await answer();
    await started;
    expect(fixture.takePublished()).toEqual(['4000 ann 6000', '4000 ann 6000']);
  });
});

test('state is kept while a message is in flight', async () => {
  typing = fixture.open(1_000);
  const pending: FakeCall[] = [];
  fixture.onPublish = (call) => void pending.push(call);
  const calls = [typing.start('lobby', 'ann')];
  await fixture.pass(2_000);
  calls.push(typing.start('lobby', 'ann'));
  await turn();
  expect(pending).toHaveLength(1);
  fixture.onPublish = undefined;
  fixture.publish(pending[0] as FakeCall);
  await Promise.all(calls);
  expect(fixture.takePublished()).toEqual(['2000 ann 1000', '2000 ann 1000']);
});

describe('with a Redis that rejects', () => {
  beforeEach(() => {
    fixture.onPublish = (call) => call.refuse();
  });

  test('the call rejects, and the next keystroke tries again', async () => {
    expect(await failure(typing.start('lobby', 'ann'))).toBeInstanceOf(CommandError);
    fixture.onPublish = undefined;
    await typing.start('lobby', 'ann');
    expect(fixture.takePublished()).toEqual(['0 ann 6000']);
    expect(fixture.errors).toEqual([]);
  });

  test('no state is left after a rejection', async () => {
    const before = fixture.clock.timers;
    await failure(typing.start('lobby', 'ann'));
    await fixture.pass(6_000);
    expect(fixture.clock.timers).toBe(before);
    await typing.stop('lobby', 'ann');
    expect(fixture.takePublished()).toEqual([]);
  });

  test('a failure of a delayed message is reported to onError', async () => {
    fixture.onPublish = undefined;
    await typing.start('lobby', 'ann');
    await typing.start('lobby', 'ann');
    fixture.onPublish = (call) => call.interrupt();
    await fixture.pass(3_000);
    expect(fixture.errors).toHaveLength(1);
    expect(fixture.errors[0]?.[0]).toBeInstanceOf(ConnectionError);
    expect(fixture.errors[0]?.[1]).toEqual({ stage: 'peer' });
  });

  test('stopAll tries all rooms, and rejects with the first failure', async () => {
    fixture.onPublish = undefined;
    for (const room of ['a', 'b', 'c']) await typing.start(room, 'ann');
    let tried = 0;
    fixture.onPublish = (call) => {
      tried += call.commands.length;
      call.refuse();
    };
    expect(await failure(typing.stopAll('ann'))).toBeInstanceOf(CommandError);
    expect(tried).toBe(3);
  });
});

describe('bad input', () => {
  const { rooms } = new TypingFixture();
  test.each([
    [undefined, 'rooms'],
    [{}, 'rooms'],
    [{ rooms: {} }, 'rooms'],
    [{ rooms, ttl: 0 }, 'ttl'],
    [{ rooms, ttl: '6' }, 'ttl'],
    [{ rooms, ttl: Number.NaN }, 'ttl'],
    [{ rooms, ttl: 600_001 }, 'ttl'],
    [{ rooms, onError: 1 }, 'onError'],
  ])('invalid options are rejected (%#)', (options, argument) => {
    expect(() => new TypingService(options as never)).toThrow(
      expect.objectContaining({ name: 'InvalidArgumentError', argument }),
    );
  });

  test.each([
    ['', 'ann', {}, 'room'],
    [1, 'ann', {}, 'room'],
    [':'.repeat(512), 'ann', {}, 'room'],
    ['lobby', '', {}, 'userId'],
    ['lobby', '\ud800', {}, 'userId'],
    ['lobby', 'ann', 1, 'options'],
    ['lobby', 'ann', { except: '' }, 'except'],
    ['lobby', 'ann', { except: 7 }, 'except'],
  ])('start and stop reject invalid arguments (%#)', async (room, user, options, argument) => {
    for (const method of ['start', 'stop'] as const) {
      const error = await failure(typing[method](room as never, user, options as never));
      expect(error).toBeInstanceOf(InvalidArgumentError);
      expect(error).toMatchObject({ argument });
    }
    expect(fixture.driver.calls).toEqual([]);
    expect(fixture.clock.timers).toBe(0);
  });

  test.each([
    ['', undefined, 'userId'],
    ['ann', { except: '' }, 'except'],
  ])('stopAll rejects invalid arguments (%#)', async (user, options, argument) => {
    expect(await failure(typing.stopAll(user, options))).toMatchObject({ argument });
  });
});

test('a closed service publishes nothing and rejects calls', async () => {
  await typing.start('lobby', 'ann');
  await typing.start('lobby', 'ann');
  const { timers } = fixture.clock;
  const closed = Promise.all([typing.close(), typing.close(), typing[Symbol.asyncDispose]()]);
  expect(fixture.clock.timers).toBe(timers - 1);
  await closed;
  await fixture.pass(20_000);
  expect(fixture.takePublished()).toEqual(['0 ann 6000']);
  expect(fixture.clock.timers).toBe(0);
  for (const call of [typing.start('a', 'b'), typing.stop('a', 'b'), typing.stopAll('b')]) {
    expect(await failure(call)).toBeInstanceOf(ClosedError);
  }
});
