import type { Json } from '../internal/codec.js';
import { escapeId } from '../presence/ids.js';
import { joinIds, NO_PROCESS, type PartitionKeys, partitionOf, splitIds } from '../presence/keys.js';
import { decodeOwnStatus, decodeRecord } from '../presence/record.js';
import type { OwnStatus, PresenceData } from '../presence/types.js';
import type { PlainCommand, Reply } from '../redis/driver.js';
import type { CliConnection } from './cli-connection.js';
import type { CliCommand } from './command.js';
import { type NodeLeaseInfo, readLeases } from './node-leases.js';
import { describeLease } from './nodes.js';
import { formatDuration, printable, table } from './output.js';
import { readOwned } from './owned-by-node.js';
import { toPairs } from './replies.js';

interface SocketReport {
  readonly socketId: string;
  readonly nodeId: string;
  readonly status: string;
  readonly connectedAt: Date;
  readonly meta?: Json;
  /** Of the node, or of the socket's own TTL; `unlisted`: the process that owned the socket is gone. */
  readonly state: NodeLeaseInfo['state'] | 'unlisted';
  readonly leaseLeft?: number;
}

interface UserReport {
  readonly userId: string;
  readonly status: string;
  /** Why the user has this status. */
  readonly why: string;
  readonly lastSeen?: Date;
  /** The user hides it from other users. */
  readonly lastSeenHidden?: boolean;
  readonly version?: number;
  readonly ownStatus?: OwnStatus;
  readonly graceUntil?: Date;
  readonly sockets: readonly SocketReport[];
  readonly rooms: readonly string[];
}

export const who: CliCommand = {
  name: 'who',
  args: ['USER'],
  summary: 'shows a user: status and why, sockets and their processes, rooms, last seen',
  options: {},
  async run({ open, output, args }) {
    const [userId = ''] = args;
    const connection = await open();
    const { keys } = await connection.requirePresence();
    const report = await readUser(connection, keys, userId);
    output.print(report ?? { userId, status: null }, () =>
      report === undefined
        ? [`no record of user ${printable(userId)}: never seen, or forgotten after lastSeenTtl`]
        : describe(report),
    );
    return report === undefined ? 1 : 0;
  },
};

async function readUser(
  connection: CliConnection,
  allKeys: readonly PartitionKeys[],
  userId: string,
): Promise<UserReport | undefined> {
  const user = escapeId(userId);
  const keys = allKeys[partitionOf(userId, allKeys.length)] as PartitionKeys;
  const commands: PlainCommand[] = [['GET', keys.user(user)], ['HGETALL', keys.sockets(user)], ['TIME']];
  const [text, hash, time] = await connection.run(commands, { key: keys.nodes });
  const entries = toPairs(hash);
  if (typeof text !== 'string' && entries.size === 0) return undefined;
  const record = typeof text === 'string' ? decodeRecord(userId, text, true) : undefined;
  const leases = new Map((await readLeases(connection, allKeys)).map((lease) => [lease.nodeId, lease]));
  const [seconds, micros] = time as readonly Reply[];
  const now = Number(seconds) * 1_000 + Number(micros) / 1_000;
  const sockets = (record?.sockets ?? []).map((socket): SocketReport => {
    if (socket.nodeId === NO_PROCESS) {
      // Its own TTL takes the place of a lease.
      const end = Number(splitIds(entries.get(joinIds(NO_PROCESS, escapeId(socket.socketId))) ?? '')[0]);
      return { ...socket, state: end > now ? 'alive' : 'suspect', leaseLeft: end - now };
    }
    const lease = leases.get(socket.nodeId);
    if (lease === undefined) return { ...socket, state: 'unlisted' };
    return { ...socket, state: lease.state, leaseLeft: lease.left };
  });
  const layers = entries.get('"status');
  const ownStatus = layers === undefined ? undefined : decodeOwnStatus(layers, true);
  const graceEnd = Number(splitIds(entries.get('"grace') ?? '')[0]);
  return {
    userId,
    status: record?.status ?? 'offline',
    why: explain({ record, sockets, ownStatus, graceEnd, now }),
    ...(record === undefined ? {} : { lastSeen: record.lastSeen, version: record.version }),
    ...(record?.lastSeenHidden === true ? { lastSeenHidden: true } : {}),
    ...(ownStatus === undefined ? {} : { ownStatus }),
    ...(graceEnd > 0 ? { graceUntil: new Date(graceEnd) } : {}),
    sockets,
    rooms: await readRooms(connection, allKeys, user, entries.keys()),
  };
}

interface Explained {
  readonly record: PresenceData | undefined;
  readonly sockets: readonly SocketReport[];
  readonly ownStatus: OwnStatus | undefined;
  readonly graceEnd: number;
  readonly now: number;
}

function explain({ record, sockets, ownStatus, graceEnd, now }: Explained): string {
  if (record === undefined) return 'the record has expired or was evicted; the next write brings it back';
  const own = ownStatus?.status ?? '';
  const until = ownStatus?.until?.getTime() ?? 0;
  const ends = until > 0 ? ` for another ${formatDuration(Math.max(until - now, 0))}` : '';
  const gone = sockets.filter(({ state }) => state !== 'alive').length;
  const doubt =
    gone === 0
      ? ''
      : `; ${gone} of them on processes whose lease has ended: living processes remove them within a lease and 2 s`;
  if (sockets.length > 0) {
    const have = `${sockets.length} ${sockets.length === 1 ? 'socket' : 'sockets'}${doubt}`;
    if (record.status === 'invisible')
      return `setStatus: invisible${ends}, so that others see "offline"; ${have}`;
    return own === '' ? `highest status of ${have}` : `setStatus: ${own}${ends}; ${have}`;
  }
  if (graceEnd > 0) {
    const left = graceEnd - now;
    return left > 0
      ? `no socket; the grace ends in ${formatDuration(left)}`
      : `no socket; the grace ended ${formatDuration(-left)} ago, and no process has noticed`;
  }
  return record.status === 'offline'
    ? 'no socket'
    : 'no socket: the record is out of date; the next sweep mends it';
}

const HGETS = 500;

/** Rooms that list a socket of the user: those of the nodes on which the user has sockets. */
async function readRooms(
  connection: CliConnection,
  allKeys: readonly PartitionKeys[],
  user: string,
  fields: Iterable<string>,
): Promise<string[]> {
  const nodeIds = new Set([...fields].map((field) => splitIds(field)[0]).filter((nodeId) => nodeId !== ''));
  const candidates = new Set<string>();
  for (const nodeId of nodeIds) {
    const { rooms } = await readOwned(connection, nodeId, allKeys, '"*');
    for (const room of rooms) candidates.add(room);
  }
  const all = [...candidates];
  const found: string[] = [];
  for (let at = 0; at < all.length; at += HGETS) {
    const page = all.slice(at, at + HGETS);
    const commands = page.map((room): PlainCommand => {
      const keys = allKeys[partitionOf(room, allKeys.length)] as PartitionKeys;
      return ['HGET', keys.room(escapeId(room)), `:${user}`];
    });
    const values = await connection.run(commands);
    found.push(...page.filter((_, index) => typeof values[index] === 'string'));
  }
  return found.sort();
}

function describe(report: UserReport): string[] {
  const { userId, status, why, lastSeen, lastSeenHidden, version, sockets, rooms } = report;
  const lines = [
    `${printable(userId)}: ${status}`,
    `why        ${why}`,
    ...(lastSeen === undefined
      ? []
      : [
          `last seen  ${lastSeen.toISOString()}${lastSeenHidden === true ? ' (hidden from other users)' : ''}`,
        ]),
    ...(version === undefined ? [] : [`version    ${version}`]),
    `rooms      ${rooms.length === 0 ? 'none' : rooms.map(printable).join(', ')}`,
  ];
  if (sockets.length === 0) return lines;
  return [
    ...lines,
    '',
    ...table(
      ['SOCKET', 'NODE', 'STATUS', 'CONNECTED', 'LEASE', 'META'],
      sockets.map((socket) => [
        printable(socket.socketId),
        printable(socket.nodeId),
        socket.status,
        socket.connectedAt.toISOString(),
        socket.state === 'unlisted'
          ? 'not listed'
          : describeLease({ state: socket.state, left: socket.leaseLeft ?? 0 }),
        socket.meta === undefined ? '' : printable(JSON.stringify(socket.meta)),
      ]),
    ),
  ];
}
