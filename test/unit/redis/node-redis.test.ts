import { EventEmitter } from 'node:events';
import { beforeEach, expect, test } from 'vitest';
import { NodeRedisDriver } from '../../../src/redis/node-redis.js';
import { turn } from '../../support/fake-clock.js';
import { type Deferred, deferred } from '../../support/wait.js';

// What the client does between a command and its answer, which a real server is too quick to show.

interface Call {
  line: string;
  listener: unknown;
  answer: Deferred<void>;
}

class FakeClient extends EventEmitter {
  isOpen = false;
  isReady = false;
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
  breaks() {
    this.isReady = false;
    this.emit('reconnecting');
  }
  destroy() {}
  duplicate() {
    const copy = new FakeClient();
    this.duplicates.push(copy);
    return copy;
  }
  withCommandOptions() {
    return this;
  }
  #called(name: string, names: readonly string[], listener?: unknown) {
    const answer = deferred();
    this.calls.push({ line: `${name} ${names.join(' ')}`, listener, answer });
    return answer.promise;
  }
  subscribe = (names: string[], listener: unknown) => this.#called('subscribe', names, listener);
  pSubscribe = (names: string[], listener: unknown) => this.#called('psubscribe', names, listener);
  unsubscribe = (names: string[]) => this.#called('unsubscribe', names);
  pUnsubscribe = (names: string[]) => this.#called('punsubscribe', names);

  /** Takes the oldest open call out. */
  next(): Call {
    const call = this.calls.shift();
    if (call === undefined) throw new Error('no call is open');
    return call;
  }
}

let given: FakeClient;
let driver: NodeRedisDriver;
let events: string[];

beforeEach(() => {
  given = new FakeClient();
  driver = new NodeRedisDriver(given as unknown as ConstructorParameters<typeof NodeRedisDriver>[0]);
  events = [];
  driver.attach({
    message: () => {},
    connection: (role, state, cause) => events.push([role, state, cause?.message].filter(Boolean).join(' ')),
  });
});

async function answered(work: Promise<void>): Promise<Call[]> {
  await turn();
  const calls = given.duplicates[0]!.calls.splice(0);
  for (const { answer } of calls) answer.resolve();
  await work;
  return calls;
}

test('a name is not subscribed before the client has finished unsubscribing it', async () => {
  await answered(driver.subscribe('channel', ['x', 'y']));
  const connection = given.duplicates[0]!;
  const left = driver.unsubscribe('channel', ['x']);
  await turn();
  const unsubscribe = connection.next();
  // The connection breaks: for the caller that is the end of it, not so for the client's queue.
  connection.breaks();
  await left;
  connection.comesUp();
  const again = driver.subscribe('channel', ['x']);
  const other = driver.subscribe('channel', ['z']);
  await turn();
  expect(connection.calls.map(({ line }) => line)).toEqual(['subscribe z']);
  unsubscribe.answer.resolve();
  await turn();
  expect(connection.calls.map(({ line }) => line)).toEqual(['subscribe z', 'subscribe x']);
  await answered(Promise.all([again, other]).then(() => {}));
});

test('a SUBSCRIBE that comes through after its caller gave up is undone', async () => {
  await answered(driver.subscribe('channel', ['first']));
  const connection = given.duplicates[0]!;
  const late = driver.subscribe('channel', ['late']);
  await turn();
  const subscribe = connection.next();
  connection.breaks();
  await expect(late).rejects.toMatchObject({ name: 'ConnectionError', outcome: 'unknown' });
  connection.comesUp();
  subscribe.answer.resolve();
  await turn();
  expect(connection.next().line).toBe('unsubscribe late');
});

test('unsubscribing while the connection is away does not wait for it', async () => {
  await answered(driver.subscribe('channel', ['x']));
  given.duplicates[0]!.breaks();
  await driver.unsubscribe('channel', ['x']);
  expect(given.duplicates[0]!.next().line).toBe('unsubscribe x');
});

test('a pattern has one listener, however often it is subscribed', async () => {
  const [first] = await answered(driver.subscribe('pattern', ['p*']));
  const [second] = await answered(driver.subscribe('pattern', ['p*']));
  const [other] = await answered(driver.subscribe('pattern', ['q*']));
  expect(second!.listener).toBe(first!.listener);
  expect(other!.listener).not.toBe(first!.listener);
});

test('a client that gives up says why', async () => {
  const cause = new Error('connect ECONNREFUSED');
  given.connect = async () => {
    given.isOpen = true;
    given.emit('terminated', cause);
    given.emit('end');
  };
  await expect(driver.connect()).rejects.toMatchObject({ name: 'ConnectionError', cause });
  expect(events.at(-1)).toBe('commands ended connect ECONNREFUSED');
});
