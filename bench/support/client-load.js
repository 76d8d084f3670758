// @ts-check
// Clients of the connections run whose own cost is measured: `rollcall/client`, and a bare WebSocket with JSON.parse.
import { connect } from 'rollcall/client';
import { WebSocket } from 'ws';
import { countMessage, expectMessages, someAtOnce } from './arrivals.js';

/**
 * One client in one room.
 *
 * @typedef {object} BenchClient
 * @property {() => Promise<unknown>} comeBack loses the connection; resolves when the room is joined again
 * @property {() => void} close
 */

/**
 * @param {string} url
 * @param {string} room
 * @returns {Promise<BenchClient>}
 */
async function rollcallClient(url, room) {
  /** @type {WebSocket | undefined} */
  let socket;
  class Socket extends WebSocket {
    /** @param {string} address @param {string[]} protocols */
    constructor(address, protocols) {
      super(address, protocols, { perMessageDeflate: false });
      socket = this;
    }
  }
  // Reconnects at once, as the bare client does.
  const client = connect({ url, WebSocket: Socket, backoff: { first: 1, max: 1 } });
  const joined = client.join(room);
  joined.on('message', countMessage);
  await joined.ready;
  return {
    comeBack: () =>
      new Promise((resolve) => {
        const off = joined.onState((state) => {
          if (state !== 'joined') return;
          off();
          resolve(undefined);
        });
        socket?.terminate();
      }),
    close: () => client.close(),
  };
}

/**
 * @param {string} url
 * @param {string} room
 * @returns {Promise<BenchClient>}
 */
async function bareClient(url, room) {
  /** @returns {Promise<WebSocket>} */
  const open = () =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(url, { perMessageDeflate: false });
      socket.on('error', reject);
      // As in a browser, and as rollcall/client listens: `ws` creates an event for each message.
      socket.addEventListener('message', ({ data }) => {
        const frame = JSON.parse(String(data));
        if (frame.type === 'event') countMessage();
        else if (frame.type === 'welcome') socket.send(JSON.stringify({ type: 'join', id: 1, room }));
        else if (frame.type === 'ok') resolve(socket);
        else reject(new Error(String(data)));
      });
    });
  let socket = await open();
  return {
    async comeBack() {
      socket.terminate();
      socket = await open();
    },
    close: () => socket.terminate(),
  };
}

/** @type {Record<string, (url: string, room: string) => Promise<BenchClient>>} */
const kinds = { client: rollcallClient, 'bare-client': bareClient };

/** @type {BenchClient[]} */
let clients = [];

/** @typedef {{ do: 'join', kind: string, port: number, count: number, spread: number } | { do: 'expect', count: number } | { do: 'come-back' | 'leave' | 'measure' }} ClientLoadRequest */

process.on('message', async (/** @type {ClientLoadRequest} */ request) => {
  if (request.do === 'join') {
    await someAtOnce(request.count, async (n) => {
      const url = `ws://127.0.0.1:${request.port}/?user=user-${n}`;
      const client = await kinds[request.kind]?.(url, `room-${n % request.spread}`);
      if (client === undefined) throw new Error(`no kind ${request.kind}`);
      clients.push(client);
    });
  } else if (request.do === 'come-back') {
    await someAtOnce(clients.length, async (n) => clients[n]?.comeBack());
  } else if (request.do === 'expect') {
    expectMessages(request.count);
  } else if (request.do === 'leave') {
    for (const client of clients) client.close();
    clients = [];
  }
  const { user, system } = process.cpuUsage();
  process.send?.({ cpu: user + system });
});
process.on('disconnect', () => process.exit());
