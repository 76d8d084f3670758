// @ts-check
// Connections on the servers of this runtime, with `rollcall/server` and `rollcall/crossws`: handshake, limits, heartbeat,
// slow consumer, shutdown and recovery. `run.js` starts it. Arguments: the port of a Redis of its own, and the client library.
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createRollcall } from 'rollcall';
import { connect } from 'rollcall/client';
import { serveCrossws } from 'rollcall/crossws';
import { createConnectionHandler } from 'rollcall/server';
import { createClient, runChecks, standStill, until } from './support.js';

const [portText, library] = process.argv.slice(2);
const { Bun, Deno } = /** @type {any} */ (globalThis);
// Node 20 has none.
const WebSocket = globalThis.WebSocket ?? (await import('ws')).WebSocket;

async function sparePort() {
  const probe = createServer();
  await once(probe.listen(0, '127.0.0.1'), 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (probe.address());
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

/** @typedef {{ stats(): import('rollcall/server').ServeStats, close(options?: object): Promise<void> }} Serving */
/** @typedef {(options: any, port: number) => Promise<{ serving: Serving, end: () => unknown }>} Start */

/**
 * An example of a server without a framework.
 *
 * @param {string} file
 * @param {(server: any) => unknown} end
 * @returns {Start}
 */
const example = (file, end) => async (options, port) => {
  const { serve } = await import(file);
  const handler = createConnectionHandler(options);
  const server = serve(handler, port);
  const serving = {
    stats: () => handler.stats(),
    close: (/** @type {object} */ given) => handler.shutdown(given),
  };
  return { serving, end: () => end(server) };
};

/** @type {Record<string, Start>} */
const transports = {};
if (Bun !== undefined) {
  transports['Bun.serve'] = example('./bun.js', (server) => server.stop(true));
  transports['crossws in Bun'] = async (options, port) => {
    const serving = serveCrossws(options);
    const { default: adapter } = await import('crossws/adapters/bun');
    const { websocket, handleUpgrade } = adapter({ hooks: serving.hooks });
    const server = Bun.serve({ port, hostname: '127.0.0.1', websocket, fetch: handleUpgrade });
    return { serving, end: () => server.stop(true) };
  };
} else if (Deno !== undefined) {
  transports['Deno.serve'] = example('./deno.js', (server) => server.shutdown());
  transports['crossws in Deno'] = async (options, port) => {
    const serving = serveCrossws(options);
    const { default: adapter } = await import('crossws/adapters/deno');
    const { handleUpgrade } = adapter({
      hooks: serving.hooks,
      idleTimeout: options.heartbeatInterval ? 2 : 30,
    });
    const server = Deno.serve({ port, hostname: '127.0.0.1' }, handleUpgrade);
    return { serving, end: () => server.shutdown() };
  };
} else {
  transports['crossws in Node'] = async (options, port) => {
    const { createApp } = await import(/** @type {string} */ ('./crossws.js'));
    const { server, serving } = createApp(options);
    await once(server.listen(port, '127.0.0.1'), 'listening');
    return { serving, end: () => server.close() };
  };
}

/**
 * @param {Start} start
 * @param {object} [options]
 * @param {object} [roomOptions]
 */
async function startServer(start, options = {}, roomOptions = {}) {
  const { client, end: endClient } = await createClient(String(library), Number(portText));
  /** @type {string[]} */
  const errors = [];
  const onError = (/** @type {Error} */ error) => void errors.push(error.message);
  const { rooms, close } = createRollcall({ redis: client, rooms: roomOptions, onError });
  const port = await sparePort();
  const { serving, end } = await start(
    {
      rooms,
      onError,
      authenticate: (/** @type {Request} */ { url, headers }) =>
        headers.has('upgrade') ? new URL(url).searchParams.get('user') : null,
      authorize: () => true,
      ...options,
    },
    port,
  );
  return {
    rooms,
    serving,
    errors,
    url: `ws://127.0.0.1:${port}/chat`,
    end: async () => {
      await serving.close();
      await end();
      await close();
      endClient();
    },
  };
}

/**
 * Undefined if the handshake fails, for which the WebSocket of Node 22 has no close event.
 *
 * @param {string} url
 */
async function closeCode(url) {
  const socket = new WebSocket(url, ['rollcall.1']);
  return new Promise((resolve) => {
    socket.onerror = () => resolve(undefined);
    socket.onclose = (/** @type {{ code: number }} */ { code }) => resolve(code);
  });
}

/** @param {unknown} actual @param {unknown} expected @param {string} what */
function equal(actual, expected, what) {
  if (JSON.stringify(actual) !== JSON.stringify(expected))
    throw new Error(`${what} is ${JSON.stringify(actual)} instead of ${JSON.stringify(expected)}`);
}

/** @param {Start} start @returns {Record<string, () => Promise<void>>} */
const checksOf = (start) => ({
  'a client without a user is refused': async () => {
    const { url, serving, errors, end } = await startServer(start);
    equal(await closeCode(url), 4401, 'the close code');
    await until('the end of the connection', () => serving.stats().connections === 0);
    equal(serving.stats().refused, 1, 'refused');
    await end();
    const other = await startServer(start, { refuseWith: 'status' });
    await closeCode(other.url);
    // The WebSocket of Node 24 repeats a handshake that was answered with 401.
    if (other.serving.stats().refused === 0) throw new Error('no handshake was refused');
    await other.end();
    equal([...errors, ...other.errors], [], 'the errors');
  },

  'a frame that is too long closes the connection': async () => {
    const { url, serving, errors, end } = await startServer(start, { maxFrameBytes: 1_000 });
    const socket = new WebSocket(`${url}?user=ann`, ['rollcall.1']);
    const closed = new Promise((resolve) => {
      socket.onclose = (/** @type {{ code: number }} */ { code }) => resolve(code);
    });
    await new Promise((resolve) => {
      socket.onmessage = resolve;
    });
    equal(socket.protocol, 'rollcall.1', 'the subprotocol');
    socket.send(JSON.stringify({ type: 'ping', pad: 'x'.repeat(1_000) }));
    equal(await closed, 1009, 'the close code');
    await until('the end of the connection', () => serving.stats().connections === 0);
    await end();
    equal(errors, [], 'the errors');
  },

  'a client that answers no ping is closed': async () => {
    // Deno.serve has only the pings of the runtime, after 30 s in the example.
    if (start === transports['Deno.serve']) return;
    const { url, serving, end } = await startServer(start, { heartbeatInterval: 1_000, pongTimeout: 500 });
    const ann = connect({ url: `${url}?user=ann`, WebSocket });
    await standStill(url);
    await until('both connections', () => serving.stats().connections === 2);
    await until('the end of the silent one', () => serving.stats().connections === 1);
    equal(ann.state, 'open', 'the other client');
    await ann.close();
    await end();
  },

  'a client that reads nothing is closed, and the others go on': async () => {
    const { rooms, url, serving, end } = await startServer(start, {}, { maxBufferedBytes: 200_000 });
    await standStill(url, 'hall');
    const reader = connect({ url: `${url}?user=bob`, WebSocket });
    let count = 0;
    const hall = reader.join('hall');
    hall.on('said', () => count++);
    await hall.ready;
    const text = 'x'.repeat(50_000);
    let sent = 0;
    await until('the slow consumer', async () => {
      await rooms.broadcast('hall', 'said', text);
      sent++;
      return rooms.stats().closedSlow === 1;
    });
    await until('the events of the other', () => count === sent);
    await until('the end of the slow connection', () => serving.stats().connections === 1);
    await reader.close();
    await end();
  },

  'rollcall/client misses nothing through cut connections and a shutdown': async () => {
    const one = await startServer(start);
    const two = await startServer(start);
    let { url } = one;
    const client = connect({ url: () => `${url}?user=ann`, WebSocket, backoff: { first: 20, max: 100 } });
    /** @type {string[]} */
    const reasons = [];
    client.on('reconnecting', ({ code }) => reasons.push(String(code)));
    /** @type {unknown[]} */
    const received = [];
    const hall = client.join('hall');
    hall.on('said', (data) => received.push(data));
    await hall.ready;
    /** @type {Promise<void> | undefined} */
    let closing;
    for (let at = 0; at < 30; at++) {
      if (at === 10) for (const socket of one.rooms.socketsOf('ann')) socket.close(4000, 'cut');
      if (at === 20) {
        await until('the client', () => client.state === 'open');
        url = two.url;
        closing = one.serving.close();
      }
      await two.rooms.broadcast('hall', 'said', at);
    }
    await until('all events', () => received.length >= 30);
    equal(
      received,
      Array.from({ length: 30 }, (_, at) => at),
      'what was received',
    );
    await closing;
    equal(reasons, ['4000', '1012'], 'the close codes');
    await client.close();
    await until('the end of the connection', () => two.serving.stats().connections === 0);
    equal(one.serving.stats().connections, 0, 'the connections left');
    equal(two.rooms.stats().sockets, 0, 'the sockets left');
    await one.end();
    await two.end();
    equal([...one.errors, ...two.errors], [], 'the errors');
  },
});

let failed = 0;
for (const [name, start] of Object.entries(transports)) {
  console.log(name);
  failed += await runChecks(checksOf(start));
}
process.exit(failed === 0 ? 0 : 1);
