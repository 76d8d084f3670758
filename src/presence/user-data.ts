import type { ClientHandle } from '../redis/client-handle.js';
import type { Command, Reply } from '../redis/driver.js';
import { escapePattern } from '../redis/pattern.js';
import { escapeId, unescapeId } from './ids.js';
import { joinIds, type PartitionKeys, partitionOf, roomMember, splitIds } from './keys.js';
import { instanceIdOf } from './node-lease.js';
import type { ForgottenPresence } from './options.js';
import type { PresenceWriter } from './presence-writer.js';
import type { RemovalLog } from './removal-log.js';
import { forgetUserScript } from './scripts.js';

export interface UserDataOptions {
  readonly client: ClientHandle;
  readonly keys: readonly PartitionKeys[];
  readonly writer: PresenceWriter;
  readonly removals: RemovalLog;
  /** In ms. */
  readonly lease: number;
}

/** COUNT of SSCAN. */
const PAGE_SIZE = 1_000;
/** Rooms read per round trip. */
const ROOMS_PER_READ = 500;

interface Remains {
  readonly sockets: number;
  readonly removals: number;
  readonly record: boolean;
  readonly status: boolean;
}

/** Everything that presence has in Redis of one user. */
export class UserData {
  readonly #options: UserDataOptions;

  constructor(options: UserDataOptions) {
    this.#options = options;
  }

  /**
   * Each step is idempotent, and the record goes last: after a failure a second call does what is left. Ids in the result are
   * not escaped.
   */
  async forget(userId: string, keepSockets: boolean, reason: string): Promise<ForgottenPresence> {
    const { writer, removals } = this.#options;
    const user = escapeId(userId);
    const partition = partitionOf(userId, this.#options.keys.length);
    const before = await this.#run(partition, user, false);
    const { sockets } = before;
    if (keepSockets && sockets > 0) {
      return {
        record: false,
        status: false,
        sockets: 0,
        rooms: [],
        remaining: { sockets, removals: before.removals },
      };
    }
    // Others learn that the user is offline. An unknown user must not leave a removal behind.
    if (sockets > 0) {
      await removals.apply(partition, { kind: 'removal', user, grace: 0, note: escapeId(reason) });
    } else if (before.record) {
      await writer.apply(partition, { kind: 'look', user, reason: 'gone' });
    }
    const rooms = keepSockets ? [] : await this.#leaveRooms(user);
    const after = await this.#run(partition, user, true);
    if (after.sockets === 0 && after.removals === 0) {
      await this.#clearInboxes(partition, user);
      removals.forget(user);
    }
    return {
      record: after.record,
      status: after.status,
      sockets,
      rooms,
      remaining: { sockets: after.sockets, removals: after.removals },
    };
  }

  async #run(partition: number, user: string, remove: boolean): Promise<Remains> {
    const keys = this.#keysOf(partition);
    const [reply] = await this.#execute(partition, [
      {
        script: forgetUserScript,
        keys: [keys.sockets(user), keys.user(user), keys.online, keys.due, keys.changes],
        args: [user, String(this.#options.lease), remove ? '1' : ''],
      },
    ]);
    const [sockets, removals, record, status] = (reply as readonly Reply[]).map(Number);
    return { sockets: sockets ?? 0, removals: removals ?? 0, record: record === 1, status: status === 1 };
  }

  /** Ends the graces of a user in all rooms where they have no socket. Returns the rooms. All ids are escaped. */
  async endRoomGraces(user: string): Promise<string[]> {
    const rooms: string[] = [];
    const { keys, writer } = this.#options;
    await Promise.all(
      keys.map(async ({ due }, partition) => {
        for await (const member of this.#members(partition, due, patternOf(user), 'ZSCAN')) {
          const [found, room] = splitIds(member);
          // The reply also lists scores, and may repeat a member.
          if (found !== user || room === undefined || rooms.includes(room)) continue;
          rooms.push(room);
          await writer.apply(partition, { kind: 'room-grace', room, user, when: 'now' });
        }
      }),
    );
    return rooms;
  }

  /** Rooms are found in the sets of what nodes own. Returns those that the user was a member of. */
  async #leaveRooms(user: string): Promise<string[]> {
    const rooms = new Set<string>();
    for (const partition of this.#options.keys.keys()) {
      for (const node of await this.#nodes(partition)) {
        const key = this.#keysOf(partition).node(node);
        for await (const member of this.#members(partition, key, roomMember('*'))) {
          const [, room] = splitIds(member);
          if (room !== undefined) rooms.add(room);
        }
      }
    }
    const left = await this.endRoomGraces(user);
    const names = [...rooms].filter((room) => !left.includes(room));
    for (let at = 0; at < names.length; at += ROOMS_PER_READ) {
      const page = names.slice(at, at + ROOMS_PER_READ);
      await Promise.all(page.map(async (room) => (await this.#leave(room, user)) && left.push(room)));
    }
    return left.map(unescapeId);
  }

  async #leave(room: string, user: string): Promise<boolean> {
    const partition = partitionOf(unescapeId(room), this.#options.keys.length);
    const key = this.#keysOf(partition).room(room);
    // See update-rooms.lua for the field.
    const [text] = await this.#execute(partition, [['HGET', key, `:${user}`]]);
    if (typeof text !== 'string') return false;
    const lines = text.split('\n').slice(1);
    await Promise.all(
      lines.map((line) => {
        const [owner, rest = ''] = splitIds(line);
        const [socket] = splitIds(rest);
        return this.#options.writer.apply(partition, { kind: 'room', room, user, socket, owner });
      }),
    );
    return true;
  }

  /** Removals stay in the inboxes of their owners until the owners end. */
  async #clearInboxes(partition: number, user: string): Promise<void> {
    const keys = this.#keysOf(partition);
    const instances = new Set((await this.#nodes(partition)).map(instanceIdOf));
    for (const instance of instances) {
      const key = keys.inbox(instance);
      const found = [user];
      for await (const member of this.#members(partition, key, patternOf(user))) {
        if (splitIds(member)[0] === user) found.push(member);
      }
      await this.#execute(partition, [['SREM', key, ...found]]);
    }
  }

  async #nodes(partition: number): Promise<string[]> {
    const [nodes] = await this.#execute(partition, [['ZRANGE', this.#keysOf(partition).nodes, '0', '-1']]);
    return [...(nodes as readonly string[])];
  }

  async *#members(
    partition: number,
    key: string,
    match: string,
    scan: 'SSCAN' | 'ZSCAN' = 'SSCAN',
  ): AsyncGenerator<string, void, undefined> {
    let cursor = '0';
    do {
      const command = [scan, key, cursor, 'MATCH', match, 'COUNT', String(PAGE_SIZE)] as const;
      const [reply] = await this.#execute(partition, [command]);
      const [next, page] = reply as unknown as [string, readonly string[]];
      cursor = next;
      yield* page;
    } while (cursor !== '0');
  }

  #execute(partition: number, commands: readonly Command[]): Promise<Reply[]> {
    return this.#options.client.execute('forget', commands, { key: this.#keysOf(partition).nodes });
  }

  #keysOf(partition: number): PartitionKeys {
    return this.#options.keys[partition] as PartitionKeys;
  }
}

/**
 * Matches the user and something else, joined, and other users that are equal up to a backslash: ioredis-mock does not find
 * escaped ones.
 */
function patternOf(user: string): string {
  const [plain = ''] = user.split('\\', 1);
  return plain === user ? joinIds(escapePattern(user), '*') : `${escapePattern(plain)}*`;
}
