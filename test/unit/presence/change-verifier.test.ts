import { beforeEach, expect, test } from 'vitest';
import { ErrorReporter } from '../../../src/internal/diagnostics.js';
import { ChangeVerifier, type ChangeVerifierOptions } from '../../../src/presence/change-verifier.js';
import type { PresenceChange, PresenceData } from '../../../src/presence/types.js';
import { FakeClock, turn } from '../../support/fake-clock.js';

const LEASE = 1_000;

let clock: FakeClock;
let announced: string[];
let errors: string[];
let versions: Map<string, number>;
let lookups: string[][];
let failing: boolean;

beforeEach(() => {
  clock = new FakeClock();
  announced = [];
  errors = [];
  versions = new Map();
  lookups = [];
  failing = false;
});

function create(cluster = true): ChangeVerifier {
  const reader = {
    lookup: async (ids: ReadonlySet<string>) => {
      lookups.push([...ids]);
      await turn();
      if (failing) throw new Error('no Redis');
      const records = new Map<string, PresenceData>();
      for (const id of ids) {
        const version = versions.get(id);
        if (version !== undefined) records.set(id, { userId: id, version } as PresenceData);
      }
      return { records, unreadable: new Set<string>() };
    },
  };
  const reporter = new ErrorReporter((error) => void errors.push(error.message));
  const client = { clock, closed: false, capabilities: { cluster } };
  const options = { client, reader, reporter, lease: LEASE } as unknown as ChangeVerifierOptions;
  return new ChangeVerifier(options, ({ userId, version }) => void announced.push(`${userId} ${version}`));
}

const change = (userId: string, version: number): PresenceChange => ({
  userId,
  version,
  status: 'online',
  previous: 'offline',
  lastSeen: new Date(0),
  sockets: 1,
});

test('changes are announced at once without a lookup, unless there was a gap', () => {
  const verifier = create();
  verifier.onChange(change('ann', 1), 'events');
  expect(announced).toEqual(['ann 1']);
  expect(lookups).toEqual([]);
});

test('after a gap, only changes that the record has reached are announced, in order, with one lookup for many', async () => {
  const verifier = create();
  verifier.onGap();
  versions = new Map([
    ['ann', 5],
    ['bob', 3],
  ]);
  verifier.onChange(change('ann', 5), 'events');
  verifier.onChange(change('bob', 4), 'events');
  verifier.onChange(change('ann', 9), 'events');
  verifier.onChange(change('bob', 3), 'events');
  verifier.onChange(change('zoe', 1), 'events');
  for (let at = 0; at < 5; at++) await turn();
  expect(announced).toEqual(['ann 5', 'bob 3', 'zoe 1']);
  expect(lookups).toEqual([['ann'], ['bob', 'ann', 'zoe']]);
});

test('on a Cluster, changes are verified until a lease after a node has returned; elsewhere for a lease after the gap', async () => {
  const [cluster, single] = [create(), create(false)];
  for (const verifier of [cluster, single]) verifier.onGap();
  versions.set('ann', 1);
  clock.advance(LEASE);
  single.onChange(change('ann', 7), 'events');
  expect(announced).toEqual(['ann 7']);
  clock.advance(60 * LEASE);
  cluster.onChange(change('ann', 8), 'events');
  for (let at = 0; at < 3; at++) await turn();
  cluster.onNodeReturned();
  clock.advance(LEASE - 1);
  cluster.onChange(change('ann', 9), 'events');
  for (let at = 0; at < 3; at++) await turn();
  expect(announced).toEqual(['ann 7']);
  clock.advance(1);
  cluster.onChange(change('ann', 10), 'events');
  expect(announced).toEqual(['ann 7', 'ann 10']);
});

test('a failed lookup is reported, and its changes are announced', async () => {
  const verifier = create();
  verifier.onGap();
  failing = true;
  verifier.onChange(change('ann', 5), 'events');
  for (let at = 0; at < 3; at++) await turn();
  expect(announced).toEqual(['ann 5']);
  expect(errors).toEqual([expect.stringContaining('no Redis')]);
});

test('nothing is announced after close', async () => {
  const verifier = create();
  verifier.onGap();
  verifier.onChange(change('ann', 5), 'events');
  verifier.close();
  for (let at = 0; at < 3; at++) await turn();
  expect(announced).toEqual([]);
});
