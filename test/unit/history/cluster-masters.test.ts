import { beforeEach, expect, test } from 'vitest';
import { ClusterMasters } from '../../../src/history/cluster-masters.js';
import { SharedClient } from '../../../src/redis/client-handle.js';
import { slotOf } from '../../../src/redis/cluster-slots.js';
import type { Driver, PlainCommand, Reply } from '../../../src/redis/driver.js';
import { FakeClock } from '../../support/fake-clock.js';
import { FakeDriver } from '../../support/fake-driver.js';

interface Node {
  run: string;
  replication: string;
  previous: string;
  startedAt: number;
}

const NONE = '0'.repeat(40);
let clock: FakeClock;
let masters: ClusterMasters;
/** The owner of each half of the slots. */
let nodes: [Node, Node];

const node = (run: string, more: Partial<Node> = {}): Node => ({
  run,
  replication: `${run}1`,
  previous: NONE,
  startedAt: 0,
  ...more,
});
const identity = ({ run, replication, previous }: Node) => `${run}:${replication}:${previous}`;

beforeEach(() => {
  clock = new FakeClock(1_000_000);
  nodes = [node('a'), node('b')];
  const driver: Driver = new FakeDriver({ cluster: true });
  driver.execute = async (commands, options) =>
    commands.map((command) => reply(command as PlainCommand, options?.key));
  masters = new ClusterMasters(new SharedClient(driver, () => {}), clock);
});

function reply([name, what]: PlainCommand, key = ''): Reply {
  if (name === 'CLUSTER') {
    return [
      [0, 8_191, ['host', 1, 'x']],
      [8_192, 16_383, ['host', 2, 'y']],
    ];
  }
  const { run, replication, previous, startedAt } = nodes[slotOf(key) < 8_192 ? 0 : 1];
  if (what === 'server') {
    return `# Server\r\nrun_id:${run}\r\nuptime_in_seconds:${(clock.now() - startedAt) / 1_000}\r\n`;
  }
  return `# Replication\r\nrole:master\r\nmaster_replid:${replication}\r\nmaster_replid2:${previous}\r\n`;
}

/** Records the masters, applies `change` after the slot was last seen at `a`, and checks for a move to `b`. */
async function movedAfter(change: () => void): Promise<boolean> {
  const before = identity(nodes[0]);
  await masters.remember();
  clock.advance(1_000);
  const since = clock.now();
  clock.advance(60_000);
  change();
  return masters.isSlotMove(before, identity(nodes[1]), since);
}

test('a slot has moved if both masters are the same as before', async () => {
  expect(await movedAfter(() => {})).toBe(true);
});

test('a slot has moved to a master that was promoted long ago', async () => {
  nodes[1] = node('b', { previous: 'c' });
  expect(await movedAfter(() => {})).toBe(true);
});

test('a slot has moved to a node that was added, and was never a replica', async () => {
  const added = node('d', { startedAt: clock.now() + 500 });
  expect(await movedAfter(() => (nodes[1] = added))).toBe(true);
});

test.each<[string, () => void]>([
  ['the new owner was promoted', () => (nodes[1] = node('d', { previous: 'b1' }))],
  [
    'the new owner was promoted again (A, B, A)',
    () => (nodes[1] = node('b', { replication: 'b2', previous: 'd' })),
  ],
  ['the new owner was restarted', () => (nodes[1] = node('d', { startedAt: clock.now() - 1_000 }))],
  ['the old owner was replaced', () => (nodes[0] = node('d', { previous: 'a1' }))],
  [
    'the old owner was promoted again (A, B, A)',
    () => (nodes[0] = node('a', { replication: 'a2', previous: 'd' })),
  ],
])('a slot is not reported as moved: %s', async (_, change) => {
  expect(await movedAfter(change)).toBe(false);
});
