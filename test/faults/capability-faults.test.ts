import { type ChildProcess, fork } from 'node:child_process';
import { randomInt, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { BannedError, NotificationService, type PresenceChange, type RoomChange } from 'rollcall';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ioredis, type ServerBackend, startBackend, startClusterBackend } from '../shared/redis-clients.js';
import { RoomsFixture, TestPeer, type TestServer } from '../shared/rooms-fixture.js';
import { period, timeLimit } from '../support/machine.js';
import { keyKinds, keysWith } from '../support/stored-keys.js';
import { waitFor, withDeadline } from '../support/wait.js';

// A process makes one call and is killed at any step of it. Then another process repeats the call, or nobody does. What others
// see is the state before or the state after the call, each change is announced once, and nothing else is left in Redis.

/** Runs of each capability and topology. */
const RUNS = Number(process.env['FC_RUNS'] ?? 2);
/** To repeat the faults of a run that failed. @default chance */
const SEED = process.env['FC_SEED'];
const PARALLEL = 2;
const LEASE = period(1_500);
/** Longer than a lease. */
const TTL = 2 * LEASE;
const GRACE = 2 * LEASE;
const LONG = 600_000;
const CHILD = fileURLToPath(new URL('../support/killed-call.child.js', import.meta.url));

/** At a step after the last one the process is killed when the call has ended. */
interface Fault {
  readonly step: number;
  readonly when: 'before' | 'sent' | 'after';
  /** Another process repeats the call. */
  readonly repeats: boolean;
}

interface Process {
  /** Makes a call, such as `presence.setStatus`; resolves when the process was killed. */
  call(path: string, ...args: unknown[]): Promise<void>;
}

/** Two processes that live, and a third that does not live long. Ids are of this run alone. */
interface Run {
  readonly one: TestServer;
  readonly two: TestServer;
  readonly user: string;
  /** A user and member of the room who must not be affected. */
  readonly witness: string;
  readonly room: string;
  readonly repeats: boolean;
  /** The process has a socket of the user, in the room, if `attached`. */
  startProcess(attached?: boolean): Promise<Process>;
  /** Attaches a socket of the user, in the room. */
  enter(server: TestServer): Promise<TestPeer>;
  /** Until the peers of the user have received all earlier messages to them. */
  fence(peers: readonly TestPeer[]): Promise<void>;
  until(what: string, done: () => boolean | Promise<boolean>): Promise<unknown>;
  /** Statuses of the user that were announced. */
  statuses(): string[];
  /** Changes of the user in the room that were announced. */
  roomChanges(): string[];
  /** Kinds of the keys that name the user, without inboxes, which do until their processes have looked. */
  keys(): Promise<string[]>;
  isMember(): Promise<boolean>;
}

interface Capability {
  /** Of the call, on one Redis and on a Cluster; measured. */
  readonly steps: readonly [number, number];
  check(run: Run): Promise<void>;
}

const countCodes = (peers: readonly TestPeer[], code: string) =>
  peers.map((peer) => {
    const texts = peer.frames.map((frame) => JSON.stringify(frame));
    return texts.filter((text) => text.includes(`"code":"${code}"`)).length;
  });

const capabilities: Record<string, Capability> = {
  'forget with messagesIn': {
    steps: [24, 37],
    async check({ one, two, user, witness, room, repeats, startProcess, enter, until, ...run }) {
      const peer = await enter(one);
      await two.presence.setPresence(user, 'phone', 'online', null, { ttl: LONG });
      await one.presence.setStatus(user, 'busy', { until: Date.now() + LONG });
      await one.presence.setLastSeenVisible(user, false);
      for (const from of [user, witness, user]) await one.rooms.broadcast(room, 'said', 'hi', { from });
      await two.rooms.sendToUser(user, 'hello', 'hi', { idempotencyKey: 'k' });
      await new NotificationService({ rooms: one.rooms }).notify(user, { text: 'hi' });
      const process = await startProcess();
      await process.call('forget', user, { messagesIn: [room], reason: 'deleted' });
      const reader = repeats ? one : two;
      const sockets = (await reader.presence.getPresence(user, { reveal: true }))?.sockets.length ?? 0;
      expect([0, 2]).toContain(sockets);
      if (sockets === 0) await until('offline', () => run.statuses().includes('offline'));
      else expect(run.statuses()).not.toContain('offline');
      // Whoever asked for it calls again.
      const forget = () => reader.forget(user, { messagesIn: [room], reason: 'deleted' });
      await until('the end', async () => (await forget()).complete);
      await until(
        'the leave',
        () => run.roomChanges().includes('leave') && run.statuses().includes('offline'),
      );
      await until('the close', () => peer.closed !== undefined);
      expect(run.roomChanges()).toEqual(['join', 'leave']);
      expect(run.statuses()).toEqual(['online', 'busy', 'offline']);
      expect(peer.closed).toEqual({ code: 4403, reason: 'deleted' });
      const { messages } = await one.rooms.history(room);
      expect(messages.map(({ message }) => message?.from)).toEqual([undefined, witness, undefined]);
    },
  },
  setLastSeenVisible: {
    steps: [1, 1],
    async check({ one, two, user, repeats, startProcess, until, ...run }) {
      await one.presence.setPresence(user, 's');
      const process = await startProcess();
      await process.call('presence.setLastSeenVisible', user, false);
      const isHidden = async () => {
        const [shown, own] = [
          await two.presence.getPresence(user),
          await two.presence.getPresence(user, { reveal: true }),
        ];
        expect([shown?.status, shown?.sockets.length]).toEqual(['online', 1]);
        const hidden = own?.lastSeenHidden === true;
        expect(shown?.lastSeen.getTime() === 0).toBe(hidden);
        expect(own?.lastSeen.getTime()).toBeGreaterThan(0);
        return hidden;
      };
      const hidden = await isHidden();
      if (repeats) {
        await two.presence.setLastSeenVisible(user, false);
        expect(await isHidden()).toBe(true);
      }
      expect(await run.keys()).toEqual([':node', ':online', ':sockets', ':user']);
      const gone = await one.presence.removeSocket(user, 's');
      expect(gone?.lastSeenHidden === true).toBe(hidden || repeats);
      await until('offline', () => run.statuses().includes('offline'));
      expect(run.statuses()).toEqual(['online', 'offline']);
    },
  },
  'setStatus with until': {
    steps: [1, 1],
    async check({ one, two, user, repeats, startProcess, until, ...run }) {
      await one.presence.setPresence(user, 's');
      await one.presence.setStatus(user, 'busy');
      const process = await startProcess();
      const end = Date.now() + TTL;
      await process.call('presence.setStatus', user, 'lunch', { until: end, meta: '🍜' });
      const own = async () => (await two.presence.getPresence(user))?.ownStatus;
      const lunch = { status: 'lunch', until: new Date(end), meta: '🍜', next: { status: 'busy' } };
      const found = await own();
      if (Date.now() < end) expect([{ status: 'busy' }, lunch]).toContainEqual(found);
      // A status whose end has passed changes nothing.
      if (repeats) await two.presence.setStatus(user, 'lunch', { until: end, meta: '🍜' });
      const after = await own();
      if (repeats && Date.now() < end) expect(after).toEqual(lunch);
      const happened =
        [found, after].some((each) => each?.status === 'lunch') || run.statuses().includes('lunch');
      if (happened) {
        await until('the end', () => run.statuses().at(-1) === 'busy' && run.statuses().includes('lunch'));
        expect(Date.now()).toBeGreaterThanOrEqual(end);
      }
      expect(await own()).toEqual({ status: 'busy' });
      await one.presence.removeSocket(user, 's');
      await until('offline', () => run.statuses().includes('offline'));
      expect(run.statuses()).toEqual(['online', 'busy', ...(happened ? ['lunch', 'busy'] : []), 'offline']);
      expect(await run.keys()).toEqual([':sockets', ':user']);
    },
  },
  'kick with a ban': {
    steps: [3, 3],
    async check({ one, two, user, room, repeats, startProcess, enter, until, ...run }) {
      const peers = [await enter(one), await enter(two)];
      const process = await startProcess();
      await process.call('rooms.kick', room, user, { reason: 'spam', ban: LONG });
      const isKicked = async () => {
        await run.fence(peers);
        const outs = [one, two].map(({ rooms }) =>
          rooms.socketsOf(user).every((socket) => !socket.isIn(room)),
        );
        expect(outs[0]).toBe(outs[1]);
        return outs[0] as boolean;
      };
      const out = await isKicked();
      const isBanned = (await run.keys()).includes('rollcall:ban');
      if (out) expect(isBanned).toBe(true);
      if (repeats) {
        await one.rooms.kick(room, user, { reason: 'spam', ban: LONG });
        expect(await isKicked()).toBe(true);
      }
      const isOut = out || repeats;
      if (isOut) await until('the leave', async () => !(await run.isMember()));
      else expect(await run.isMember()).toBe(true);
      if (isBanned || repeats) {
        const socket = await two.rooms.attach(new TestPeer(), { userId: user });
        await expect(socket.join(room)).rejects.toThrow(BannedError);
        expect(await one.rooms.unban(room, user)).toBe(true);
        await socket.detach();
      }
      await until('the notices', () =>
        countCodes(peers, 'KICKED').every((count) => count === (isOut ? 1 : 0)),
      );
      expect(run.roomChanges()).toEqual(isOut ? ['join', 'update', 'update', 'leave'] : ['join', 'update']);
      expect(await run.keys()).not.toContain('rollcall:ban');
      expect(run.statuses()).toEqual(['online']);
    },
  },
  revoke: {
    steps: [1, 1],
    async check({ one, two, user, witness, room, repeats, startProcess, enter, until, ...run }) {
      const peers = [await enter(one), await enter(two)];
      for (const { rooms } of [one, two]) {
        for (const socket of rooms.socketsOf(user)) await socket.watch([witness]);
      }
      const process = await startProcess();
      const revoked = { watch: [witness], members: [room] };
      await process.call('rooms.revoke', user, revoked);
      await run.fence(peers);
      const watches = () =>
        [one, two].flatMap(({ rooms }) => rooms.socketsOf(user).map((socket) => socket.isWatching(witness)));
      // Lists end a moment later.
      const isRevoked = watches()[0] === false;
      expect(watches()).toEqual([!isRevoked, !isRevoked]);
      if (repeats) {
        await one.rooms.revoke(user, revoked);
        await run.fence(peers);
        expect(watches()).toEqual([false, false]);
      }
      const expected = isRevoked || repeats ? [2, 2] : [0, 0];
      await until('the notices', () => countCodes(peers, 'FORBIDDEN').join() === expected.join());
      // They are still in the room, and get its messages.
      await one.rooms.broadcast(room, 'said', 'hi');
      await until('the message', () => peers.every((peer) => peer.receivedData(room).includes('hi')));
      expect(countCodes(peers, 'FORBIDDEN')).toEqual(expected);
      expect(run.roomChanges()).toEqual(['join', 'update']);
      expect(run.statuses()).toEqual(['online']);
    },
  },
  'setPresence with ttl': {
    steps: [1, 1],
    async check({ two, user, repeats, startProcess, until, ...run }) {
      const process = await startProcess();
      const began = Date.now();
      const call = [user, 'phone', 'online', { device: 'phone' }, { ttl: TTL }] as const;
      await process.call('presence.setPresence', ...call);
      const found = await two.presence.getPresence(user);
      const socket = { socketId: 'phone', nodeId: '*', status: 'online', meta: { device: 'phone' } };
      if (found === null) expect(await run.keys()).toEqual([]);
      else if (Date.now() < began + TTL) expect(found.sockets).toMatchObject([socket]);
      // On a slow machine the socket may have ended.
      const again = repeats && Date.now() < began + LEASE;
      if (again) expect((await two.presence.setPresence(...call)).sockets).toMatchObject([socket]);
      if (found === null && !again) return;
      await until('the end', () => run.statuses().includes('offline'));
      // Not with the lease of the process.
      expect(Date.now()).toBeGreaterThanOrEqual(began + TTL);
      expect(run.statuses()).toEqual(['online', 'offline']);
      expect(await run.keys()).toEqual([':user']);
    },
  },
  'a grace in rooms': {
    steps: [1, 2],
    async check({ one, two, user, room, repeats, startProcess, enter, until, ...run }) {
      const process = await startProcess(true);
      await until('the join', () => run.roomChanges().includes('join'));
      const began = Date.now();
      await process.call('socket.detach');
      expect((await run.isMember()) || Date.now() > began + GRACE).toBe(true);
      // On a slow machine the grace may have ended.
      if (repeats && Date.now() < began + LEASE) {
        await enter(two);
        await until('the end of the process', async () => {
          const members = await one.presence.getRoomMembers(room);
          const sockets = (await one.presence.getPresence(user))?.sockets ?? [];
          return sockets.length === 1 && members.find(({ userId }) => userId === user)?.sockets === 1;
        });
        // No grace that began is left to end.
        expect(await run.keys()).not.toContain(':due');
        expect(run.roomChanges()).not.toContain('leave');
        expect(run.roomChanges().filter((type) => type === 'join')).toHaveLength(1);
      } else {
        await until('the leave', () => run.roomChanges().includes('leave'));
        expect(Date.now()).toBeGreaterThanOrEqual(began + GRACE);
        expect(run.roomChanges()).toEqual(['join', 'leave']);
        await until('offline', () => run.statuses().includes('offline'));
        expect(run.statuses()).toEqual(['online', 'offline']);
      }
    },
  },
};

describe.each([
  ['one Redis', 0, () => startBackend(ioredis)],
  ['a Cluster', 1, startClusterBackend],
] as const)('on %s', (_name, topology, start) => {
  let backend: ServerBackend;
  let living: TestServer[];
  const fixture = new RoomsFixture(() => backend);
  const changes: PresenceChange[] = [];
  const children = new Set<ChildProcess>();
  const options = {
    pubsub: { prefix: 'c' },
    presence: { prefix: 'c', lease: LEASE, sweepInterval: 50, partitions: topology === 0 ? 1 : 4 },
    rooms: { bans: true, grace: GRACE },
  };

  beforeAll(async () => {
    backend = await start();
    living = [fixture.server(options), fixture.server(options)];
    await living[0]?.presence.subscribe((change) => void changes.push(change));
  });
  afterAll(async () => {
    for (const child of children) child.kill('SIGKILL');
    await fixture.end();
    await backend?.end();
  });

  async function startProcess(config: object): Promise<Process> {
    const child = fork(CHILD, [JSON.stringify({ ports: backend.ports, options, ...config })], {
      execArgv: [],
      env: { ...process.env, NODE_OPTIONS: '' },
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    children.add(child);
    const exited = once(child, 'exit');
    await withDeadline(once(child, 'message'), timeLimit(15_000), 'the start of the process');
    const outcomes: { error?: string; calls: number }[] = [];
    child.on('message', (message) => {
      outcomes.push(message as (typeof outcomes)[number]);
      // The call has fewer steps.
      child.kill('SIGKILL');
    });
    return {
      call: async (...call: unknown[]) => {
        child.send(call);
        await withDeadline(exited, timeLimit(15_000), 'the end of the process');
        children.delete(child);
        for (const { error } of outcomes) expect(error).toBeUndefined();
      },
    };
  }

  async function runOnce({ check }: Capability, { repeats, ...fault }: Fault): Promise<void> {
    const [one, two] = living as [TestServer, TestServer];
    const id = randomUUID();
    const [user, witness, room] = [`ann-${id}`, `bob-${id}`, `room-${id}`];
    const roomChanges: RoomChange[] = [];
    const watch = await two.presence.watchRoom(room, (change) => void roomChanges.push(change));
    const observer = await two.rooms.attach(new TestPeer(), { userId: witness });
    await observer.join(room);
    const statusesOf = (of: string) =>
      changes
        .filter(({ userId, status, previous }) => userId === of && status !== previous)
        .map(({ status }) => status);
    const changesOf = (of: string) =>
      roomChanges.filter(({ userId }) => userId === of).map(({ type }) => type);
    const until: Run['until'] = (what, done) => waitFor(done, { timeout: 15_000, message: what });
    await check({
      one,
      two,
      user,
      witness,
      room,
      repeats,
      startProcess: (attached) =>
        startProcess({ ...fault, ...(attached ? { attach: { userId: user }, join: [room] } : {}) }),
      enter: async (server) => {
        const peer = new TestPeer();
        const socket = await server.rooms.attach(peer, { userId: user });
        await socket.join(room, { members: true });
        return peer;
      },
      until,
      fence: (peers) => fixture.fenceUser(two, user, ...peers),
      statuses: () => statusesOf(user),
      roomChanges: () => changesOf(user),
      keys: async () =>
        keyKinds(await keysWith(user, backend.masters))
          .filter((kind) => kind !== ':inbox')
          .sort(),
      isMember: async () => (await two.presence.getRoomMembers(room)).some(({ userId }) => userId === user),
    });
    await until('nothing left', async () => (await one.forget(user)).complete);
    const statuses = statusesOf(user);
    expect(
      statuses.filter((status, at) => status === statuses[at - 1]),
      'announced twice',
    ).toEqual([]);
    expect(await keysWith(user, backend.masters)).toEqual([]);
    expect([statusesOf(witness), changesOf(witness)]).toEqual([['online'], ['join']]);
    await observer.detach({ immediate: true });
    await watch.close();
  }

  test.concurrent.each(Object.entries(capabilities))(
    '%s',
    async (_capability, capability) => {
      const seed = Number(SEED ?? randomInt(2 ** 31));
      const faults = fc.sample(
        fc.record({
          step: fc.integer({ min: 1, max: capability.steps[topology] + 1 }),
          when: fc.constantFrom('before' as const, 'sent' as const, 'after' as const),
          repeats: fc.boolean(),
        }),
        { numRuns: RUNS, seed },
      );
      const left = [...faults];
      const work = async () => {
        for (let fault = left.shift(); fault !== undefined; fault = left.shift()) {
          try {
            await runOnce(capability, fault);
          } catch (error) {
            throw new Error(`FC_SEED=${seed}, ${JSON.stringify(fault)}`, { cause: error });
          }
        }
      };
      await Promise.all(Array.from({ length: PARALLEL }, work));
    },
    60_000 + 10_000 * RUNS,
  );
});
