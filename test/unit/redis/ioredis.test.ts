import { EventEmitter } from 'node:events';
import { beforeEach, expect, test } from 'vitest';
import type { Payload, SubscriptionKind } from '../../../src/redis/driver.js';
import { IoredisDriver } from '../../../src/redis/ioredis.js';
import { turn } from '../../support/fake-clock.js';
import { type Deferred, deferred } from '../../support/wait.js';

// Covers what a real server does not show: the order of calls on the client, and its options.

class FakeClient extends EventEmitter {
  status = 'wait';
  readonly calls: { line: string; answer: Deferred<unknown> }[] = [];
  readonly duplicates: FakeClient[] = [];
  options: Record<string, unknown> = {};
  disconnected = 0;

  async connect() {
    this.comesUp();
  }
  comesUp() {
    this.status = 'ready';
    this.emit('ready');
  }
  /** Breaks the connection. By the options of a duplicate it does not reconnect. */
  ends() {
    this.status = 'end';
    this.emit('close');
    this.emit('end');
  }
  disconnect() {
    this.disconnected++;
  }
  multi() {}
  psubscribe() {}
  duplicate(options: Record<string, unknown>): FakeClient {
    const copy = new FakeClient();
    copy.options = options;
    this.duplicates.push(copy);
    return copy;
  }
  call(...args: string[]) {
    const answer = deferred<unknown>();
    this.calls.push({ line: args.join(' '), answer });
    return answer.promise;
  }
  /** Answers all open calls and returns them. */
  answerAll(): string[] {
    const { calls } = this;
    for (const { answer } of calls) answer.resolve('OK');
    return calls.splice(0).map(({ line }) => line);
  }
}

let given: FakeClient;
let driver: IoredisDriver;
let events: string[];
let messages: [kind: string, name: string, channel: string, payload: Payload][];

beforeEach(() => {
  given = new FakeClient();
  driver = new IoredisDriver(given as unknown as ConstructorParameters<typeof IoredisDriver>[0]);
  events = [];
  messages = [];
  driver.attach({
    message: (...message) => messages.push(message),
    connection: (state) => events.push(state),
    dropped: (kind, names, cause) => events.push(`${kind} ${names.join(' ')}: ${cause.message}`),
  });
});

async function subscribed(
  kind: SubscriptionKind,
  names: string[],
  options?: { binary: boolean },
): Promise<FakeClient> {
  const done = driver.subscribe(kind, names, options);
  await turn();
  const connection = given.duplicates.at(-1)!;
  const command = { channel: 'subscribe', pattern: 'psubscribe', sharded: 'ssubscribe' }[kind];
  expect(connection.answerAll()).toEqual([`${command} ${names.join(' ')}`]);
  await done;
  return connection;
}

test('the subscribing connection neither reconnects nor resubscribes by itself', async () => {
  const { options } = await subscribed('channel', ['a']);
  expect(options).toMatchObject({ autoResubscribe: false, autoResendUnfulfilledCommands: false });
  expect((options['retryStrategy'] as () => unknown)()).toBeNull();
});

test('a lost connection drops its names, and the next subscribe opens another', async () => {
  const connection = await subscribed('channel', ['a', 'b']);
  connection.emit('error', new Error('read ECONNRESET'));
  connection.ends();
  expect(events).toEqual(['channel a b: read ECONNRESET']);
  expect(connection.calls).toEqual([]);
  expect(await subscribed('channel', ['a'])).not.toBe(connection);
});

test('a SUBSCRIBE whose connection breaks rejects, and its names are not reported as dropped', async () => {
  const done = driver.subscribe('channel', ['a']);
  await turn();
  given.duplicates[0]!.ends();
  await expect(done).rejects.toMatchObject({ name: 'ConnectionError' });
  expect(events).toEqual([]);
});

test('classic and sharded subscriptions have separate connections', async () => {
  const classic = await subscribed('channel', ['a']);
  const sharded = await subscribed('sharded', ['a']);
  const third = driver.subscribe('pattern', ['a*']);
  await turn();
  expect(classic.answerAll()).toEqual(['psubscribe a*']);
  await third;
  expect(given.duplicates).toEqual([classic, sharded]);
  sharded.ends();
  expect(events.map((event) => event.split(':')[0])).toEqual(['sharded a']);
  driver.resetSubscriptions('pattern', new Error('dead'));
  expect(events.slice(1)).toEqual(['channel a: dead', 'pattern a*: dead']);
  expect(classic.disconnected).toBe(1);
});

test('one command has at most a thousand names', async () => {
  const names = Array.from({ length: 2_001 }, (_, at) => `n${at}`);
  const done = driver.subscribe('channel', names);
  await turn();
  expect(given.duplicates[0]!.answerAll().map((line) => line.split(' ').length - 1)).toEqual([
    1_000, 1_000, 1,
  ]);
  await done;
});

test('each name receives bytes or text as requested, and each message once', async () => {
  const connection = await subscribed('channel', ['text']);
  connection.emit('message', 'text', 'one');
  expect(messages.splice(0)).toEqual([['channel', 'text', 'text', 'one']]);
  await subscribed('channel', ['bytes'], { binary: true });
  const [name, payload] = [Buffer.from('bytes'), Buffer.from([0xff])];
  // The client emits both forms if both have listeners.
  connection.emit('message', 'bytes', payload.toString());
  connection.emit('messageBuffer', name, payload);
  connection.emit('message', 'text', 'two');
  connection.emit('messageBuffer', Buffer.from('text'), Buffer.from('two'));
  expect(messages).toEqual([
    ['channel', 'bytes', 'bytes', payload],
    ['channel', 'text', 'text', 'two'],
  ]);
});

test('a subscribed name can be switched to bytes until it is unsubscribed', async () => {
  const connection = await subscribed('pattern', ['p*']);
  await subscribed('pattern', ['p*'], { binary: true });
  const message = () => connection.emit('pmessageBuffer', 'p*', Buffer.from('pq'), Buffer.from('x'));
  message();
  const left = driver.unsubscribe('pattern', ['p*']);
  await turn();
  expect(connection.answerAll()).toEqual(['punsubscribe p*']);
  await left;
  await subscribed('pattern', ['p*']);
  message();
  expect(messages).toEqual([
    ['pattern', 'p*', 'pq', Buffer.from('x')],
    ['pattern', 'p*', 'pq', 'x'],
  ]);
});
