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

/** @typedef {{ channel: Buffer, payload: Buffer }} Recorded */

/**
 * Records the messages that a competitor publishes: each competitor receives the bytes that it sends itself.
 *
 * @param {import('ioredis').Redis} control
 * @param {string} channel a part of the names of its channels
 * @param {() => Promise<{ count: number }>} sample makes the competitor publish
 * @returns {Promise<Recorded[]>}
 */
export async function recordMessages(control, channel, sample) {
  const connection = control.duplicate();
  /** @type {Recorded[]} */
  const messages = [];
  connection.on('pmessageBuffer', (_pattern, name, payload) => messages.push({ channel: name, payload }));
  await connection.psubscribe(`*${channel}-*`);
  const { count } = await sample();
  await connection.ping();
  connection.disconnect();
  if (messages.length !== count) throw new Error(`${messages.length} of ${count} messages were published`);
  return messages;
}

/**
 * Blocks for {@link publishAtFullSpeed} of recorded messages.
 *
 * @param {Recorded[]} messages
 */
export function toBlocks(messages) {
  const commands = messages.map(({ channel, payload }) => resp(['PUBLISH', channel, payload]));
  const blocks = [];
  for (let at = 0; at < commands.length; at += PER_BLOCK)
    blocks.push(Buffer.concat(commands.slice(at, at + PER_BLOCK)));
  return blocks;
}

/**
 * Recorded messages with history, sent again and again. Each names its position and its predecessor: a subscriber would
 * take a repeated one for a duplicate. So every repetition continues the chain of its channel.
 *
 * @param {Recorded[]} recorded
 */
export function continueChains(recorded) {
  /** @type {Map<string, string>} */
  const last = new Map();
  const messages = recorded.map(({ channel, payload }) => {
    const end = payload.indexOf('\n');
    const [magic = '', position = ''] = payload.toString('latin1', 0, end).split(':');
    last.set(channel.toString(), position);
    return { channel, magic, body: payload.subarray(end) };
  });
  let time = Math.max(...[...last.values()].map((position) => Number(position.split('-')[0])));
  let next = 0;
  /**
   * @param {number} count
   * @returns {Recorded[]}
   */
  return (count) =>
    Array.from({ length: count }, () => {
      const { channel, magic, body } = /** @type {typeof messages[0]} */ (messages[next++ % messages.length]);
      const name = channel.toString();
      const position = `${++time}-1`;
      const header = Buffer.from(`${magic}:${position}:${last.get(name)}`);
      last.set(name, position);
      return { channel, payload: Buffer.concat([header, body]) };
    });
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
