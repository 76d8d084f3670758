import { beforeEach, expect, test } from 'vitest';
import { ConnectionError } from '../../../src/internal/errors.js';
import { ConnectionState } from '../../../src/redis/connection-state.js';
import { turn } from '../../support/fake-clock.js';

let state: ConnectionState;
let events: string[];

beforeEach(() => {
  events = [];
  state = new ConnectionState('fake');
  state.attach((what, cause) => events.push([what, cause?.message].filter(Boolean).join(' ')));
});

test('each change is reported once', () => {
  state.up();
  state.up();
  state.down();
  state.down();
  state.up();
  state.end();
  state.end();
  expect(events).toEqual(['ready', 'lost', 'ready', 'ended']);
  expect([state.ready, state.ended]).toEqual([false, true]);
});

test('commands in flight reject as unknown when the connection breaks, even if the promises of the client stay pending', async () => {
  state.up();
  const one = state.track(new Promise(() => {}));
  const two = state.track(Promise.resolve(2));
  expect(await two).toBe(2);
  state.setError(new Error('ECONNRESET'));
  state.down();
  await expect(one).rejects.toMatchObject({ name: 'ConnectionError', outcome: 'unknown' });
  await expect(state.track(Promise.reject(new Error('ERR no')))).rejects.toThrow('ERR no');
});

test('a late rejection of an unknown command is not an unhandled rejection', async () => {
  state.up();
  let fail!: (error: Error) => void;
  const work = state.track(new Promise((_, reject) => (fail = reject)));
  state.down();
  await expect(work).rejects.toBeInstanceOf(ConnectionError);
  fail(new Error('late'));
  await turn();
});

test('whenReady waits during losses and rejects when the client ends', async () => {
  const first = state.whenReady();
  state.down();
  state.up();
  await first;
  await state.whenReady();
  state.down();
  const second = state.whenReady();
  state.setError(new Error('ECONNREFUSED'));
  state.end();
  await expect(second).rejects.toMatchObject({
    message: 'the fake client is closed: ECONNREFUSED',
    outcome: 'failed',
  });
});

test('errors are reported while there is no connection, and not while it is ready', () => {
  state.up();
  state.setError(new Error('odd'));
  state.down();
  state.setError('a text');
  expect(events).toEqual(['ready', 'lost odd', 'lost a text']);
  expect(state.createOfflineError()).toMatchObject({
    outcome: 'failed',
    message: 'the fake client is not connected: a text',
  });
});
