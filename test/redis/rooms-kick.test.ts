import { BannedError, InvalidArgumentError } from 'rollcall';
import { type Client, connect } from 'rollcall/client';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { nodeRedis, type ServerBackend, startBackend, startClusterBackend } from '../shared/redis-clients.js';
import { TestPeer } from '../shared/rooms-fixture.js';
import { WsFixture } from '../shared/ws-fixture.js';
import { period } from '../support/machine.js';
import { waitFor } from '../support/wait.js';

// Users who are put out of a room, over two servers with clients. Processes that are frozen: rooms-frozen.test.ts.

describe.each([
  ['one Redis', () => startBackend(nodeRedis)],
  ['a Cluster', startClusterBackend],
])('on %s', (_name, start) => {
  let backend: ServerBackend;
  const fixture = new WsFixture(() => backend);

  beforeAll(async () => {
    backend = await start();
  });
  afterAll(() => backend.end());
  afterEach(() => fixture.end());

  function open(url: string, user: string): Client {
    const opened = connect({
      url: `${url}/?user=${user}`,
      WebSocket: WebSocket as never,
      backoff: { first: 10 },
    });
    fixture.before(() => opened.close());
    return opened;
  }

  test('all sockets of the user leave; their clients show the reason, and do not join again by themselves', async () => {
    const [one, other] = [await fixture.node(), await fixture.node()];
    const clients = [open(one.url, 'ann'), open(other.url, 'ann'), open(other.url, 'bob')];
    const rooms = clients.map((opened) => opened.join('lobby'));
    const elsewhere = clients.map((opened) => opened.join('kitchen'));
    await Promise.all([...rooms, ...elsewhere].map(({ ready }) => ready));
    // The servers learn of it also while their connections break.
    await Promise.all([one.rooms.kick('lobby', 'ann', { reason: 'spam' }), backend.killSubscribers()]);
    const [first, second, third] = rooms as [(typeof rooms)[0], (typeof rooms)[0], (typeof rooms)[0]];
    await waitFor(() => first.state === 'refused' && second.state === 'refused', { timeout: 15_000 });
    for (const room of [first, second]) expect(room.error).toMatchObject({ code: 'KICKED', message: 'spam' });
    expect([third.state, ...elsewhere.map(({ state }) => state)]).toEqual(Array(4).fill('joined'));
    await waitFor(async () => (await one.presence.getRoomCounts(['lobby'])).get('lobby') === 1);
    clients[0]?.reconnect();
    await waitFor(() => clients[0]?.state === 'open' && elsewhere[0]?.state === 'joined');
    expect(first.state).toBe('refused');
    expect(one.rooms.socketsOf('ann').flatMap(({ rooms: joined }) => joined)).toEqual(['kitchen']);
    // Without a ban the person may come back.
    first.retry();
    await waitFor(() => first.state === 'joined');
  });

  test('a ban keeps the user out on all servers until it ends', async () => {
    const [one, other] = [
      await fixture.node({ rooms: { bans: true } }),
      await fixture.node({ rooms: { bans: true } }),
    ];
    const ann = open(one.url, 'ann');
    const room = ann.join('lobby');
    await room.ready;
    await other.rooms.kick('lobby', 'ann', { reason: 'spam', ban: 600_000 });
    await waitFor(() => room.state === 'refused');
    room.retry();
    await waitFor(() => room.state === 'refused');
    expect(room.error).toMatchObject({ code: 'KICKED', message: 'spam' });
    const again = open(other.url, 'ann').join('lobby');
    await waitFor(() => again.state === 'refused');
    expect(again.error).toMatchObject({ code: 'KICKED', message: 'spam' });
    const socket = await other.rooms.attach(new TestPeer(), { userId: 'ann' });
    await expect(socket.join('lobby')).rejects.toThrow(BannedError);
    await socket.join('kitchen');
    expect(await one.rooms.unban('lobby', 'ann')).toBe(true);
    expect(await one.rooms.unban('lobby', 'ann')).toBe(false);
    await socket.join('lobby');
    await one.rooms.kick('lobby', 'ann', { reason: 'again', ban: period(500) });
    await waitFor(() => !socket.isIn('lobby'));
    await waitFor(async () => {
      await socket.join('lobby');
      return socket.isIn('lobby');
    });
    await socket.detach();
  });

  test('wrong arguments are refused, and a user who is not there is no error', async () => {
    const [plain, banning] = [await fixture.node(), await fixture.node({ rooms: { bans: true } })];
    const wrong: [string, string, unknown][] = [
      ['', 'ann', {}],
      ['lobby', '', {}],
      ['lobby', 'ann', { reason: 7 }],
      ['lobby', 'ann', { ban: 1_000 }],
      ['lobby', 'ann', { reason: 'spam', baan: 1 }],
      ...[0, Number.NaN, -1, 1.5, 31_536_000_001].map((ban): [string, string, unknown] => [
        'lobby',
        'ann',
        { reason: 'spam', ban },
      ]),
    ];
    for (const [room, user, options] of wrong) {
      const call = banning.rooms.kick(room, user, options as never);
      await expect(call, JSON.stringify(options)).rejects.toThrow(InvalidArgumentError);
    }
    await expect(plain.rooms.kick('lobby', 'ann', { reason: 'spam', ban: 1_000 })).rejects.toThrow(
      /bans: true/,
    );
    await expect(plain.rooms.unban('lobby', 'ann')).rejects.toThrow(/bans: true/);
    await banning.rooms.kick('lobby', 'nobody', { reason: 'spam' });
  });
});
