// @ts-check
import { once } from 'node:events';
import { createConnection } from 'node:net';
import { message, VARIETY } from './messages.js';

/**
 * Publishes `count` messages as fast as Redis takes them, from ready-made bytes: the sender must not
 * be slower than the receiver that is being measured.
 *
 * @param {number} port
 * @param {string} channel
 * @param {number} count a multiple of {@link VARIETY}
 * @param {number} bytes
 */
export async function flood(port, channel, count, bytes) {
  const socket = createConnection(port, '127.0.0.1');
  let replies = 0;
  const done = new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.on('data', (chunk) => {
      for (const byte of chunk) if (byte === 0x0a) replies++;
      if (replies >= count) resolve(undefined);
    });
  });
  await once(socket, 'connect');
  const commands = [];
  for (let n = 0; n < VARIETY; n++)
    commands.push(resp(['PUBLISH', channel, JSON.stringify(message(n, bytes))]));
  const block = Buffer.from(commands.join(''));
  for (let sent = 0; sent < count; sent += VARIETY) if (!socket.write(block)) await once(socket, 'drain');
  await done;
  socket.destroy();
}

/**
 * @param {string[]} command
 */
function resp(command) {
  return `*${command.length}\r\n${command.map((part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`).join('')}`;
}
