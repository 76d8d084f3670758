import { beforeEach, describe, expect, test } from 'vitest';
import { ConnectionError } from '../../../src/internal/errors.js';
import { ConnectionState } from '../../../src/redis/connection-state.js';
import type { Reply } from '../../../src/redis/driver.js';
import { RoleMonitor } from '../../../src/redis/role-monitor.js';
import { FakeClock, turn } from '../../support/fake-clock.js';

/** Intervals of checks, with and without INFO, and the time for a reply, in ms. */
const INTERVAL = 2_000;
const WITHOUT_INFO = 10_000;
const TIMEOUT = 5_000;

const MASTER = ['run_id:abc', 'role:master'];

let clock: FakeClock;
let monitor: RoleMonitor;
let sent: string[];
let replies: () => Promise<Reply[]>;
let another: () => Promise<void>;
let received: number;

beforeEach(() => {
  clock = new FakeClock();
  sent = [];
  received = 0;
  replies = () => Promise.resolve(MASTER);
  another = () => Promise.resolve();
  const log = (what: string) => void sent.push(what);
  monitor = new RoleMonitor(
    {
      isReady: () => true,
      info: () => {
        log('INFO');
        return replies();
      },
      keepAlive: () => {
        log('keep-alive');
        return replies();
      },
      received: () => received,
      compare: () => {
        log('compare');
        return another();
      },
      reconnect: () => log('reconnect'),
      replace: () => log('replace'),
    },
    new ConnectionState('a client'),
    { demoted: () => {}, master: () => {} },
    clock,
  );
  monitor.handleReady();
});

async function pass(ms: number): Promise<void> {
  clock.advance(ms);
  await turn();
}

const silent = () => new Promise<never>(() => {});

test('the connection is never idle for longer than the interval', async () => {
  for (let round = 0; round < 3; round++) await pass(INTERVAL);
  expect(sent).toEqual(['INFO', 'INFO', 'INFO']);
});

test('a user without INFO sends another command, less often', async () => {
  replies = () => Promise.reject(new Error('NOPERM this user has no permissions to run the info command'));
  await pass(INTERVAL);
  replies = () => Promise.resolve([0]);
  await pass(WITHOUT_INFO);
  await pass(WITHOUT_INFO);
  expect(sent).toEqual(['INFO', 'keep-alive', 'keep-alive']);
  replies = silent;
  await pass(WITHOUT_INFO);
  await pass(TIMEOUT);
  expect(sent.slice(3)).toEqual(['keep-alive', 'compare', 'replace']);
});

describe('a connection without an answer', () => {
  beforeEach(async () => {
    replies = silent;
    await pass(INTERVAL);
  });

  test('is replaced after 5 s, if another connection answers', async () => {
    await pass(TIMEOUT - 1);
    expect(sent).toEqual(['INFO']);
    await pass(1);
    expect(sent).toEqual(['INFO', 'compare', 'replace']);
  });

  test('is kept, and asked again, if another connection does not answer either', async () => {
    another = () => Promise.reject(new ConnectionError('no answer'));
    await pass(TIMEOUT);
    await pass(INTERVAL);
    expect(sent).toEqual(['INFO', 'compare', 'INFO']);
  });

  test('is kept while it receives data', async () => {
    received = 1_000;
    await pass(TIMEOUT);
    await pass(INTERVAL);
    expect(sent).toEqual(['INFO', 'INFO']);
  });

  test('is kept if it was lost and replaced by the client in the meantime', async () => {
    let answered = () => {};
    another = () =>
      new Promise((resolve) => {
        answered = resolve;
      });
    await pass(TIMEOUT);
    monitor.handleLost();
    answered();
    await turn();
    expect(sent).toEqual(['INFO', 'compare']);
  });
});
