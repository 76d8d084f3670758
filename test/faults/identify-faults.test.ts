import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { PresenceService } from 'rollcall';
import { expect, test } from 'vitest';
import { ioredis, type ServerBackend, startBackend, startClusterBackend } from '../shared/redis-clients.js';
import { period, timeLimit } from '../support/machine.js';
import { waitFor, withDeadline } from '../support/wait.js';

// Processes that are killed, or stopped for longer than their lease, at any step of a change of a socket's user.
// test/shared/identify-behaviour.ts has an outage at every step, also on a Cluster.

const LEASE = period(1_500);
const CHILD = fileURLToPath(new URL('../support/identify-process.child.js', import.meta.url));

interface Outcome {
  readonly calls: number;
  readonly error?: string;
  readonly userId: string;
}

const faultsUpTo = (maxStep: number) =>
  fc.record({
    step: fc.integer({ min: 1, max: maxStep }),
    when: fc.constantFrom('before' as const, 'after' as const),
  });

/** Starts a process for each fault, at the same time, and checks the end of each. */
async function afterFaults({ ports, client }: ServerBackend, maxStep: number): Promise<void> {
  const prefix = 'identify';
  const watcher = new PresenceService({ redis: client(), prefix, lease: LEASE, sweepInterval: 50 });
  const children: ChildProcess[] = [];
  const seed = Math.trunc(Math.random() * 2 ** 31);
  // Both kinds of signals in each run.
  const chosen = [...fc.sample(faultsUpTo(maxStep), { numRuns: 4, seed })].map((fault, index) => ({
    ...fault,
    signal: index % 2 === 0 ? ('SIGKILL' as const) : ('SIGSTOP' as const),
  }));
  const check = async (fault: (typeof chosen)[number], index: number): Promise<void> => {
    const what = `${JSON.stringify(fault)}, seed ${seed}`;
    const [guest, user] = [`guest-${index}`, `user-${index}`];
    const rooms = [`one-${index}`, `two-${index}`];
    const child = fork(
      CHILD,
      [JSON.stringify({ ports, prefix, lease: LEASE, guest, user, rooms, ...fault })],
      {
        execArgv: [],
        env: { ...process.env, NODE_OPTIONS: '' },
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      },
    );
    children.push(child);
    const exited = once(child, 'exit');
    await withDeadline(once(child, 'message'), timeLimit(15_000), `the start for ${what}`);
    let outcome: Outcome | undefined;
    child.on('message', (message) => {
      outcome = message as Outcome;
    });
    child.send('go');
    const shown = async () => {
      const found = await watcher.getMultiplePresence([guest, user], { reveal: true });
      const sockets = [guest, user].filter((id) => (found.get(id)?.sockets.length ?? 0) > 0);
      const members = await Promise.all(rooms.map((room) => watcher.getRoomMembers(room)));
      return [sockets.join(), ...members.map((each) => each.map(({ userId }) => userId).join())];
    };
    const until = (message: string, done: () => boolean | Promise<boolean>) =>
      waitFor(done, { timeout: timeLimit(15_000), message: `${message}: ${what}` });
    const isNobody = async () => (await shown()).every((text) => text === '');
    await until('the fault, or the end of a shorter change', async () => outcome !== undefined || isNobody());
    if (fault.signal === 'SIGSTOP') {
      child.kill('SIGCONT');
      await until('the outcome', () => outcome !== undefined);
      const { userId, error } = outcome as unknown as Outcome;
      if (error === undefined) expect(userId, what).toBe(user);
      await until(`only ${userId}`, async () => (await shown()).every((text) => text === userId));
      child.send('close');
    } else if (outcome !== undefined) child.send('close');
    await withDeadline(exited, timeLimit(10_000), `the end for ${what}`);
    await until('nobody', isNobody);
  };
  try {
    await Promise.all(chosen.map(check));
  } finally {
    for (const child of children) child.kill('SIGKILL');
    await watcher.close();
  }
}

// A change with two rooms has 6 calls on one Redis and 9 on a Cluster, where most pairs of users are in two partitions. With a
// larger step nothing happens to it.
test.each([
  ['one Redis', 7, () => startBackend(ioredis)],
  ['a Cluster', 10, startClusterBackend],
])(
  'a process that is killed or stopped during a change leaves no ghost on %s',
  async (_name, maxStep, start) => {
    const backend = await start();
    try {
      await afterFaults(backend, maxStep);
    } finally {
      await backend.end();
    }
  },
  120_000,
);
