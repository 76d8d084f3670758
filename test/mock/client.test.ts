import { connect } from 'rollcall/client';
import { createEmbeddedRedis, type EmbeddedRedis } from 'rollcall/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { WsFixture } from '../shared/ws-fixture.js';
import { waitFor } from '../support/wait.js';

// rollcall/client with a real server: behaviour that depends on both.

let redis: EmbeddedRedis;
const fixture = new WsFixture(() => ({ client: () => redis.connect(), end: async () => {} }));

beforeEach(async () => {
  redis = await createEmbeddedRedis();
});

afterEach(async () => {
  await fixture.end();
  await redis.close();
});

/** Drops the frames of the server while `dropsFrames`. */
function open(url: string, user: string) {
  const link = { dropsFrames: false };
  class Cuttable extends WebSocket {
    override emit(event: string | symbol, ...args: unknown[]): boolean {
      return (link.dropsFrames && event === 'message') || super.emit(event, ...args);
    }
  }
  const client = connect({
    url: `${url}/?user=${user}`,
    WebSocket: Cuttable as never,
    backoff: { first: 10 },
  });
  fixture.before(() => client.close());
  return { client, link };
}

test('a client that reconnects does not receive its own events with echo: false, nor others with its except', async () => {
  const node = await fixture.node({ rooms: { history: { size: 100, ttl: 60_000 } } });
  const [ann, bob] = [open(node.url, 'ann'), open(node.url, 'bob')];
  const rooms = [ann, bob].map(({ client }) => client.join('lobby'));
  const [annRoom, bobRoom] = rooms as [(typeof rooms)[0], (typeof rooms)[0]];
  await Promise.all(rooms.map(({ ready }) => ready));
  const received: [string, unknown][] = [];
  annRoom.on('message', (data) => received.push(['ann', data]));
  bobRoom.on('message', (data) => received.push(['bob', data]));
  const excepted = ann.client.socket as string;
  await annRoom.send('message', 1, { echo: false });
  ann.link.dropsFrames = true;
  const sent = annRoom.send('message', 2, { echo: false });
  await waitFor(() => received.length === 2);
  ann.client.reconnect();
  await node.rooms.broadcast('lobby', 'message', 3, { except: excepted });
  ann.link.dropsFrames = false;
  await sent;
  // A second reconnect, so that the id must survive both.
  ann.client.reconnect();
  await waitFor(() => ann.client.state === 'open' && annRoom.state === 'joined');
  expect(ann.client.socket).not.toBe(excepted);
  await node.rooms.broadcast('lobby', 'message', 4, { except: ann.client.socket as string });
  await node.rooms.broadcast('lobby', 'message', 'end');
  await waitFor(() => received.filter(([, data]) => data === 'end').length === 2);
  expect(received.filter(([who]) => who === 'ann')).toEqual([['ann', 'end']]);
  expect(received.filter(([who]) => who === 'bob').map(([, data]) => data)).toEqual([1, 2, 3, 4, 'end']);
});

test('events with echo: false reach another client of the same user', async () => {
  const node = await fixture.node();
  const [phone, laptop] = [open(node.url, 'ann').client, open(node.url, 'ann').client];
  const [from, to] = [phone.join('lobby'), laptop.join('lobby')];
  await Promise.all([from.ready, to.ready]);
  const received: unknown[] = [];
  to.on('message', (data) => received.push(data));
  await from.send('message', 1, { echo: false });
  await waitFor(() => received.length === 1);
});

test('a client that the server removes from a room receives an error, and can join again', async () => {
  const node = await fixture.node();
  const { client } = open(node.url, 'ann');
  const room = client.join('lobby');
  await room.ready;
  const states: string[] = [];
  room.onState((state) => states.push(state));
  const [socket] = node.rooms.socketsOf('ann');
  await socket?.leave('lobby');
  await waitFor(() => room.state === 'refused');
  expect(room.error).toMatchObject({
    code: 'REMOVED',
    message: 'the server has removed this socket from the room',
  });
  client.reconnect();
  await waitFor(() => client.state === 'open');
  expect(node.rooms.socketsOf('ann').flatMap(({ rooms }) => rooms)).toEqual([]);
  room.retry();
  await waitFor(() => room.state === 'joined');
  await room.send('message', 'back');
  expect(states).toEqual(['refused', 'joining', 'joined']);
});

test('a client that leaves a room receives no error', async () => {
  const node = await fixture.node();
  const client = await fixture.client(node, 'ann');
  await client.ask({ type: 'join', room: 'lobby' });
  await client.ask({ type: 'leave', room: 'lobby' });
  await client.settled();
  expect(client.errors).toEqual([]);
});
