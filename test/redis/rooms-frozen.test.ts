import { randomUUID } from 'node:crypto';
import type { Cluster } from 'ioredis';
import { PresenceService } from 'rollcall';
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { ioredis, type ServerBackend, startBackend, startClusterBackend } from '../shared/redis-clients.js';
import { WsClient } from '../shared/ws-fixture.js';
import { period } from '../support/machine.js';
import { deferred, waitFor } from '../support/wait.js';
import { WsServer } from '../support/ws-server.js';

// A process that is stopped for longer than its lease while another one revokes permissions of its user and puts the user out of a
// room. The other one dies before it resumes.

const LEASE = period(1_000);

interface Scenario {
  readonly history: boolean;
  /** Breaks the connection on which the process receives messages. */
  readonly breakConnection?: () => Promise<void>;
}

const topologies: [name: string, start: () => Promise<ServerBackend>][] = [
  ['one Redis', () => startBackend(ioredis)],
  ['a Cluster', startClusterBackend],
];

test('a process that was frozen during a revocation and a kick shows nothing more of what has ended', async () => {
  await on(topologies[0]?.[1], (backend) => checkFrozen(backend, { history: true }));
});

// Without history the process does not receive the messages at all: it asks `authorize` and the bans.
test.each(topologies)(
  'nor if its connection broke in the meantime, with and without history: %s',
  async (_name, start) => {
    await on(start, async (backend) => {
      const histories = [true, false];
      const allFrozen = deferred<void>();
      let frozen = 0;
      const breakConnection = async () => {
        if (++frozen === histories.length)
          backend.killSubscribers().then(allFrozen.resolve, allFrozen.reject);
        await allFrozen.promise;
      };
      await Promise.all(histories.map((history) => checkFrozen(backend, { history, breakConnection })));
    });
  },
);

async function on(
  start: (() => Promise<ServerBackend>) | undefined,
  check: (backend: ServerBackend) => Promise<void>,
) {
  const backend = await (start as () => Promise<ServerBackend>)();
  try {
    await check(backend);
  } finally {
    await backend.end();
  }
}

async function checkFrozen(backend: ServerBackend, { history, breakConnection }: Scenario): Promise<void> {
  const redis = backend.client() as Cluster;
  const prefix = randomUUID();
  const presence = { lease: LEASE, sweepInterval: 50 };
  const forbidden = `${prefix}forbidden`;
  const [port] = backend.ports.length > 1 ? [backend.ports] : backend.ports;
  const rooms = { bans: true, ...(history ? {} : { history: false as const }) };
  const options = { port: port as number, prefix, presence, rooms, forbidden };
  const [one, frozen] = await Promise.all([WsServer.start(options), WsServer.start(options)]);
  const own = new PresenceService({ redis, prefix, ...presence });
  const clients: WsClient[] = [];
  const open = async (server: WsServer, user: string) => {
    const client = new WsClient(new WebSocket(`${server.url}/?user=${user}`));
    clients.push(client);
    await client.welcome();
    return client;
  };
  try {
    const ann = await open(frozen, 'ann');
    const sockets = { bob: 's1', carol: 's2' };
    for (const [user, socketId] of Object.entries(sockets)) await own.setPresence(user, socketId);
    await ann.get({ type: 'watch', users: ['bob', 'carol'] });
    for (const room of ['lobby', 'cellar']) await ann.get({ type: 'join', room, members: true });
    await ann.until(() => ann.of('members').length >= 2, 'the members');
    frozen.freeze();
    await breakConnection?.();
    await waitFor(async () => !(await own.getPresence('ann'))?.sockets.length);
    await redis.sadd(forbidden, 'bob', 'lobby:members');
    await one.revoke('ann', { watch: ['bob'], members: ['lobby'] });
    await one.kick('cellar', 'ann', { reason: 'spam', ban: 600_000 });
    await one.kill();
    const from = ann.frames.length;
    for (const [user, socketId] of Object.entries(sockets)) {
      await own.setPresence(user, socketId, 'busy');
      for (const room of ['lobby', 'cellar']) await own.join(room, user, socketId);
    }
    frozen.thaw();
    const since = () => ann.frames.slice(from);
    const kicked = { type: 'error', room: 'cellar', code: 'KICKED', message: 'spam' };
    await ann.until(() => since().some(({ type }) => type === 'error'), 'the kick');
    await ann.until(() => ann.of('members').some(({ code }) => code === 'FORBIDDEN'), 'the end of the list');
    const shown = () => since().flatMap((frame) => (frame.type === 'presence' ? frame.users : []));
    await ann.until(() => shown().some(({ user, status }) => user === 'carol' && status === 'busy'), 'carol');
    await ann.until(() => shown().some(({ code }) => code !== undefined), 'the end of the watch');
    // What follows an end is not shown: a later change of all.
    for (const [user, socketId] of Object.entries(sockets)) await own.setPresence(user, socketId, 'dnd');
    await ann.until(() => shown().some(({ status }) => status === 'dnd'), 'the next change');
    expect(since().filter(({ type }) => type === 'error')).toEqual([kicked]);
    const ofBob = shown().filter(({ user }) => user === 'bob');
    const end = { user: 'bob', status: 'offline', lastSeen: 0, code: 'FORBIDDEN' };
    expect(ofBob.at(-1)).toEqual(end);
    expect(ofBob.filter(({ status }) => status === 'dnd')).toEqual([]);
    // Otherwise a change may be shown before the missed messages are read.
    if (breakConnection === undefined) expect(ofBob).toEqual([end]);
    const members = await own.getRoomMembers('cellar');
    expect(members.map(({ userId }) => userId).sort()).toEqual(['bob', 'carol']);
    expect(await ann.get({ type: 'join', room: 'cellar' })).toBe('KICKED');
    expect(await ann.get({ type: 'watch', users: ['bob'] })).toBe('FORBIDDEN');
  } finally {
    for (const { socket } of clients) socket.terminate();
    frozen.thaw();
    await Promise.all([one.kill(), frozen.kill(), own.close()]);
  }
}
