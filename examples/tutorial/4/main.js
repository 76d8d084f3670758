// @ts-check
import { once } from 'node:events';
import { createChat } from '../3/server.js';
import { createCookie } from '../session.js';
import { connectWithCookie, follow } from './client.js';

const MESSAGES = 20;

/** @param {{ createRedis: () => import('rollcall').RedisClient, log: (line: string) => void, ports: number[] }} options */
export async function main({ createRedis, log, ports }) {
  const chat = createChat(createRedis());
  await once(chat.server.listen(ports[0], '127.0.0.1'), 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (chat.server.address());

  const ann = connectWithCookie(`http://127.0.0.1:${port}`, createCookie('ann'));
  const bob = connectWithCookie(`http://127.0.0.1:${port}`, createCookie('bob'));
  /** @type {string[]} */
  const received = [];
  let gaps = 0;
  /** @type {() => void} */
  let onLast = () => {};
  const last = new Promise((resolve) => {
    onLast = () => resolve(undefined);
  });
  const onMessage = (/** @type {string} */ text) => {
    received.push(text);
    if (text === String(MESSAGES)) onLast();
  };
  const reading = follow(bob, { onMessage, onGap: () => void gaps++ });
  await reading.ready;

  const writing = follow(ann, { onMessage: () => {}, onGap: () => {} });
  let cut = 0;
  for (let n = 1; n <= MESSAGES; n++) {
    const sent = writing.send('message', { text: String(n) });
    // Every connection is cut, now and then in the middle of a send.
    if (n % 5 === 0) {
      for (const socket of chat.webSockets.clients) socket.terminate();
      cut++;
    }
    await sent;
  }
  await last;

  const lost = MESSAGES - new Set(received).size;
  log(
    `cut ${cut} times: sent ${MESSAGES}, lost ${lost}, doubled ${received.length - MESSAGES + lost}, gaps ${gaps}`,
  );

  for (const client of [ann, bob]) client.close();
  await chat.serving.close();
  await chat.close();
  chat.server.close();
}
