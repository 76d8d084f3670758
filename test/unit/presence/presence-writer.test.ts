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
/** The writer checks deadlines eight times per timeout, so a write can fail this late. */
const LATEST_DEADLINE = TIMEOUT + TIMEOUT / 8;

let driver: FakeDriver;
let clock: FakeClock;
let client: ClientHandle;
let writer: PresenceWriter;
let startup: () => Promise<void>;
let observed: [partition: number, nodeId: string, known: number, was: number, is: number][];
const keys = [new PartitionKeys('unit', 0), new PartitionKeys('unit', 1)];

beforeEach(() => {
  driver = new FakeDriver();
  clock = new FakeClock();
  client = new ClientHandle('PresenceService', new SharedClient(driver, () => {}), TIMEOUT, clock);
  startup = async () => {};
  observed = [];
  writer = new PresenceWriter({
    client,
    keys,
    lease: 9_000,
    keyTtl: 60_000,
    lastSeenTtl: 90_000,
    statusPriority: ['busy', 'online', 'away'],
    layout: { publishCommand: 'PUBLISH' },
    startup: { run: () => startup() },
    hidden: { until: () => undefined, concealsLastSeen: () => false, observe: () => {} },
    roomGraces: { onWrite: () => {} },
    nodeLease: { id: 'node#1', knownLease: () => 7, onLeaseSeen: (...seen) => observed.push(seen) },
  });
});

function socket(user: string, value: string | undefined = '"online",1', name = 's', more = {}): SocketWrite {
  const registered = value === undefined ? {} : { value, first: true };
  return { kind: 'socket', user, socket: name, grace: 0, ...registered, ...more };
}

function removal(user: string, name = 's', more: Partial<SocketWrite> = {}): SocketWrite {
  return { kind: 'socket', user, socket: name, grace: 0, ...more };
}

type Outcome = { value?: string | null; error?: Error & { outcome?: string } };

/** Applies `change`. The returned object receives the record or the error. */
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

function scriptCallOf(call: FakeCall): ScriptCall {
  return call.commands.find(
    (command) => isScriptCall(command) && command.script.name === 'update-users',
  ) as ScriptCall;
}

/** The users whose records a transaction derives. */
function usersOf(call: FakeCall): string[] {
  const { keys: names } = scriptCallOf(call);
  return names
    .slice(4)
    .flatMap((name, at) => (at % 2 === 0 ? [name.slice(name.indexOf('}:sockets:') + 10)] : []));
}

/** What a transaction passes to the script for each user: the reason, and the socket entries that change. */
function updatesOf(
  call: FakeCall,
): Record<string, { reason: string; entries: [socket: string, value: string][] }> {
  const lines = String(scriptCallOf(call).args[10]).split('\n');
  expect(lines.pop()).toBe('');
  const users = usersOf(call);
  const updates: Record<string, { reason: string; entries: [string, string][] }> = {};
  let user = '';
  for (let at = 0; at < lines.length; at += 3) {
    const [reason, socket, value] = lines.slice(at, at + 3) as [string, string, string];
    if (reason !== '') {
      user = users.shift() as string;
      updates[user] = { reason, entries: [] };
    }
    if (socket !== '') updates[user]?.entries.push([socket, value]);
  }
  expect(users).toEqual([]);
  return updates;
}

function plain(call: FakeCall): readonly PlainCommand[] {
  return call.commands.filter((command): command is PlainCommand => !isScriptCall(command));
}

/** Redis ran the transaction. The record of each user names that user. */
async function ack(call: FakeCall, lease: [string, string] = ['5', '9']): Promise<void> {
  call.ack(
    call.commands.map(
      (command): Reply =>
        isScriptCall(command) ? [...lease, ...usersOf(call).map((user) => `record of ${user}`)] : 1,
    ),
  );
  await turn();
}

/** Redis ran the transaction. It refuses one that contains a user whose key has another type. */
async function ackUnlessWrongType(call: FakeCall, hasWrongType: (user: string) => boolean): Promise<void> {
  if (!usersOf(call).some(hasWrongType)) return ack(call);
  const error = new Error('WRONGTYPE Operation against a key holding the wrong kind of value');
  call.ack(call.commands.map((command) => (isScriptCall(command) ? error : 1)));
  await turn();
}

describe('one write', () => {
  test('a write is one script call that carries the socket entry', async () => {
    const outcome = apply(socket('ann', '"busy",5', 's1', { grace: 250.4 }));
    await turn();
    const call = driver.only;
    // A single script call is atomic without MULTI.
    expect(call.options).toMatchObject({ atomic: false, key: '{unit:0}:nodes' });
    expect(call.commands).toHaveLength(1);
    expect(scriptCallOf(call)).toMatchObject({
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
    // No timer is left, and nothing more is sent.
    clock.advance(10 * TIMEOUT);
    await turn();
    expect(driver.calls).toHaveLength(1);
    expect(clock.timers).toBe(0);
  });

  test("the removal of another node's entry precedes the script call, and leaves this node's lease unchanged", async () => {
    apply(removal('ann', 's1', { owner: 'other#2' }));
    await turn();
    expect(plain(driver.only)).toEqual([
      ['HDEL', '{unit:0}:sockets:ann', 'other#2"s1'],
      ['SREM', '{unit:0}:node:other#2', 'ann"s1'],
    ]);
    expect(driver.only.options).toMatchObject({ atomic: true });
    expect(driver.only.commands.at(-1)).toBe(scriptCallOf(driver.only));
    expect(scriptCallOf(driver.only).args[1]).toBe('0');
    expect(updatesOf(driver.only)).toEqual({ ann: { reason: 'd0', entries: [] } });
    await ack(driver.only, ['', '']);
    expect(observed).toEqual([]);
  });

  test('a removal for all owners is an argument of the script, and leaves the lease unchanged', async () => {
    apply({ kind: 'removal', user: 'ann', socket: 's1', grace: 5 });
    apply({ kind: 'removal', user: 'ann', grace: 0, before: 'k3', note: 'spam' });
    apply({ kind: 'removal', user: 'bob', grace: 0 });
    apply(socket('ann', '7', 's2'));
    await turn();
    expect(plain(driver.only)).toEqual([]);
    expect(updatesOf(driver.only)).toEqual({
      ann: {
        reason: '0',
        entries: [
          ['"s1', ''],
          ['"', 'k3"spam'],
        ],
      },
      bob: { reason: '0', entries: [['"', '']] },
    });
    const [first] = driver.calls;
    await ack(first as FakeCall, ['', '']);
    await turn();
    // A registration after it has a transaction of its own, because a transaction applies removals first.
    expect(updatesOf(driver.calls[1] as FakeCall)).toEqual({ ann: { reason: '0', entries: [['s2', '7']] } });
  });

  test('a write for a user without a record resolves with null', async () => {
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
  ])('a write whose reply has %s fails', async (_, reply) => {
    const outcome = apply(socket('ann'));
    await turn();
    driver.only.ack([reply]);
    await turn();
    expect(outcome.error).toBeInstanceOf(CommandError);
  });
});

describe('group commit', () => {
  test('writes of one event loop turn share a transaction', async () => {
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

  test('writes that arrive while a transaction is in flight share the next one', async () => {
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

  test('a transaction holds at most 256 users, the oldest writes first', async () => {
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

  test('of several writes to one entry only the last is sent, and all resolve with the record', async () => {
    const outcomes = [
      apply(socket('ann', '"online",1')),
      apply(removal('ann')),
      apply(socket('ann', '"busy",1')),
      apply(socket('bob', '"online",1')),
      apply(removal('bob')),
      apply(socket('ann', '"away",1', 'other')),
    ];
    await turn();
    expect(updatesOf(driver.only)).toEqual({
      ann: {
        reason: '0',
        entries: [
          ['s', '"busy",1'],
          ['other', '"away",1'],
        ],
      },
      bob: { reason: 'v0', entries: [['s', '']] },
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

  test('a later write waits for an earlier one that is in flight', async () => {
    apply(socket('ann', '"online",1'));
    await turn();
    const first = driver.only;
    apply(removal('ann'));
    await turn();
    expect(driver.pending).toEqual([first]);
    await ack(first);
    expect(updatesOf(driver.only)).toEqual({ ann: { reason: '0', entries: [['s', '']] } });
  });

  test('restoring writes and ordinary writes have separate transactions, in the order of the calls', async () => {
    const kinds = [true, true, false, true].map((restoring, at) =>
      apply(socket(`u${at}`, '"online",1', 's', { restoring })),
    );
    const flags: [string[], Payload | undefined][] = [];
    await turn();
    while (driver.pending.length > 0) {
      flags.push([usersOf(driver.only), scriptCallOf(driver.only).args[6]]);
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
    ['an immediate removal wins over a grace period', [5_000, 0], '0'],
    ['an immediate removal wins also when a grace period comes last', [0, 5_000], '0'],
    ['the longest grace period wins', [5_000, 9_000, 7_000], '9000'],
  ])('several removals for one user: %s', async (_, graces, expected) => {
    for (const [at, grace] of graces.entries()) apply(removal('ann', `s${at}`, { grace }));
    await turn();
    expect(updatesOf(driver.only)['ann']?.reason).toBe(expected);
  });
});

test("a removal with this node's own id as owner replaces an earlier write to that entry", async () => {
  apply(socket('ann'));
  apply(removal('ann', 's', { owner: 'node#1' }));
  await turn();
  expect(plain(driver.only)).toEqual([]);
  expect(updatesOf(driver.only)).toEqual({ ann: { reason: 'v0', entries: [['s', '']] } });
});

describe('deadlines', () => {
  test('a thousand writes of one turn each have their own outcome at the deadline', async () => {
    const outcomes = Array.from({ length: 1_000 }, (_, at) => apply(socket(`u${at}`)));
    await turn();
    await ack(driver.only);
    expect(outcomes.filter(({ value }) => value !== undefined)).toHaveLength(256);
    clock.advance(LATEST_DEADLINE);
    await turn();
    const ends = outcomes.map(({ error }) => error?.outcome);
    expect(ends).toEqual(outcomes.map((_, at) => (at < 256 ? undefined : at < 512 ? 'unknown' : 'failed')));
    expect(writer.stats.queued).toBe(0);
    await ack(driver.only);
    expect(driver.pending).toEqual([]);
    expect(clock.timers).toBe(0);
  });

  test('a write in the same turn as an expired one has a deadline too', async () => {
    driver.connection('lost');
    driver.onCall = (call) => {
      if (call.method === 'connect') call.ack();
    };
    const outcomes = [apply(socket('ann'))];
    clock.advance(LATEST_DEADLINE);
    outcomes.push(apply(socket('bob')));
    clock.advance(LATEST_DEADLINE);
    await turn();
    for (const { error } of outcomes) expect(error).toBeInstanceOf(TimeoutError);
  });

  test('a write that expires before it is sent is never sent, and its outcome is "failed"', async () => {
    apply(socket('under way'));
    await turn();
    const first = driver.only;
    const stale = apply(socket('stale'));
    clock.advance(1_000);
    const fresh = apply(socket('fresh'));
    clock.advance(LATEST_DEADLINE - 1_000);
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

  test('a write in flight at its deadline has the outcome "unknown", and a late reply does not change that', async () => {
    const outcome = apply(socket('ann'));
    await turn();
    const call = driver.only;
    clock.advance(TIMEOUT - 1);
    await turn();
    expect(outcome).toEqual({});
    clock.advance(LATEST_DEADLINE - TIMEOUT + 1);
    await turn();
    expect(outcome.error).toBeInstanceOf(TimeoutError);
    expect(outcome.error?.outcome).toBe('unknown');
    // The next write waits, because Redis may still run the first.
    const next = apply(socket('bob'));
    await turn();
    expect(driver.pending).toEqual([call]);
    await ack(call);
    await ack(driver.only);
    expect(next.value).toBe('record of bob');
    expect(outcome.error?.outcome).toBe('unknown');
  });

  test('without a connection nothing is passed to the driver', async () => {
    driver.connection('lost', new Error('gone'));
    driver.onCall = (call) => {
      if (call.method === 'connect') call.ack();
    };
    const outcome = apply(socket('ann'));
    await turn();
    clock.advance(LATEST_DEADLINE);
    await turn();
    expect(outcome.error).toBeInstanceOf(TimeoutError);
    expect(outcome.error?.outcome).toBe('failed');
    expect(driver.calls.filter(({ method }) => method === 'execute')).toEqual([]);
    driver.connection('ready');
    await turn();
    expect(driver.calls.filter(({ method }) => method === 'execute')).toEqual([]);
  });

  test('a write that has not expired is sent when the connection returns', async () => {
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
  test('the interrupted transaction is sent again before later writes', async () => {
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

  test('an interrupted transaction is retried until the deadline, and its outcome is then "unknown"', async () => {
    const outcome = apply(socket('ann'));
    await turn();
    let tries = 0;
    for (let passed = 0; passed < LATEST_DEADLINE + 500; passed += 500) {
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
    // Later writes are sent.
    const next = apply(socket('bob'));
    await turn();
    await ack(driver.only);
    expect(next.value).toBe('record of bob');
  });

  test('a write that expires between two attempts is not sent again', async () => {
    const old = apply(socket('old'));
    await turn();
    await ack(driver.only);
    apply(socket('stale'));
    await turn();
    const call = driver.only;
    clock.advance(1_000);
    call.interrupt();
    clock.advance(LATEST_DEADLINE);
    await turn();
    expect(driver.pending).toEqual([]);
    expect(old.value).toBe('record of old');
  });

  test('queued writes fail when the client stops reconnecting', async () => {
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

describe('a command that runs alone', () => {
  const PING = [['PING']] as const;
  const ping = () => client.send(PING, { key: (keys[0] as PartitionKeys).nodes });

  /** Runs `command` alone. The returned object receives the reply or the error. */
  function runAlone(command: () => Promise<Reply[]> = ping): {
    value?: Reply[];
    error?: Error & { outcome?: string };
  } {
    const outcome: { value?: Reply[]; error?: Error & { outcome?: string } } = {};
    writer.runAlone(0, 'renew', command).then(
      (value) => {
        outcome.value = value;
      },
      (error: Error) => {
        outcome.error = error;
      },
    );
    return outcome;
  }

  const isPing = (call: FakeCall) => call.commands === PING;

  test('it waits for the transaction in progress, precedes queued writes, and no transaction starts meanwhile', async () => {
    apply(socket('first'));
    await turn();
    const first = driver.only;
    apply(socket('queued'));
    const outcome = runAlone();
    await turn();
    expect(driver.pending).toEqual([first]);
    await ack(first);
    expect(isPing(driver.only)).toBe(true);
    apply(socket('later'));
    await turn();
    driver.only.ack(['PONG']);
    await turn();
    expect(outcome).toEqual({ value: ['PONG'] });
    expect(usersOf(driver.only)).toEqual(['queued', 'later']);
  });

  test('after a broken connection it is created again, before writes', async () => {
    let created = 0;
    const outcome = runAlone(() => {
      created++;
      return ping();
    });
    await turn();
    apply(socket('ann'));
    driver.only.interrupt();
    await turn();
    clock.advance(20);
    await turn();
    expect(isPing(driver.only)).toBe(true);
    driver.only.ack(['PONG']);
    await turn();
    expect(outcome).toEqual({ value: ['PONG'] });
    expect(created).toBe(2);
    expect(usersOf(driver.only)).toEqual(['ann']);
  });

  test('at its deadline it fails as unknown, and no transaction starts before Redis has settled it', async () => {
    const outcome = runAlone();
    await turn();
    const sent = driver.only;
    clock.advance(LATEST_DEADLINE);
    await turn();
    expect(outcome.error).toBeInstanceOf(TimeoutError);
    expect(outcome.error).toMatchObject({ outcome: 'unknown' });
    apply(socket('ann'));
    await turn();
    expect(driver.pending).toEqual([sent]);
    sent.interrupt();
    await turn();
    clock.advance(20);
    await turn();
    // Nobody waits for it any more.
    expect(usersOf(driver.only)).toEqual(['ann']);
  });

  test('one that never had its turn fails at its deadline as failed, and is never sent', async () => {
    apply(socket('ann'));
    await turn();
    const outcome = runAlone();
    clock.advance(LATEST_DEADLINE);
    await turn();
    expect(outcome.error).toMatchObject({ outcome: 'failed' });
    await ack(driver.only);
    expect(driver.pending).toEqual([]);
  });

  test('a refusal is its result, and the next write is sent', async () => {
    const outcome = runAlone();
    apply(socket('ann'));
    await turn();
    driver.only.refuse();
    await turn();
    expect(outcome.error).toBeInstanceOf(CommandError);
    expect(usersOf(driver.only)).toEqual(['ann']);
  });

  test('it fails when the client stops reconnecting, and when the writer is closed', async () => {
    driver.connection('lost');
    const unconnected = runAlone();
    await turn();
    driver.connection('ended', new Error('no more attempts'));
    await turn();
    expect(unconnected.error).toBeInstanceOf(ConnectionError);
    driver.connection('ready');
    writer.close(new ClosedError('closed', { outcome: 'failed' }));
    const late = runAlone();
    await turn();
    expect(late.error).toBeInstanceOf(ClosedError);
    expect(driver.calls.filter(({ method }) => method === 'execute')).toEqual([]);
  });
});

describe('an error reply', () => {
  test('an error reply fails the whole transaction, which is not sent again', async () => {
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

  test('a key of the wrong type is found by halving the transaction, and only the writes of that user fail', async () => {
    const users = Array.from({ length: 64 }, (_, at) => `u${at}`);
    const outcomes = new Map(users.map((user) => [user, apply(socket(user))]));
    const later = apply(socket('u7', '"busy",1', 'later'));
    await turn();
    let transactions = 0;
    while (driver.pending.length > 0) {
      transactions++;
      await ackUnlessWrongType(driver.only, (user) => user === 'u41');
    }
    for (const [user, { value, error }] of outcomes) {
      if (user === 'u41') expect(error).toBeInstanceOf(CommandError);
      else expect(value).toBe(`record of ${user}`);
    }
    expect(later.value).toBe('record of u7');
    // 1 + 2 per halving of 65.
    expect(transactions).toBeLessThanOrEqual(15);
  });

  test('halving ends when the keys of all users have the wrong type', async () => {
    const outcomes = Array.from({ length: 16 }, (_, at) => apply(socket(`u${at}`)));
    await turn();
    while (driver.pending.length > 0) await ackUnlessWrongType(driver.only, () => true);
    for (const { error } of outcomes) expect(error).toBeInstanceOf(CommandError);
  });
});

describe('the startup', () => {
  test('writes wait until the startup completes', async () => {
    const started = deferred();
    startup = () => started.promise;
    const outcomes = [apply(socket('ann'))];
    await turn();
    outcomes.push(apply(socket('bob')));
    await turn();
    expect(driver.calls).toEqual([]);
    started.resolve();
    await turn();
    expect(usersOf(driver.only)).toEqual(['ann', 'bob']);
    await ack(driver.only);
    expect(outcomes.map(({ value }) => value)).toEqual(['record of ann', 'record of bob']);
  });

  test('a failed startup fails the waiting writes, and the next write runs it again', async () => {
    startup = () => Promise.reject(new CommandError('no way'));
    const outcome = apply(socket('ann'));
    await turn();
    expect(outcome.error).toBeInstanceOf(CommandError);
    expect(driver.calls).toEqual([]);
    expect(writer.stats.queued).toBe(0);
    startup = async () => {};
    apply(socket('bob'));
    await turn();
    expect(usersOf(driver.only)).toEqual(['bob']);
  });
});

test('close fails queued writes, and writes in flight still resolve', async () => {
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
