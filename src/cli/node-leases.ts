import { unescapeId } from '../presence/ids.js';
import type { PartitionKeys } from '../presence/keys.js';
import type { PlainCommand, Reply } from '../redis/driver.js';
import type { CliConnection } from './cli-connection.js';

/**
 * `alive`: the lease has not ended. `suspect`: it has ended in some partition; another process will remove the
 * node, unless it comes back. `dead`: another process is removing it.
 */
export type NodeState = 'alive' | 'suspect' | 'dead';

export interface NodeLeaseInfo {
  readonly nodeId: string;
  readonly state: NodeState;
  /** The shortest lease in all partitions, in ms from now by Redis's clock; negative: ended so long ago. */
  readonly left: number;
  /** In which the node is listed. */
  readonly partitions: readonly PartitionKeys[];
}

/** Sorted by node id. */
export async function readLeases(
  connection: CliConnection,
  keys: readonly PartitionKeys[],
): Promise<NodeLeaseInfo[]> {
  const found = new Map<string, { state: NodeState; left: number; partitions: PartitionKeys[] }>();
  await Promise.all(
    keys.map(async (partition) => {
      const commands: PlainCommand[] = [['TIME'], ['ZRANGE', partition.nodes, '0', '-1', 'WITHSCORES']];
      const [time, leases] = await connection.run(commands, { key: partition.nodes });
      const [seconds, micros] = time as readonly Reply[];
      const now = Number(seconds) * 1_000 + Number(micros) / 1_000;
      // RESP3 replies with pairs.
      const flat = (leases as readonly Reply[]).flat() as string[];
      for (let at = 0; at < flat.length; at += 2) {
        const nodeId = unescapeId(flat[at] as string);
        const score = Number(flat[at + 1]);
        const left = Math.round(Math.abs(score) - now);
        const state: NodeState = score < 0 ? 'dead' : left < 0 ? 'suspect' : 'alive';
        const known = found.get(nodeId);
        if (known === undefined) found.set(nodeId, { state, left, partitions: [partition] });
        else {
          known.partitions.push(partition);
          if (left < known.left) known.left = left;
          if (known.state === 'alive' || state === 'dead') known.state = state;
        }
      }
    }),
  );
  return [...found]
    .map(([nodeId, rest]) => ({ nodeId, ...rest }))
    .sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1));
}
