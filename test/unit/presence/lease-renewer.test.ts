import { beforeEach, expect, test } from 'vitest';
import { ErrorReporter } from '../../../src/internal/diagnostics.js';
import { PartitionKeys } from '../../../src/presence/keys.js';
import { LeaseRenewer, type LeaseRenewerOptions } from '../../../src/presence/lease-renewer.js';
import { LocalSockets } from '../../../src/presence/local-sockets.js';
import { NodeLease } from '../../../src/presence/node-lease.js';
import { PresenceWriter } from '../../../src/presence/presence-writer.js';
import { ClientHandle, SharedClient } from '../../../src/redis/client-handle.js';
import { isScriptCall } from '../../../src/redis/driver.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { type FakeCall, FakeDriver } from '../../support/fake-driver.js';

const RENEW_INTERVAL = 3_000;

let driver: FakeDriver;
let clock: FakeClock;
let nodeLease: NodeLease;
let writer: PresenceWriter;
let losses: number;
let errors: unknown[];

beforeEach(() => {
  driver = new FakeDriver();
  clock = new FakeClock();
  nodeLease = new NodeLease('node');
  losses = 0;
  errors = [];
  nodeLease.listen({ onEntriesLost: () => losses++ });
  const shared = {
    client: new ClientHandle('PresenceService', new SharedClient(driver, () => {}), 5_000, clock),
    keys: [new PartitionKeys('unit', 0)],
    lease: 3 * RENEW_INTERVAL,
    renewInterval: RENEW_INTERVAL,
    keyTtl: 60_000,
    lastSeenTtl: 90_000,
    grace: 0,
    reporter: new ErrorReporter((error) => errors.push(error)),
    nodeLease,
    localSockets: new LocalSockets(),
  };
  writer = new PresenceWriter({
    ...shared,
    statusPriority: ['online'],
    layout: { publishCommand: 'PUBLISH' },
    startup: { run: async () => {} },
    hidden: { until: () => undefined, concealsLastSeen: () => false, observe: () => {} },
    roomGraces: { onWrite: () => {} },
  });
  const others = { inbox: {}, restorer: { resume: () => {} }, local: { repair: async () => {} } };
  new LeaseRenewer({ ...shared, writer, ...others } as unknown as LeaseRenewerOptions).start();
});

function write(user: string): void {
  const entry = { kind: 'socket', user, socket: 's', grace: 0, value: '"online",1', first: true } as const;
  writer.apply(0, entry).catch((error: unknown) => errors.push(error));
}

/** The script of a call, and the lease that the node knew when it sent the call. */
function sent(call: FakeCall): { script: string; known: number } {
  const [command] = call.commands;
  if (command === undefined || !isScriptCall(command)) throw new Error('no script');
  const { script, args } = command;
  return { script: script.name, known: Number(args[script.name === 'renew-lease' ? 4 : 8]) };
}

/** Redis replies with the lease that it found and the lease that it left. */
async function ack(before: number | '', after: number): Promise<void> {
  const records = sent(driver.only).script === 'renew-lease' ? [] : ['record'];
  driver.only.ack([[String(before), String(after), ...records]]);
  await turn();
}

async function ticks(ms: number): Promise<void> {
  clock.advance(ms);
  await turn();
}

test('a failover that lost an acknowledged write shows, although a renewal was requested while the write was in progress', async () => {
  write('ann');
  await turn();
  await ack('', 10_000);
  write('bob');
  await turn();
  await ticks(RENEW_INTERVAL);
  // With the lease 10000 the renewal would fit a replica that lacks the write, and would renew over the loss.
  expect(sent(driver.only)).toEqual({ script: 'update-users', known: 10_000 });
  await ack(10_000, 20_000);
  expect(sent(driver.only)).toEqual({ script: 'renew-lease', known: 20_000 });
  expect(losses).toBe(0);
  // The master dies without a reply to the renewal. The promoted replica lacks the write.
  driver.only.interrupt();
  await turn();
  await ticks(20);
  expect(sent(driver.only)).toEqual({ script: 'renew-lease', known: 20_000 });
  await ack(10_000, 10_000);
  expect(losses).toBe(1);
  expect(errors).toEqual([]);
});

test('a renewal that waited while the lease was lost is not sent under the new id', async () => {
  write('ann');
  await turn();
  await ack('', 10_000);
  const { id } = nodeLease;
  write('bob');
  await turn();
  await ticks(RENEW_INTERVAL);
  // A reaper has claimed the lease.
  await ack(-5, -5);
  expect(nodeLease.id).not.toBe(id);
  expect(driver.pending).toEqual([]);
  expect(losses).toBe(1);
  expect(errors).toEqual([]);
});

test('a client that its owner closes during a renewal is reported once', async () => {
  write('ann');
  await turn();
  await ack('', 10_000);
  await ticks(RENEW_INTERVAL);
  const renewal = driver.only;
  driver.connection('ended');
  renewal.interrupt();
  await turn();
  await ticks(20);
  // The deadline of the renewal.
  await ticks(6_000);
  expect(errors).toMatchObject([{ message: expect.stringContaining('the Redis client was closed') }]);
});
