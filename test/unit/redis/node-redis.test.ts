import { EventEmitter } from 'node:events';
import { beforeEach, expect, test } from 'vitest';
import type { Payload } from '../../../src/redis/driver.js';
import { NodeRedisDriver } from '../../../src/redis/node-redis.js';
import { turn } from '../../support/fake-clock.js';
import { type Deferred, deferred } from '../../support/wait.js';

// Covers what a real server does not show: the order of calls on the client, and its options.

interface Call {
  line: string;
  listener: unknown;
  binary: boolean;
  answer: Deferred<void>;
}

class FakeClient extends EventEmitter {
  isOpen = false;
  isReady = false;
  options: { socket?: Record<string, unknown> } = { socket: { host: 'there' } };
  destroyed = 0;
  readonly calls: Call[] = [];
  readonly duplicates: FakeClient[] = [];

  async connect() {
    this.isOpen = true;
    this.comesUp();
  }
  comesUp() {
    this.isReady = true;
    this.emit('ready');
  }
  /** Breaks the connection. By the options of a duplicate it does not reconnect. */
  ends() {
    this.isOpen = false;
    this.isReady = false;
    this.emit('terminated', new Error('Socket closed unexpectedly'));
    this.emit('end');
  }
  destroy() {
    this.destroyed++;
    this.isOpen = false;
  }
  duplicate(overrides: { socket?: Record<string, unknown> }) {
    const copy = new FakeClient();
    copy.options = overrides;
    this.duplicates.push(copy);
    return copy;
  }
  withCommandOptions() {
    return this;
  }
  async sendCommand([name]: string[]) {
    return name === 'INFO' ? 'role:master\r\nrun_id:1\r\n' : 'OK';
  }
  #called(name: string, names: readonly string[], listener?: unknown, binary = false) {
    const answer = deferred();
    this.calls.push({ line: `${name} ${names.join(' ')}`, listener, binary, answer });
    return answer.promise;
  }
  subscribe = (names: string[], listener: unknown, binary?: boolean) =>
    this.#called('subscribe', names, listener, binary);
  pSubscribe = (names: string[], listener: unknown, binary?: boolean) =>
    this.#called('psubscribe', names, listener, binary);
  unsubscribe = (names: string[], listener?: unknown, binary?: boolean) =>
    this.#called('unsubscribe', names, listener, binary);
  pUnsubscribe = (names: string[], listener?: unknown, binary?: boolean) =>
    this.#called('punsubscribe', names, listener, binary);
}

let given: FakeClient;
let driver: NodeRedisDriver;
let events: string[];
let messages: [kind: string, name: string, channel: string, payload: Payload][];

beforeEach(() => {
  given = new FakeClient();
  driver = new NodeRedisDriver(given as unknown as ConstructorParameters<typeof NodeRedisDriver>[0]);
  events = [];
  messages = [];
  driver.attach({
    message: (...message) => messages.push(message),
    connection: (state, cause) => events.push([state, cause?.message].filter(Boolean).join(' ')),
    dropped: (kind, names, cause) => events.push(`${kind} ${names.join(' ')}: ${cause.message}`),
  });
});

/** Answers the calls of `work` round by round, and returns them. */
async function answered(work: Promise<void>): Promise<Call[]> {
  const all: Call[] = [];
  for (;;) {
    await turn();
    const calls = given.duplicates.at(-1)!.calls.splice(0);
    for (const { answer } of calls) answer.resolve();
    all.push(...calls);
    if (calls.length === 0) break;
  }
  await work;
  return all;
}

const linesOf = (calls: Call[]) => calls.map(({ line }) => line);

test("the subscribing connection has the client's address, and does not reconnect", async () => {
  await answered(driver.subscribe('channel', ['x']));
  expect(given.duplicates[0]!.options.socket).toEqual({ host: 'there', reconnectStrategy: false });
});

test('a lost connection drops its names, and the next subscribe opens another', async () => {
  await answered(driver.subscribe('channel', ['x', 'y']));
  const connection = given.duplicates[0]!;
  connection.emit('error', new Error('read ECONNRESET'));
  connection.ends();
  expect(events).toEqual(['channel x y: read ECONNRESET']);
  expect(linesOf(await answered(driver.subscribe('channel', ['y'])))).toEqual(['subscribe y']);
  expect(given.duplicates).toHaveLength(2);
  expect(connection.calls).toEqual([]);
});

test('a broken connection rejects SUBSCRIBE and resolves UNSUBSCRIBE', async () => {
  await answered(driver.subscribe('channel', ['x']));
  const [joining, leaving] = [driver.subscribe('channel', ['y']), driver.unsubscribe('channel', ['x'])];
  await turn();
  given.duplicates[0]!.ends();
  await expect(joining).rejects.toMatchObject({ name: 'ConnectionError', outcome: 'unknown' });
  await leaving;
  expect(events).toEqual([]);
});

test('reset closes the connection at once', async () => {
  await answered(driver.subscribe('channel', ['x']));
  await answered(driver.subscribe('pattern', ['x*']));
  driver.resetSubscriptions('channel', new Error('dead'));
  expect(events).toEqual(['channel x: dead', 'pattern x*: dead']);
  expect(given.duplicates[0]!.destroyed).toBe(1);
  await answered(driver.subscribe('channel', ['x']));
  expect(given.duplicates).toHaveLength(2);
});

test('a pattern has one listener however often it is subscribed, and a new one after unsubscribe', async () => {
  const [first] = await answered(driver.subscribe('pattern', ['p*']));
  const [second] = await answered(driver.subscribe('pattern', ['p*']));
  const [other] = await answered(driver.subscribe('pattern', ['q*']));
  expect(second!.listener).toBe(first!.listener);
  expect(other!.listener).not.toBe(first!.listener);
  for (const { listener } of [first!, other!]) (listener as (...args: string[]) => void)('1', 'pq');
  expect(messages).toEqual([
    ['pattern', 'p*', 'pq', '1'],
    ['pattern', 'q*', 'pq', '1'],
  ]);
});

test.each([
  ['channel', 'subscribe', 'unsubscribe'],
  ['pattern', 'psubscribe', 'punsubscribe'],
] as const)('a %s that turns to bytes keeps no listener for text', async (kind, subscribe, unsubscribe) => {
  const [text] = await answered(driver.subscribe(kind, ['x']));
  const calls = await answered(driver.subscribe(kind, ['x'], { binary: true }));
  expect(linesOf(calls)).toEqual([`${subscribe} x`, `${unsubscribe} x`]);
  const [bytes, forgotten] = calls as [Call, Call];
  expect([text!.binary, bytes.binary, forgotten.binary]).toEqual([false, true, false]);
  expect(forgotten.listener).toBe(text!.listener);
  const payload = Buffer.from([0xff]);
  (bytes.listener as (...args: Buffer[]) => void)(payload, Buffer.from('x'));
  expect(messages).toEqual([[kind, 'x', 'x', payload]]);
});

test('a client that stops reconnecting reports the reason', async () => {
  const cause = new Error('connect ECONNREFUSED');
  given.connect = async () => {
    given.isOpen = true;
    given.emit('terminated', cause);
    given.emit('end');
  };
  await expect(driver.connect()).rejects.toMatchObject({ name: 'ConnectionError', cause });
  expect(events.at(-1)).toBe('ended connect ECONNREFUSED');
});
