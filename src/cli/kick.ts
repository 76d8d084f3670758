import { PresenceService } from '../presence/presence-service.js';
import type { CliCommand } from './command.js';
import { confirm } from './confirm.js';
import { countOf, printable } from './output.js';
import { ROOM_SERVICE_OPTIONS, UserChannel } from './user-channel.js';

/** In ms: the largest one. This process must not judge others, nor derive statuses by its own options. */
const SWEEP_INTERVAL = 15_000;

export const kick: CliCommand = {
  name: 'kick',
  args: ['USER'],
  summary: 'closes all connections of a user for good (4403), on all processes; asks first',
  options: {
    reason: { type: 'string', help: 'the reason of the close frame (default: none)' },
    yes: { type: 'boolean', help: 'do not ask' },
    ...ROOM_SERVICE_OPTIONS,
  },
  async run({ open, output, args, values, prefix }) {
    const [userId = ''] = args;
    const reason = String(values['reason'] ?? '');
    await confirm(`Close all connections of ${printable(userId)}?`, values['yes'] === true);
    const connection = await open();
    const { layout } = await connection.requirePresence();
    const presence = new PresenceService({
      redis: connection.client,
      prefix,
      partitions: layout.partitions,
      nodeName: 'rollcall-cli',
      sweepInterval: SWEEP_INTERVAL,
      timeout: connection.timeout,
      onError: null,
    });
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
  },
};
