import { beforeEach, describe, expect, test } from 'vitest';
import { ClosedError, CommandError, ConnectionError, TimeoutError } from '../../../src/internal/errors.js';
import { PartitionKeys } from '../../../src/presence/keys.js';
import { PresenceWriter } from '../../../src/presence/presence-writer.js';
import type { PresenceWrite, SocketWrite } from '../../../src/presence/writes.js';
import { ClientHandle, SharedClient } from '../../../src/redis/client-handle.js';
import {
  isScriptCall,
  type Payload,
  type PlainCommand,
  type Reply,
  type ScriptCall,
} from '../../../src/redis/driver.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { type FakeCall, FakeDriver } from '../../support/fake-driver.js';
import { deferred } from '../../support/wait.js';

const TIMEOUT = 5_000;
/** Deadlines are looked at eight times per time-out. */
const LATEST = TIMEOUT + TIMEOUT / 8;

let driver: FakeDriver;
let clock: FakeClock;
let client: ClientHandle;
let writer: PresenceWriter;
let gate: () => Promise<void>;
let observed: [partition: number, nodeId: string, known: number, was: number, is: number][];
const keys = [new PartitionKeys('unit', 0), new PartitionKeys('unit', 1)];

beforeEach(() => {
  driver = new FakeDriver();
  clock = new FakeClock();
  client = new ClientHandle('PresenceService', new SharedClient(driver, () => {}), TIMEOUT, clock);
  gate = async () => {};
  observed = [];
  writer = new PresenceWriter({
    client,
    keys,
    lease: 9_000,
    keyTtl: 60_000,
    lastSeenTtl: 90_000,
    statusPriority: ['busy', 'online', 'away'],
    layout: { publishCommand: 'PUBLISH' },
    startup: { run: () => gate() },
    hidden: { until: () => undefined, observe: () => {} },
    nodeLease: { id: 'node#1', knownLease: () => 7, onLeaseSeen: (...seen) => observed.push(seen) },
  });
});

function socket(user: string, value: string | undefined = '"online",1', name = 's', more = {}): SocketWrite {
  return { kind: 'socket', user, socket: name, grace: 0, ...(value === undefined ? {} : { value }), ...more };
}

function removal(user: string, name = 's', more: Partial<SocketWrite> = {}): SocketWrite {
  return { kind: 'socket', user, socket: name, grace: 0, ...more };
}

type Outcome = { value?: string | null; error?: Error & { outcome?: string } };

/** Applies `change`; what comes of it appears in the returned object. */
function apply(change: PresenceWrite, partition = 0): Outcome {
  const outcome: Outcome = {};
  writer.apply(partition, change).then(
    (value) => {
      outcome.value = value;
    },
    (error: Error) => {
      outcome.error = error;
    },
  );
  return outcome;
}

function settleOf(call: FakeCall): ScriptCall {
  return call.commands.find(
    (command) => isScriptCall(command) && command.script.name === 'settle',
  ) as ScriptCall;
}

/** The users that a transaction settles. */
function usersOf(call: FakeCall): string[] {
  const { keys: names } = settleOf(call);
  return names
    .slice(4)
    .flatMap((name, at) => (at % 2 === 0 ? [name.slice(name.indexOf('}:sockets:') + 10)] : []));
}

/** What settle is told of each user: why he is looked at, and which facts of his change. */
function turnsOf(call: FakeCall): Record<string, { why: string; facts: [socket: string, value: string][] }> {
  const lines = String(settleOf(call).args[10]).split('\n');
  expect(lines.pop()).toBe('');
  const users = usersOf(call);
  const turns: Record<string, { why: string; facts: [string, string][] }> = {};
  let user = '';
  for (let at = 0; at < lines.length; at += 3) {
    const [why, socket, value] = lines.slice(at, at + 3) as [string, string, string];
    if (why !== '') {
      user = users.shift() as string;
      turns[user] = { why, facts: [] };
    }
    if (socket !== '') turns[user]?.facts.push([socket, value]);
  }
  expect(users).toEqual([]);
  return turns;
}

function plain(call: FakeCall): readonly PlainCommand[] {
  return call.commands.filter((command): command is PlainCommand => !isScriptCall(command));
}

/** Redis did it: each user's record says whose it is. */
async function ack(call: FakeCall, lease: [string, string] = ['5', '9']): Promise<void> {
  call.ack(
    call.commands.map(
      (command): Reply =>
        isScriptCall(command) ? [...lease, ...usersOf(call).map((user) => `record of ${user}`)] : 1,
    ),
  );
  await turn();
}

/** Redis did it, but for users whose key has another type. */
async function ackBut(call: FakeCall, poisoned: (user: string) => boolean): Promise<void> {
  if (!usersOf(call).some(poisoned)) return ack(call);
  const error = new Error('WRONGTYPE Operation against a key holding the wrong kind of value');
  call.ack(call.commands.map((command) => (isScriptCall(command) ? error : 1)));
  await turn();
}

describe('one change', () => {
  test('is one call of settle, told the fact', async () => {
    const outcome = apply(socket('ann', '"busy",5', 's1', { grace: 250.4 }));
    await turn();
    const call = driver.only;
    // Alone it is atomic without MULTI.
    expect(call.options).toMatchObject({ atomic: false, key: '{unit:0}:nodes' });
    expect(call.commands).toHaveLength(1);
    expect(settleOf(call)).toMatchObject({
      keys: [
        '{unit:0}:nodes',
        '{unit:0}:online',
        '{unit:0}:due',
        '{unit:0}:node:node#1',
        '{unit:0}:sockets:ann',
        '{unit:0}:user:ann',
      ],
      args: [
        'node#1',
        '9000',
        '60000',
        '90000',
        '{unit:0}:events',
        '17',
        '0',
        ',busy,online,away,',
        '7',
        'PUBLISH',
        '250\ns1\n"busy",5\n',
      ],
    });
    await ack(call);
    expect(outcome).toEqual({ value: 'record of ann' });
    expect(observed).toEqual([[0, 'node#1', 7, 5, 9]]);
    expect(writer.stats).toEqual({ changes: 1, transactions: 1, queued: 0 });
    // Nothing goes on by itself.
    clock.advance(10 * TIMEOUT);
    await turn();
    expect(driver.calls).toHaveLength(1);
    expect(clock.timers).toBe(0);
  });

  test("of another's fact goes before settle, leaves this node's lease alone, and tells the owner", async () => {
    apply(removal('ann', 's1', { owner: 'other#2', notify: 'other#2', registration: '5' }));
    await turn();
    expect(plain(driver.only)).toEqual([
      ['HDEL', '{unit:0}:sockets:ann', 'other#2"s1'],
      ['SREM', '{unit:0}:node:other#2', 'ann"s1'],
      ['SADD', '{unit:0}:inbox:other#2', 'ann"s1"5'],
      ['PEXPIRE', '{unit:0}:inbox:other#2', '90000'],
      ['PUBLISH', '{unit:0}:inbox:other#2', '["ann\\"s1\\"5"]'],
    ]);
    expect(driver.only.options).toMatchObject({ atomic: true });
    expect(driver.only.commands.at(-1)).toBe(settleOf(driver.only));
    expect(settleOf(driver.only).args[1]).toBe('0');
    expect(turnsOf(driver.only)).toEqual({ ann: { why: 'd0', facts: [] } });
    await ack(driver.only, ['', '']);
    expect(observed).toEqual([]);
  });

  test('of a user without a record resolves with null', async () => {
    const outcome = apply(removal('ann'));
    await turn();
    driver.only.ack([['', '', null]]);
    await turn();
    expect(outcome).toEqual({ value: null });
  });

  test.each<[string, Reply]>([
    ['no array', 'OK'],
    ['too few records', ['', '']],
    ['too many records', ['', '', 'a', 'b']],
  ])('answered with %s fails', async (_, reply) => {
    const outcome = apply(socket('ann'));
    await turn();
    driver.only.ack([reply]);
    await turn();
    expect(outcome.error).toBeInstanceOf(CommandError);
  });
});

describe('group commit', () => {
  test('what is asked for in one turn travels together', async () => {
    const outcomes = ['ann', 'bob', 'cleo'].map((user) => apply(socket(user)));
    await Promise.resolve();
    const late = apply(socket('dan'));
    await turn();
    expect(usersOf(driver.only)).toEqual(['ann', 'bob', 'cleo', 'dan']);
    expect(driver.only.commands).toHaveLength(1);
    await ack(driver.only);
    expect([...outcomes, late].map(({ value }) => value)).toEqual([
      'record of ann',
      'record of bob',
      'record of cleo',
      'record of dan',
    ]);
  });

  test('one transaction is under way; what arrives meanwhile travels in the next', async () => {
    apply(socket('first'));
    await turn();
    const first = driver.only;
    for (let count = 0; count < 100; count++) {
      apply(socket(`u${count}`));
      await turn();
    }
    expect(driver.pending).toEqual([first]);
    expect(writer.stats.queued).toBe(100);
    await ack(first);
    expect(usersOf(driver.only)).toHaveLength(100);
    expect(writer.stats).toEqual({ changes: 101, transactions: 2, queued: 0 });
  });

  test('partitions do not wait for each other', async () => {
    apply(socket('ann'), 0);
    apply(socket('bob'), 1);
    await turn();
    expect(driver.pending.map((call) => call.options?.key)).toEqual(['{unit:0}:nodes', '{unit:1}:nodes']);
  });

  test('a transaction takes 256 users at most, the oldest first', async () => {
    const outcomes = Array.from({ length: 600 }, (_, at) => apply(socket(`u${at}`)));
    const sizes: number[] = [];
    const order: string[] = [];
    await turn();
    while (driver.pending.length > 0) {
      const call = driver.only;
      sizes.push(usersOf(call).length);
      order.push(...usersOf(call));
      await ack(call);
    }
    expect(sizes).toEqual([256, 256, 88]);
    expect(order).toEqual(outcomes.map((_, at) => `u${at}`));
    expect(outcomes.map(({ value }) => value)).toEqual(outcomes.map((_, at) => `record of u${at}`));
  });

  test('of several changes to one fact the last one counts, and all get the record', async () => {
    const outcomes = [
      apply(socket('ann', '"online",1')),
      apply(removal('ann')),
      apply(socket('ann', '"busy",1')),
      apply(socket('bob', '"online",1')),
      apply(removal('bob')),
      apply(socket('ann', '"away",1', 'other')),
    ];
    await turn();
    expect(turnsOf(driver.only)).toEqual({
      ann: {
        why: '0',
        facts: [
          ['s', '"busy",1'],
          ['other', '"away",1'],
        ],
      },
      bob: { why: 'v0', facts: [['s', '']] },
    });
    expect(driver.only.commands).toHaveLength(1);
    await ack(driver.only);
    expect(outcomes.map(({ value }) => value)).toEqual([
      'record of ann',
      'record of ann',
      'record of ann',
      'record of bob',
      'record of bob',
      'record of ann',
    ]);
  });

  test('a later change never overtakes an earlier one that is under way', async () => {
    apply(socket('ann', '"online",1'));
    await turn();
    const first = driver.only;
    apply(removal('ann'));
    await turn();
    expect(driver.pending).toEqual([first]);
    await ack(first);
    expect(turnsOf(driver.only)).toEqual({ ann: { why: '0', facts: [['s', '']] } });
  });

  test('what restores travels apart from news, in its order', async () => {
    const kinds = [true, true, false, true].map((restoring, at) =>
      apply(socket(`u${at}`, '"online",1', 's', { restoring })),
    );
    const flags: [string[], Payload | undefined][] = [];
    await turn();
    while (driver.pending.length > 0) {
      flags.push([usersOf(driver.only), settleOf(driver.only).args[6]]);
      await ack(driver.only);
    }
    expect(flags).toEqual([
      [['u0', 'u1'], '1'],
      [['u2'], '0'],
      [['u3'], '1'],
    ]);
    expect(kinds.every(({ value }) => value !== undefined)).toBe(true);
  });

  test.each([
    ['at once wins over a grace', [5_000, 0], '0'],
    ['at once wins, whichever comes last', [0, 5_000], '0'],
    ['the longer grace wins', [5_000, 9_000, 7_000], '9000'],
  ])('what the last socket going means: %s', async (_, graces, expected) => {
    for (const [at, grace] of graces.entries()) apply(removal('ann', `s${at}`, { grace }));
    await turn();
    expect(turnsOf(driver.only)['ann']?.why).toBe(expected);
  });
});

test("a change named by this node's own id is its own, and the last of several to that fact", async () => {
  apply(socket('ann'));
  apply(removal('ann', 's', { owner: 'node#1' }));
  await turn();
  expect(plain(driver.only)).toEqual([]);
  expect(turnsOf(driver.only)).toEqual({ ann: { why: 'v0', facts: [['s', '']] } });
});

describe('deadlines', () => {
  test('of a thousand calls in one turn: each has its own end', async () => {
    const outcomes = Array.from({ length: 1_000 }, (_, at) => apply(socket(`u${at}`)));
    await turn();
    await ack(driver.only);
    expect(outcomes.filter(({ value }) => value !== undefined)).toHaveLength(256);
    clock.advance(LATEST);
    await turn();
    const ends = outcomes.map(({ error }) => error?.outcome);
    expect(ends).toEqual(outcomes.map((_, at) => (at < 256 ? undefined : at < 512 ? 'unknown' : 'failed')));
    expect(writer.stats.queued).toBe(0);
    await ack(driver.only);
    expect(driver.pending).toEqual([]);
    expect(clock.timers).toBe(0);
  });

  test('what comes in the same turn as something that was refused has a deadline all the same', async () => {
    driver.connection('lost');
    driver.onCall = (call) => {
      if (call.method === 'connect') call.ack();
    };
    const outcomes = [apply(socket('ann'))];
    clock.advance(LATEST);
    outcomes.push(apply(socket('bob')));
    clock.advance(LATEST);
    await turn();
    for (const { error } of outcomes) expect(error).toBeInstanceOf(TimeoutError);
  });

  test('what expires before it is sent never is, and fails for certain', async () => {
    apply(socket('under way'));
    await turn();
    const first = driver.only;
    const stale = apply(socket('stale'));
    clock.advance(1_000);
    const fresh = apply(socket('fresh'));
    clock.advance(LATEST - 1_000);
    await turn();
    expect(stale.error).toBeInstanceOf(TimeoutError);
    expect(stale.error?.outcome).toBe('failed');
    await ack(first);
    expect(usersOf(driver.only)).toEqual(['fresh']);
    await ack(driver.only);
    expect(fresh.value).toBe('record of fresh');
    expect(driver.pending).toEqual([]);
    expect(writer.stats.queued).toBe(0);
  });

  test('what is under way at its deadline may have happened; a late reply changes nothing', async () => {
    const outcome = apply(socket('ann'));
    await turn();
    const call = driver.only;
    clock.advance(TIMEOUT - 1);
    await turn();
    expect(outcome).toEqual({});
    clock.advance(LATEST - TIMEOUT + 1);
    await turn();
    expect(outcome.error).toBeInstanceOf(TimeoutError);
    expect(outcome.error?.outcome).toBe('unknown');
    // The next one does not pass it: Redis may still be at it.
    const next = apply(socket('bob'));
    await turn();
    expect(driver.pending).toEqual([call]);
    await ack(call);
    await ack(driver.only);
    expect(next.value).toBe('record of bob');
    expect(outcome.error?.outcome).toBe('unknown');
  });

  test('while Redis is away nothing is handed to the driver', async () => {
    driver.connection('lost', new Error('gone'));
    driver.onCall = (call) => {
      if (call.method === 'connect') call.ack();
    };
    const outcome = apply(socket('ann'));
    await turn();
    clock.advance(LATEST);
    await turn();
    expect(outcome.error).toBeInstanceOf(TimeoutError);
    expect(outcome.error?.outcome).toBe('failed');
    expect(driver.calls.filter(({ method }) => method === 'execute')).toEqual([]);
    driver.connection('ready');
    await turn();
    expect(driver.calls.filter(({ method }) => method === 'execute')).toEqual([]);
  });

  test('whoever is still in time when Redis is back is sent', async () => {
    driver.connection('lost');
    driver.onCall = (call) => {
      if (call.method === 'connect') call.ack();
    };
    const outcome = apply(socket('ann'));
    await turn();
    clock.advance(TIMEOUT / 2);
    driver.connection('ready');
    await turn();
    await ack(driver.only);
    expect(outcome.value).toBe('record of ann');
  });
});

describe('a broken connection', () => {
  test('the same batch is sent again, before anything later', async () => {
    const outcomes = [apply(socket('ann')), apply(removal('bob'))];
    await turn();
    const first = driver.only;
    const later = apply(socket('cleo'));
    first.interrupt();
    await turn();
    expect(driver.pending).toEqual([]);
    clock.advance(20);
    await turn();
    const second = driver.only;
    expect(second.commands).toEqual(first.commands);
    expect(second.options).toEqual(first.options);
    await ack(second);
    expect(outcomes.map(({ value }) => value)).toEqual(['record of ann', 'record of bob']);
    expect(usersOf(driver.only)).toEqual(['cleo']);
    await ack(driver.only);
    expect(later.value).toBe('record of cleo');
  });

  test('again and again, until the deadline; then it may have happened', async () => {
    const outcome = apply(socket('ann'));
    await turn();
    let tries = 0;
    for (let passed = 0; passed < LATEST + 500; passed += 500) {
      if (driver.pending.length > 0) {
        tries++;
        driver.only.interrupt();
        await turn();
      }
      clock.advance(500);
      await turn();
    }
    expect(tries).toBeGreaterThan(5);
    expect(outcome.error).toBeInstanceOf(TimeoutError);
    expect(outcome.error?.outcome).toBe('unknown');
    expect(driver.pending).toEqual([]);
    // The way is free for others.
    const next = apply(socket('bob'));
    await turn();
    await ack(driver.only);
    expect(next.value).toBe('record of bob');
  });

  test('what expired between two tries is not sent again with the rest', async () => {
    const old = apply(socket('old'));
    await turn();
    await ack(driver.only);
    apply(socket('stale'));
    await turn();
    const call = driver.only;
    clock.advance(1_000);
    call.interrupt();
    clock.advance(LATEST);
    await turn();
    expect(driver.pending).toEqual([]);
    expect(old.value).toBe('record of old');
  });

  test('a client that gave up fails what waits', async () => {
    driver.connection('lost');
    driver.onCall = (call) => {
      if (call.method === 'connect') call.ack();
    };
    const outcome = apply(socket('ann'));
    await turn();
    driver.connection('ended', new Error('retries exhausted'));
    await turn();
    expect(outcome.error).toBeInstanceOf(ConnectionError);
    expect(outcome.error?.outcome).toBe('failed');
  });
});

describe('a refusal', () => {
  test('fails the whole batch, which is not sent again', async () => {
    const outcomes = [apply(socket('ann')), apply(socket('bob'))];
    await turn();
    driver.only.refuse('OOM command not allowed');
    await turn();
    clock.advance(TIMEOUT);
    await turn();
    expect(driver.calls).toHaveLength(1);
    for (const { error } of outcomes) {
      expect(error).toBeInstanceOf(CommandError);
      expect(error?.outcome).toBe('failed');
    }
  });

  test('of a key of another type is found by halves, and fails that user alone', async () => {
    const users = Array.from({ length: 64 }, (_, at) => `u${at}`);
    const outcomes = new Map(users.map((user) => [user, apply(socket(user))]));
    const later = apply(socket('u7', '"busy",1', 'later'));
    await turn();
    let transactions = 0;
    while (driver.pending.length > 0) {
      transactions++;
      await ackBut(driver.only, (user) => user === 'u41');
    }
    for (const [user, { value, error }] of outcomes) {
      if (user === 'u41') expect(error).toBeInstanceOf(CommandError);
      else expect(value).toBe(`record of ${user}`);
    }
    expect(later.value).toBe('record of u7');
    // 1 + 2 per halving of 65.
    expect(transactions).toBeLessThanOrEqual(15);
  });

  test('of all users at once comes to an end', async () => {
    const outcomes = Array.from({ length: 16 }, (_, at) => apply(socket(`u${at}`)));
    await turn();
    while (driver.pending.length > 0) await ackBut(driver.only, () => true);
    for (const { error } of outcomes) expect(error).toBeInstanceOf(CommandError);
  });
});

describe('the gate', () => {
  test('holds everything back until it opens', async () => {
    const open = deferred();
    gate = () => open.promise;
    const outcomes = [apply(socket('ann'))];
    await turn();
    outcomes.push(apply(socket('bob')));
    await turn();
    expect(driver.calls).toEqual([]);
    open.resolve();
    await turn();
    expect(usersOf(driver.only)).toEqual(['ann', 'bob']);
    await ack(driver.only);
    expect(outcomes.map(({ value }) => value)).toEqual(['record of ann', 'record of bob']);
  });

  test('that refuses fails what waits, and is asked again next time', async () => {
    gate = () => Promise.reject(new CommandError('no way'));
    const outcome = apply(socket('ann'));
    await turn();
    expect(outcome.error).toBeInstanceOf(CommandError);
    expect(driver.calls).toEqual([]);
    expect(writer.stats.queued).toBe(0);
    gate = async () => {};
    apply(socket('bob'));
    await turn();
    expect(usersOf(driver.only)).toEqual(['bob']);
  });
});

test('close fails what has not been sent, and leaves what has', async () => {
  const sent = apply(socket('ann'));
  await turn();
  const waiting = apply(socket('bob'));
  writer.close(client.closedError());
  await turn();
  expect(waiting.error).toBeInstanceOf(ClosedError);
  expect(waiting.error?.outcome).toBe('failed');
  await ack(driver.only);
  expect(sent.value).toBe('record of ann');
  expect(driver.pending).toEqual([]);
  expect(writer.stats.queued).toBe(0);
});
