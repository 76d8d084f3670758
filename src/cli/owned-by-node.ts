import { unescapeId } from '../presence/ids.js';
import { type PartitionKeys, splitIds } from '../presence/keys.js';
import type { CliConnection } from './cli-connection.js';

/** Entries of a node in Redis. */
export interface OwnedByNode {
  readonly sockets: number;
  readonly users: number;
  /** Rooms that some of the sockets are in. */
  readonly rooms: readonly string[];
  /** More were there than were read: all numbers are too small. */
  readonly truncated: boolean;
}

const PAGE = 2_000;
/** Members that are read of one node in all. */
const MAX_MEMBERS = 200_000;

/** `nodeId` is escaped, as in keys. */
export async function readOwned(
  connection: CliConnection,
  nodeId: string,
  partitions: readonly PartitionKeys[],
  match?: string,
): Promise<OwnedByNode> {
  const sockets = new Set<string>();
  const users = new Set<string>();
  const rooms = new Set<string>();
  let left = MAX_MEMBERS;
  let truncated = false;
  for (const keys of partitions) {
    const key = keys.node(nodeId);
    let cursor = '0';
    do {
      if (left <= 0) {
        truncated = true;
        break;
      }
      const filter = match === undefined ? [] : ['MATCH', match];
      const [reply] = await connection.run([['SSCAN', key, cursor, ...filter, 'COUNT', String(PAGE)]], {
        key,
      });
      const [next, page] = reply as unknown as [string, readonly string[]];
      cursor = next;
      left -= match === undefined ? page.length : PAGE;
      for (const member of page) {
        const [user, rest = ''] = splitIds(member);
        if (user === '') rooms.add(unescapeId(rest));
        else {
          users.add(user);
          sockets.add(member);
        }
      }
    } while (cursor !== '0');
  }
  return { sockets: sockets.size, users: users.size, rooms: [...rooms], truncated };
}
