import { historyKeys } from '../history/keys.js';
import { isOrigin, publishedAt } from '../history/position.js';
import { escapeId, unescapeId } from '../presence/ids.js';
import { type PartitionKeys, partitionOf, splitIds } from '../presence/keys.js';
import { infoOf } from '../presence/record.js';
import { defineChannel } from '../pubsub/channel-definition.js';
import { databaseSuffix } from '../redis/database.js';
import type { CliConnection } from './cli-connection.js';
import type { CliCommand } from './command.js';
import { countOf, formatCount, formatDuration, printable, table } from './output.js';
import { numberOption } from './values.js';

interface MemberReport {
  readonly userId: string;
  readonly sockets: readonly { readonly socketId: string; readonly nodeId: string }[];
  /** JSON text; the latest socket's. */
  readonly info: string;
}

interface HistoryReport {
  readonly channel: string;
  readonly messages: number;
  readonly lastPosition?: string;
  readonly lastPublishedAt?: Date;
  /** In ms until Redis removes the messages. */
  readonly expiresIn?: number;
}

export const room: CliCommand = {
  name: 'room',
  args: ['NAME'],
  summary: 'shows a room: members with their sockets and processes, and its history',
  options: {
    limit: { type: 'string', help: 'how many members to list (default: 100)' },
    'pubsub-prefix': { type: 'string', help: 'prefix of your PubSubService (default: none)' },
  },
  async run({ open, output, args, values }) {
    const [name = ''] = args;
    const limit = numberOption('limit', values['limit'], 100, 1);
    const connection = await open();
    const presence = await connection.presence();
    const keys = presence?.keys[partitionOf(name, presence.keys.length)];
    const { count, members } =
      keys === undefined ? { count: 0, members: [] } : await readMembers(connection, keys, name, limit);
    const channel = `${values['pubsub-prefix'] ?? ''}${channelOf(name, connection.address.database)}`;
    const history = await readHistory(connection, channel);
    const shown = members.map((member) => ({ ...member, info: JSON.parse(member.info) as unknown }));
    output.print({ room: name, count, members: shown, history }, () => [
      `room ${printable(name)}: ${countOf(count, 'member')}`,
      describeHistory(history, values['pubsub-prefix'] !== undefined),
      ...(members.length === 0 ? [] : ['', ...memberTable(members)]),
      ...(count > members.length ? [`… and ${formatCount(count - members.length)} more (--limit)`] : []),
    ]);
    return 0;
  },
};

/** As RoomService names it. */
function channelOf(name: string, database: number): string {
  return defineChannel()(`room${databaseSuffix(database)}:{room}`, {})({ room: name }).name;
}

async function readMembers(
  connection: CliConnection,
  keys: PartitionKeys,
  name: string,
  limit: number,
): Promise<{ count: number; members: MemberReport[] }> {
  const key = keys.room(escapeId(name));
  const [count] = await connection.run([['HLEN', key]]);
  const members = new Map<string, MemberReport>();
  let cursor = '0';
  do {
    const [reply] = await connection.run([['HSCAN', key, cursor, 'COUNT', String(Math.min(limit, 1_000))]]);
    const [next, page] = reply as unknown as [string, readonly string[]];
    cursor = next;
    for (let at = 0; at < page.length && members.size < limit; at += 2) {
      // Fields begin with a colon, see update-rooms.lua.
      const userId = unescapeId((page[at] as string).slice(1));
      members.set(userId, decodeMember(userId, page[at + 1] as string));
    }
  } while (cursor !== '0' && members.size < limit);
  return { count: Number(count), members: [...members.values()] };
}

/** The format of update-rooms.lua: the version, then per socket node"socket"info. No sockets: the user is in their grace. */
function decodeMember(userId: string, text: string): MemberReport {
  let info = 'null';
  const sockets = text
    .split('\n')
    .slice(1)
    .map((line) => {
      const [nodeId, rest = ''] = splitIds(line);
      const [socketId, json = 'null'] = splitIds(rest);
      info = infoOf(json);
      // During a grace there is no node.
      if (nodeId === '') return undefined;
      return { socketId: unescapeId(socketId), nodeId: unescapeId(nodeId) };
    })
    .filter((socket) => socket !== undefined);
  return { userId, sockets, info };
}

async function readHistory(connection: CliConnection, channel: string): Promise<HistoryReport> {
  const { messages, lastPosition } = historyKeys(channel);
  const [length, last, ttl] = await connection.run(
    [
      ['LLEN', messages],
      ['GET', lastPosition],
      ['PTTL', messages],
    ],
    { key: messages },
  );
  const position = typeof last === 'string' ? last.split(':')[0] : undefined;
  return {
    channel,
    messages: Number(length),
    ...(position === undefined || isOrigin(position)
      ? {}
      : { lastPosition: position, lastPublishedAt: new Date(publishedAt(position)) }),
    ...(Number(ttl) > 0 ? { expiresIn: Number(ttl) } : {}),
  };
}

function describeHistory(
  { channel, messages, lastPublishedAt, lastPosition, expiresIn }: HistoryReport,
  hasPrefix: boolean,
): string {
  const what = `history of ${printable(channel)}: ${countOf(messages, 'message')}`;
  const hint = hasPrefix ? '' : ' (if your PubSubService has a prefix, pass --pubsub-prefix)';
  const last =
    lastPosition === undefined ? hint : `, the last ${lastPublishedAt?.toISOString()} at ${lastPosition}`;
  return `${what}${last}${expiresIn === undefined ? '' : `, expires in ${formatDuration(expiresIn)}`}`;
}

function memberTable(members: readonly MemberReport[]): string[] {
  return table(
    ['USER', 'SOCKETS', 'NODES', 'INFO'],
    members.map(({ userId, sockets, info }) => [
      printable(userId),
      String(sockets.length),
      [...new Set(sockets.map(({ nodeId }) => printable(nodeId)))].join(' '),
      info === 'null' ? '' : printable(info),
    ]),
  );
}
