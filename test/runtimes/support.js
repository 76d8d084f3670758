// @ts-check
// Helpers of the scripts that run.js starts under each runtime.
import { createConnection } from 'node:net';

const DEADLINE = 15_000;

/**
 * @param {string} what
 * @param {() => unknown} check
 */
export async function until(what, check) {
  const end = Date.now() + DEADLINE;
  while (!(await check())) {
    if (Date.now() > end) throw new Error(`timed out waiting for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/**
 * @param {string} library
 * @param {number} port
 * @returns {Promise<{ client: any, command: (...args: string[]) => Promise<unknown>, end: () => void }>}
 */
export async function createClient(library, port) {
  if (library === 'ioredis') {
    const { Redis } = await import('ioredis');
    const client = new Redis(port, '127.0.0.1');
    client.on('error', () => {});
    return {
      client,
      command: (name, ...args) => client.call(/** @type {string} */ (name), ...args),
      end: () => client.disconnect(),
    };
  }
  const redis = await import('redis');
  const client = redis.createClient({ url: `redis://127.0.0.1:${port}` });
  client.on('error', () => {});
  await client.connect();
  return { client, command: (...args) => client.sendCommand(args), end: () => client.destroy() };
}

/**
 * A client that connects, joins, and reads nothing from then on.
 *
 * @param {string} url
 * @param {string} [room]
 */
export async function standStill(url, room) {
  const { hostname, port: at, pathname } = new URL(url);
  const socket = createConnection(Number(at), hostname);
  socket.on('error', () => {});
  socket.write(
    `GET ${pathname}?user=slow HTTP/1.1\r\nHost: ${hostname}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: rollcall.1\r\n\r\n',
  );
  let text = '';
  socket.on('data', (data) => {
    text += data.toString('latin1');
  });
  await until('the handshake', () => text.includes('\r\n\r\n'));
  if (room !== undefined) {
    const frame = Buffer.from(join(room));
    // A client's frames are masked; a mask of zeros changes nothing.
    socket.write(Buffer.concat([Buffer.from([0x81, 0x80 | frame.length, 0, 0, 0, 0]), frame]));
    await until('the reply to the join', () => text.includes('"ok"'));
  }
  socket.pause();
}

/** @param {string} room */
const join = (room) => JSON.stringify({ type: 'join', id: 1, room });

/**
 * Resolves with the number of failed checks.
 *
 * @param {Record<string, () => Promise<void>>} checks
 */
export async function runChecks(checks) {
  let failed = 0;
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check();
      console.log(`ok: ${name}`);
    } catch (error) {
      failed++;
      console.log(`FAILED: ${name}: ${error instanceof Error ? error.stack : error}`);
    }
  }
  return failed;
}
