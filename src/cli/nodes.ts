import { escapeId } from '../presence/ids.js';
import type { CliCommand } from './command.js';
import { type NodeLeaseInfo, readLeases } from './node-leases.js';
import { countOf, formatCount, formatDuration, printable, table } from './output.js';
import { readOwned } from './owned-by-node.js';

export const nodes: CliCommand = {
  name: 'nodes',
  args: [],
  summary: 'lists the processes with their leases, sockets, users and rooms',
  options: {},
  async run({ open, output, prefix }) {
    const connection = await open();
    const { keys, layout } = await connection.requirePresence();
    const leases = await readLeases(connection, keys);
    const rows = await Promise.all(
      leases.map(async ({ partitions, ...lease }) => {
        const owned = await readOwned(connection, escapeId(lease.nodeId), partitions);
        return { ...lease, partitions: partitions.length, ...owned, rooms: owned.rooms.length };
      }),
    );
    output.print({ prefix, format: layout.format, partitions: layout.partitions, nodes: rows }, () => [
      ...table(
        ['NODE', 'STATE', 'LEASE', 'SOCKETS', 'USERS', 'ROOMS'],
        rows.map((row) => [
          printable(row.nodeId),
          row.state,
          describeLease(row),
          ...[row.sockets, row.users, row.rooms].map(
            (count) => `${row.truncated ? 'over ' : ''}${formatCount(count)}`,
          ),
        ]),
      ),
      '',
      `${countOf(rows.length, 'process', 'processes')} under prefix ${prefix}, format ${layout.format}, partitions: ${layout.partitions}`,
    ]);
    return 0;
  },
};

export function describeLease({ state, left }: Pick<NodeLeaseInfo, 'state' | 'left'>): string {
  if (state === 'dead') return 'being removed';
  return left < 0 ? `ended ${formatDuration(-left)} ago` : `${formatDuration(left)} left`;
}
