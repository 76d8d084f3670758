// @ts-check
import { once } from 'node:events';
import { createConnection } from 'node:net';

/**
 * Publishes `count` messages as fast as Redis accepts them, from prepared bytes: the sender must not
 * be slower than the receiver that is measured.
 *
 * @param {number} port
 * @param {Buffer[]} blocks PUBLISH commands, sent in turn, repeatedly
 * @param {number} perBlock commands in each of them
 * @param {number} count a multiple of `perBlock`
 */
export async function publishAtFullSpeed(port, blocks, perBlock, count) {
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
  for (let sent = 0; sent < count; sent += perBlock) {
    const block = /** @type {Buffer} */ (blocks[(sent / perBlock) % blocks.length]);
    if (!socket.write(block)) await once(socket, 'drain');
  }
  await done;
  socket.destroy();
}

/** Commands per block. */
export const PER_BLOCK = 1_000;

/**
 * Records the messages that a competitor publishes, and makes blocks for {@link publishAtFullSpeed} from them: each
 * competitor receives the bytes that it sends itself.
 *
 * @param {import('ioredis').Redis} control
 * @param {string} channel a part of the names of its channels
 * @param {() => Promise<{ count: number }>} sample makes the competitor publish
 */
export async function recordBlocks(control, channel, sample) {
  const connection = control.duplicate();
  /** @type {Buffer[]} */
  const commands = [];
  connection.on('pmessageBuffer', (_pattern, name, payload) =>
    commands.push(resp(['PUBLISH', name, payload])),
  );
  await connection.psubscribe(`*${channel}-*`);
  const { count } = await sample();
  await connection.ping();
  connection.disconnect();
  if (commands.length !== count) throw new Error(`${commands.length} of ${count} messages were published`);
  const blocks = [];
  for (let at = 0; at < count; at += PER_BLOCK)
    blocks.push(Buffer.concat(commands.slice(at, at + PER_BLOCK)));
  return blocks;
}

/**
 * @param {(string | Buffer)[]} command
 */
function resp(command) {
  const parts = command.flatMap((part) => [
    Buffer.from(`$${Buffer.byteLength(part)}\r\n`),
    Buffer.from(part),
    Buffer.from('\r\n'),
  ]);
  return Buffer.concat([Buffer.from(`*${command.length}\r\n`), ...parts]);
}
