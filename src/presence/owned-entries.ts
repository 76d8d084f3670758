import type { ClientHandle } from '../redis/client-handle.js';
import { joinIds, type PartitionKeys, splitIds } from './keys.js';
import type { PresenceWriter } from './presence-writer.js';
import type { PresenceWrite, RoomWrite } from './writes.js';

export interface OwnedEntriesRequest {
  readonly client: ClientHandle;
  readonly writer: PresenceWriter;
  readonly keys: PartitionKeys;
  readonly partition: number;
  readonly owner: string;
  readonly grace: number;
  /** Last sign of life of the owner, in ms; becomes the users' `lastSeen`. */
  readonly lastAlive?: number | undefined;
  /** Entries of a room that stay. Keys are user, socket and room, joined. */
  readonly keep?: (key: string, room: string) => boolean;
  /** Another process removed the socket, or changed whether the user is visible, and the owner has not carried it out. */
  readonly isRemoved?: (user: string, socket: string) => Promise<boolean>;
}

/** For a member of `PartitionKeys.due`. `outage`: as in `Reevaluation`. */
export function toDueWrite(member: string, outage?: number): PresenceWrite {
  const [user, room] = splitIds(member);
  if (room !== undefined) return { kind: 'room-grace', room, user, when: 'due' };
  return { kind: 'look', user, reason: 'time', ...(outage === undefined ? {} : { outage }) };
}

/** Per HSCAN. */
const PAGE_SIZE = 500;

/**
 * Removes the entries behind a member of a node's owner set: a socket, or all of the node's sockets in a room.
 * Resolves with the number of removed sockets of users.
 */
export async function removeOwned(request: OwnedEntriesRequest, member: string): Promise<number> {
  const [user, rest = ''] = splitIds(member);
  if (user === '') {
    await leaveRoom(request, rest);
    return 0;
  }
  const { writer, partition, owner, grace, lastAlive } = request;
  const seen = lastAlive === undefined ? {} : { lastAlive };
  const record = await writer.apply(partition, { kind: 'socket', user, socket: rest, owner, grace, ...seen });
  // Without a record nothing was published, although the user was online when the owner died.
  if (record === null) await writer.apply(partition, { kind: 'look', user, reason: 'lost', ...seen });
  return 1;
}

async function leaveRoom(request: OwnedEntriesRequest, room: string): Promise<void> {
  const { client, writer, keys, partition, owner, keep, isRemoved } = request;
  let kept = false;
  let cursor = '0';
  do {
    const command = ['HSCAN', keys.room(room), cursor, 'COUNT', String(PAGE_SIZE)] as const;
    const [reply] = await client.execute('sweep', [command], { key: keys.nodes });
    const [next, page] = reply as unknown as [string, readonly string[]];
    cursor = next;
    const leaves: RoomWrite[] = [];
    for (let at = 0; at < page.length; at += 2) {
      const user = (page[at] as string).slice(1);
      for (const { socket, grace } of socketsOf(page[at + 1] as string, owner)) {
        if (keep?.(joinIds(joinIds(user, socket), room), room) === true) kept = true;
        else {
          const leave = { kind: 'room', room, user, socket, owner } as const;
          const atOnce = !grace || (await isRemoved?.(user, socket)) === true;
          leaves.push(atOnce ? leave : { ...leave, grace: 0 });
        }
      }
    }
    await Promise.all(leaves.map((write) => writer.apply(partition, write)));
  } while (cursor !== '0');
  if (kept) return;
  await client.execute('sweep', [['SREM', keys.node(owner), joinIds('', room)]], { key: keys.nodes });
}

/** In the value of a room's member, see update-rooms.lua. `grace`: the socket has one. */
function socketsOf(value: string, owner: string): { socket: string; grace: boolean }[] {
  const sockets: { socket: string; grace: boolean }[] = [];
  for (const line of value.split('\n').slice(1)) {
    const [node, rest = ''] = splitIds(line);
    if (node !== owner) continue;
    const [socket, info = ''] = splitIds(rest);
    sockets.push({ socket, grace: info.startsWith('~') });
  }
  return sockets;
}
