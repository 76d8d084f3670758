import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { PerMessageDeflateOptions } from 'ws';
import { createEmbeddedRedis, type EmbeddedRedis } from '../../src/testing/embedded.js';
import { WsFixture, type WsNode } from '../shared/ws-fixture.js';
import { waitFor } from '../support/wait.js';

// Frames as WebSocket clients receive them: every header length, with and without compression.

let redis: EmbeddedRedis;
let fixture: WsFixture;
beforeAll(async () => {
  redis = await createEmbeddedRedis();
});
afterEach(() => fixture.end());
afterAll(() => redis.close());

/** A server and a client in the room "lobby". */
async function join(
  perMessageDeflate: boolean | PerMessageDeflateOptions,
  offer: boolean | PerMessageDeflateOptions,
  prepare?: (node: WsNode['wss']) => void,
) {
  fixture = new WsFixture(() => ({ client: () => redis.client, end: async () => {} }));
  const node = await fixture.node({
    ws: { perMessageDeflate },
    rooms: { maxBufferedBytes: 4_000_000 },
    ...(prepare === undefined ? {} : { prepare }),
  });
  const client = fixture.open(`${node.url}/?user=ann`, undefined, { perMessageDeflate: offer });
  await client.welcome();
  await client.get({ type: 'join', room: 'lobby' });
  return { node, client };
}

const texts = [0, 1, 60, 120, 126, 127, 1_000, 1_024, 2_000, 65_400, 65_536, 70_000, 300_000].flatMap(
  (length) => ['ü'.repeat(length / 2), randomBytes(length).toString('base64').slice(0, length)],
);

/** Makes `ws` look like an implementation that hides its TCP socket. */
const hideSocket = (wss: WsNode['wss']) => {
  wss.on('connection', (socket) => {
    const { _socket } = socket as unknown as { _socket: unknown };
    let reads = 0;
    Object.defineProperty(socket, '_socket', { get: () => (++reads === 1 ? undefined : _socket) });
  });
};

test.each([
  ['without compression', false, false, undefined],
  ['with compression', true, true, undefined],
  ['compressed above a threshold', { threshold: 100 }, true, undefined],
  ['with a small window', { serverMaxWindowBits: 9 }, true, undefined],
  ['with the window of the client', true, { serverMaxWindowBits: 10 }, undefined],
  ['with a window that zlib does not support', { serverMaxWindowBits: 8 }, true, undefined],
  ['without context takeover', { serverNoContextTakeover: true }, true, undefined],
  ['through the send of ws', false, false, hideSocket],
  ['through the send of ws, with compression', true, true, hideSocket],
] as const)('messages of any length arrive unchanged and in order %s', async (_, server, offer, prepare) => {
  const { node, client } = await join(server, offer, prepare);
  expect(client.socket.extensions).toBe(server === false ? '' : 'permessage-deflate');
  for (const text of texts) await node.rooms.broadcast('lobby', 'said', text);
  await waitFor(() => client.receivedData('lobby').length === texts.length, { timeout: 8_000 });
  expect(client.receivedData('lobby')).toEqual(texts);
  // Replies to one client are sent the same way.
  const history = await client.get({ type: 'history', room: 'lobby', limit: texts.length });
  expect((history as { events: { data: unknown }[] }).events.map(({ data }) => data)).toEqual(
    texts.slice(-(history as { events: unknown[] }).events.length).reverse(),
  );
  await client.end();
});

test('with compression, healthy readers survive a burst that exceeds the limit uncompressed', async () => {
  fixture = new WsFixture(() => ({ client: () => redis.client, end: async () => {} }));
  const node = await fixture.node({ ws: { perMessageDeflate: true }, rooms: { maxBufferedBytes: 200_000 } });
  const clients = Array.from({ length: 20 }, (_, at) =>
    fixture.open(`${node.url}/?user=u${at}`, undefined, { perMessageDeflate: true }),
  );
  for (const client of clients) {
    await client.welcome();
    await client.get({ type: 'join', room: 'lobby' });
  }
  const text = randomBytes(10).toString('hex').repeat(750);
  await Promise.all(Array.from({ length: 100 }, (_, at) => node.rooms.broadcast('lobby', 'said', text + at)));
  await waitFor(() => clients.every((client) => client.receivedData('lobby').length === 100), {
    timeout: 8_000,
  });
  expect(node.rooms.stats()).toMatchObject({ dropped: 0, closedSlow: 0, sockets: 20 });
});
