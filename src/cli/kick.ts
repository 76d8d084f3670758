import { escapeId } from '../presence/ids.js';
import { type PartitionKeys, partitionOf } from '../presence/keys.js';
import { PresenceService } from '../presence/presence-service.js';
import type { CliConnection } from './cli-connection.js';
import type { CliCommand, CommandContext } from './command.js';
import { confirm } from './confirm.js';
import { countOf, formatDuration, printable } from './output.js';
import { UsageError } from './usage-error.js';
import { ROOM_SERVICE_OPTIONS, UserChannel } from './user-channel.js';
import { nameArgument, numberOption } from './values.js';

/** In ms: the largest one. This process must not judge others, nor derive statuses by its own options. */
const SWEEP_INTERVAL = 15_000;
/** In ms. */
const YEAR = 31_536_000_000;

export const kick: CliCommand = {
  name: 'kick',
  args: ['USER'],
  summary:
    'closes all connections of a user for good (4403), or puts them out of one room, on all processes; asks first',
  changes: true,
  options: {
    room: { type: 'string', help: 'put the user out of this room; their connections stay' },
    ban: {
      type: 'string',
      help: 'for how many ms the user cannot join the room again; needs --room and --reason (default: no ban)',
    },
    reason: { type: 'string', help: 'the reason of the close frame, or for the room (default: none)' },
    yes: { type: 'boolean', help: 'do not ask' },
    ...ROOM_SERVICE_OPTIONS,
  },
  async run(context) {
    const userId = nameArgument('USER', context.args[0]);
    return context.values['room'] === undefined
      ? closeConnections(context, userId)
      : leaveRoom(context, userId);
  },
};

async function closeConnections(
  { open, output, values, prefix }: CommandContext,
  userId: string,
): Promise<number> {
  if (values['ban'] !== undefined) throw new UsageError('--ban needs --room NAME: bans are of one room');
  const reason = String(values['reason'] ?? '');
  await confirm(`Close all connections of ${printable(userId)}?`, values['yes'] === true);
  const connection = await open();
  const { layout } = await connection.requirePresence();
  const presence = openPresence(connection, prefix, layout.partitions);
  const channel = new UserChannel(connection, values);
  try {
    const before = await presence.getPresence(userId, { reveal: true });
    const sockets = before?.sockets.length ?? 0;
    await channel.disconnect(userId, { reason });
    const after = await presence.disconnectUser(userId, reason);
    output.print({ userId, sockets, status: after?.status ?? null }, () => [
      after === null
        ? `no record of user ${printable(userId)}`
        : `${printable(userId)}: ${countOf(sockets, 'socket')} removed, now ${after.status}`,
    ]);
    return after === null ? 1 : 0;
  } finally {
    await channel.close();
    await presence.close();
  }
}

async function leaveRoom({ open, output, values }: CommandContext, userId: string): Promise<number> {
  const room = nameArgument('--room', values['room']);
  const reason = String(values['reason'] ?? '');
  const ban = values['ban'] === undefined ? undefined : numberOption('ban', values['ban'], 1, 1, YEAR);
  if (ban !== undefined && reason === '') {
    throw new UsageError('--ban needs --reason: the user is shown why they cannot join');
  }
  const until = ban === undefined ? '' : `, and keep them out for ${formatDuration(ban)}`;
  const question = `Put ${printable(userId)} out of room ${printable(room)}${until}?`;
  await confirm(question, values['yes'] === true);
  const connection = await open();
  const joined = await isMember(connection, room, userId);
  const channel = new UserChannel(connection, values);
  try {
    // Also if presence does not list them: a RoomService may work without presence.
    await channel.kick(userId, { room, reason, ...(ban === undefined ? {} : { ban }) });
    output.print({ userId, room, joined, ban: ban ?? null }, () => [
      joined
        ? `${printable(userId)}: put out of ${printable(room)}`
        : `${printable(userId)} is not in ${printable(room)}`,
      ...(ban === undefined
        ? []
        : [`banned for ${formatDuration(ban)}, where RoomService has the option bans: true`]),
    ]);
    return joined || ban !== undefined ? 0 : 1;
  } finally {
    await channel.close();
  }
}

async function isMember(connection: CliConnection, room: string, userId: string): Promise<boolean> {
  const presence = await connection.presence();
  if (presence === undefined) return false;
  const { keys } = presence;
  const partition = keys[partitionOf(room, keys.length)] as PartitionKeys;
  const [value] = await connection.run([['HGET', partition.room(escapeId(room)), `:${escapeId(userId)}`]]);
  return typeof value === 'string';
}

function openPresence(connection: CliConnection, prefix: string, partitions: number): PresenceService {
  return new PresenceService({
    redis: connection.client,
    prefix,
    partitions,
    nodeName: 'rollcall-cli',
    sweepInterval: SWEEP_INTERVAL,
    timeout: connection.timeout,
    onError: null,
  });
}
