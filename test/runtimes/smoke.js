// @ts-check
// What a server with rollcall does, in short, on the packed package. `run.js` starts it under each runtime.
// Arguments: the port of a Redis of its own, and the client library.
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRollcall, defineChannel } from 'rollcall';
import { connect } from 'rollcall/client';
import { serveWebSocket } from 'rollcall/ws';
import { WebSocket, WebSocketServer } from 'ws';
import { createClient as createRedisClient, runChecks, standStill, until } from './support.js';

const [portText, library] = process.argv.slice(2);
const port = Number(portText);
const createClient = () => createRedisClient(String(library), port);
const admin = await createClient();
const killAll = async () => {
  await admin.command('CLIENT', 'KILL', 'TYPE', 'pubsub');
  await admin.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
};

/** @type {Record<string, () => Promise<void>>} */
const checks = {
  'history and presence through CLIENT KILL': async () => {
    const { client, end } = await createClient();
    const { pubsub, presence, close } = createRollcall({ redis: client, onError: () => {} });
    const channel = defineChannel('numbers:{id}', { history: { size: 1_000, ttl: 60_000 } })({
      id: randomUUID(),
    });
    /** @type {unknown[]} */
    const received = [];
    /** @type {unknown[]} */
    const gaps = [];
    await pubsub.subscribe(channel, (number) => received.push(number));
    await pubsub.subscribe('plain', () => {}, { onDiscontinuity: (gap) => gaps.push(gap) });
    await presence.setPresence('ann', 'socket-1', 'online');
    /** @type {string | undefined} */
    let first;
    for (let number = 1; number <= 60; number++) {
      if (number % 20 === 0) await killAll();
      // A call may be cut off; its key keeps it from being published twice.
      await until(`publication ${number}`, () =>
        pubsub.publish(channel, number, { idempotencyKey: String(number) }).then(
          ({ position }) => {
            first ??= position;
            return true;
          },
          () => false,
        ),
      );
    }
    await until('all messages', () => received.length >= 60);
    if (received.some((number, at) => number !== at + 1)) throw new Error(`received ${received.join()}`);
    await until('the report of a gap', () => gaps.length > 0);
    if (first === undefined) throw new Error('no position');
    const { channels } = await pubsub.recover({ channels: [[channel, first]] });
    if (channels.get(channel.name)?.messages.length !== 59) throw new Error('recover returns other messages');
    if ((await presence.getPresence('ann')).status !== 'online') throw new Error('ann is not online');
    await close();
    end();
  },

  'rollcall/ws and its client: reconnect and catch up': async () => {
    const { server, url, end } = await startServer();
    const make = (/** @type {string} */ user) =>
      connect({ url: `${url}/?user=${user}`, WebSocket: /** @type {any} */ (WebSocket) });
    const [ann, bob] = [make('ann'), make('bob')];
    /** @type {unknown[]} */
    const received = [];
    const hall = bob.join('hall');
    hall.on('said', (data) => received.push(data));
    await hall.ready;
    const room = ann.join('hall');
    await room.ready;
    for (let number = 1; number <= 30; number++) {
      await room.send('said', number);
      // The server ends every connection; clients come back and catch up.
      if (number === 10) for (const socket of server.clients) socket.terminate();
      if (number === 20) await killAll();
    }
    await until('all events', () => received.length >= 30);
    if (received.some((number, at) => number !== at + 1)) throw new Error(`received ${received.join()}`);
    await ann.close();
    await bob.close();
    await end();
  },

  'a client that answers no ping is closed': async () => {
    const { serving, url, end } = await startServer({ heartbeatInterval: 1_000, pongTimeout: 500 });
    await standStill(url);
    await until('the heartbeat', () => serving.stats().silent === 1);
    await until('the end of the connection', () => serving.stats().connections === 0);
    await end();
  },

  'a client that reads nothing is closed, and the others go on': async () => {
    const { rooms, serving, url, end } = await startServer({}, { maxBufferedBytes: 200_000 });
    await standStill(url, 'hall');
    const reader = connect({ url: `${url}/?user=bob`, WebSocket: /** @type {any} */ (WebSocket) });
    let count = 0;
    const hall = reader.join('hall');
    hall.on('said', () => count++);
    await hall.ready;
    await until('the slow client in the room', () => serving.stats().connections === 2);
    const text = 'x'.repeat(50_000);
    let sent = 0;
    await until('the end of the slow client', async () => {
      await rooms.broadcast('hall', 'said', text);
      sent++;
      return serving.stats().connections === 1;
    });
    await until('the events of the other', () => count === sent);
    await reader.close();
    await end();
  },
};

/**
 * @param {object} [options]
 * @param {object} [roomOptions]
 */
async function startServer(options = {}, roomOptions = {}) {
  const { client, end } = await createClient();
  const { rooms, close } = createRollcall({ redis: client, rooms: roomOptions, onError: () => {} });
  const http = createServer();
  const server = new WebSocketServer({ server: http });
  const serving = serveWebSocket(server, {
    rooms,
    onError: () => {},
    authenticate: (request) => new URL(request.url ?? '/', 'http://localhost').searchParams.get('user'),
    authorize: () => true,
    ...options,
  });
  await once(http.listen(0, '127.0.0.1'), 'listening');
  const { port: listening } = /** @type {import('node:net').AddressInfo} */ (http.address());
  return {
    rooms,
    server,
    serving,
    url: `ws://127.0.0.1:${listening}`,
    end: async () => {
      await serving.close({ drainPeriod: 0 });
      await close();
      http.close();
      end();
    },
  };
}

const failed = await runChecks(checks);
admin.end();
process.exit(failed === 0 ? 0 : 1);
