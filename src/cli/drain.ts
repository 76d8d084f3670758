import { setTimeout as sleep } from 'node:timers/promises';
import { escapeId, unescapeId } from '../presence/ids.js';
import { type PartitionKeys, splitIds } from '../presence/keys.js';
import type { CliConnection } from './cli-connection.js';
import type { CliCommand } from './command.js';
import { confirm } from './confirm.js';
import { readLeases } from './node-leases.js';
import { countOf, formatCount, printable } from './output.js';
import { CliError } from './usage-error.js';
import { ROOM_SERVICE_OPTIONS, UserChannel } from './user-channel.js';
import { numberOption } from './values.js';

/** In ms. */
const POLL_INTERVAL = 250;
/** Messages at once; the rest of the second is waited for. */
const BATCHES_PER_SECOND = 10;

interface OwnedSocket {
  readonly userId: string;
  readonly socketId: string;
}

export const drain: CliCommand = {
  name: 'drain',
  args: ['NODE'],
  summary: 'asks the clients of a process to reconnect (1012), so that it can be stopped; asks first',
  changes: true,
  options: {
    rate: { type: 'string', help: 'connections per second (default: 500)' },
    wait: { type: 'string', help: 'for how many ms to wait until the sockets are gone (default: 10000)' },
    reason: { type: 'string', help: 'the reason of the close frame (default: none)' },
    yes: { type: 'boolean', help: 'do not ask' },
    ...ROOM_SERVICE_OPTIONS,
  },
  async run({ open, output, args, values }) {
    const [nodeId = ''] = args;
    const rate = numberOption('rate', values['rate'], 500, 1);
    const wait = numberOption('wait', values['wait'], 10_000, 0);
    const reason = String(values['reason'] ?? '');
    const connection = await open();
    const { keys } = await connection.requirePresence();
    const lease = (await readLeases(connection, keys)).find((each) => each.nodeId === nodeId);
    if (lease === undefined) {
      throw new CliError(`there is no process ${JSON.stringify(nodeId)}: rollcall nodes lists them`);
    }
    if (lease.state !== 'alive') {
      throw new CliError(
        `the lease of ${printable(nodeId)} has ended: no client can be asked, and the other processes remove its sockets`,
      );
    }
    const sockets = await readSockets(connection, nodeId, lease.partitions);
    const question = `Ask the clients of ${countOf(sockets.length, 'socket')} of ${printable(nodeId)} to reconnect? Take the process out of the load balancer first.`;
    await confirm(question, values['yes'] === true);
    const channel = new UserChannel(connection, values);
    try {
      const batch = Math.ceil(rate / BATCHES_PER_SECOND);
      for (let at = 0; at < sockets.length; at += batch) {
        if (at > 0) await sleep((1_000 * batch) / rate);
        const part = sockets.slice(at, at + batch);
        await Promise.all(
          part.map(({ userId, socketId }) => channel.disconnect(userId, { reason, nodeId, socketId })),
        );
      }
    } finally {
      await channel.close();
    }
    const asked = new Set(sockets.map(({ socketId }) => socketId));
    const end = performance.now() + wait;
    let remaining: OwnedSocket[];
    for (;;) {
      remaining = await readSockets(connection, nodeId, lease.partitions);
      if (!remaining.some(({ socketId }) => asked.has(socketId)) || performance.now() >= end) break;
      await sleep(POLL_INTERVAL);
    }
    const left = remaining.filter(({ socketId }) => asked.has(socketId)).length;
    const result = { nodeId, asked: asked.size, left, connectedMeanwhile: remaining.length - left };
    output.print(result, () => [
      `${printable(nodeId)}: ${formatCount(asked.size - left)} of ${formatCount(asked.size)} sockets have left`,
      ...(left === 0
        ? []
        : [`${formatCount(left)} are still there: sockets without a RoomService cannot be asked`]),
      ...(result.connectedMeanwhile === 0
        ? []
        : [
            `${formatCount(result.connectedMeanwhile)} have connected in the meantime: is it out of the load balancer?`,
          ]),
    ]);
    return left === 0 ? 0 : 1;
  },
};

const PAGE = 2_000;

async function readSockets(
  connection: CliConnection,
  nodeId: string,
  partitions: readonly PartitionKeys[],
): Promise<OwnedSocket[]> {
  const found = new Map<string, OwnedSocket>();
  for (const keys of partitions) {
    const key = keys.node(escapeId(nodeId));
    let cursor = '0';
    do {
      const [reply] = await connection.run([['SSCAN', key, cursor, 'COUNT', String(PAGE)]], { key });
      const [next, page] = reply as unknown as [string, readonly string[]];
      cursor = next;
      for (const member of page) {
        const [user, socket = ''] = splitIds(member);
        if (user !== '') found.set(member, { userId: unescapeId(user), socketId: unescapeId(socket) });
      }
    } while (cursor !== '0');
  }
  return [...found.values()];
}
