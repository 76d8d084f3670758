import { EventEmitter } from 'node:events';
import { beforeEach, expect, test } from 'vitest';
import { IoredisDriver } from '../../../src/redis/ioredis.js';
import { turn } from '../../support/fake-clock.js';
import { type Deferred, deferred } from '../../support/wait.js';

// Moments that a real server is too quick for: between the client's `ready` and the answer to the
// SUBSCRIBE that brings the names back.

class FakeClient extends EventEmitter {
  status = 'wait';
  readonly calls: { line: string; answer: Deferred<unknown> }[] = [];
  readonly duplicates: FakeClient[] = [];

  async connect() {
    this.comesUp();
  }
  comesUp() {
    this.status = 'ready';
    this.emit('ready');
  }
  breaks() {
    this.status = 'reconnecting';
    this.emit('close');
  }
  disconnect() {}
  multi() {}
  psubscribe() {}
  duplicate(): FakeClient {
    const copy = new FakeClient();
    this.duplicates.push(copy);
    return copy;
  }
  call(...args: string[]) {
    const answer = deferred<unknown>();
    this.calls.push({ line: args.join(' '), answer });
    return answer.promise;
  }
  /** Answers everything that is open, and tells what it was. */
  answerAll(): string[] {
    const { calls } = this;
    for (const { answer } of calls) answer.resolve('OK');
    return calls.splice(0).map(({ line }) => line);
  }
}

let given: FakeClient;
let driver: IoredisDriver;
let events: string[];

beforeEach(() => {
  given = new FakeClient();
  driver = new IoredisDriver(given as unknown as ConstructorParameters<typeof IoredisDriver>[0]);
  events = [];
  driver.attach({ message: () => {}, connection: (role, state) => events.push(`${role} ${state}`) });
});

async function subscribed(...names: string[]): Promise<FakeClient> {
  const done = driver.subscribe('channel', names);
  await turn();
  const connection = given.duplicates[0]!;
  expect(connection.answerAll()).toEqual([`subscribe ${names.join(' ')}`]);
  await done;
  return connection;
}

test('it says `ready` only when all names are subscribed again', async () => {
  const connection = await subscribed('a', 'b');
  events.length = 0;
  connection.breaks();
  connection.comesUp();
  await turn();
  expect(events).toEqual(['subscriber lost']);
  expect(connection.answerAll()).toEqual(['subscribe a b']);
  await turn();
  expect(events).toEqual(['subscriber lost', 'subscriber ready']);
});

test('what is unsubscribed while names are coming back does not come back', async () => {
  const connection = await subscribed('a', 'b');
  connection.breaks();
  connection.comesUp();
  await turn();
  const left = driver.unsubscribe('channel', ['a']);
  await turn();
  const lines = connection.answerAll();
  await turn();
  lines.push(...connection.answerAll());
  await left;
  expect(lines[0]).toBe('subscribe a b');
  expect(lines.slice(1)).toEqual(['unsubscribe a']);
});

test('what is unsubscribed during an outage is not asked for again', async () => {
  const connection = await subscribed('a', 'b');
  connection.breaks();
  await driver.unsubscribe('channel', ['a']);
  connection.comesUp();
  await turn();
  expect(connection.answerAll()).toEqual(['subscribe b']);
});

test('a cut while the names come back is no `ready`', async () => {
  const connection = await subscribed('a');
  events.length = 0;
  connection.breaks();
  connection.comesUp();
  await turn();
  connection.calls.splice(0).forEach(({ answer }) => void answer.reject(new Error('Connection is closed.')));
  connection.breaks();
  await turn();
  expect(events).toEqual(['subscriber lost']);
  connection.comesUp();
  await turn();
  connection.answerAll();
  await turn();
  expect(events).toEqual(['subscriber lost', 'subscriber ready']);
});
