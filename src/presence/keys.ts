import { databaseSuffix } from '../redis/database.js';

/**
 * Keys and channels of one partition. All contain the hash tag `{<prefix>:<k>}`, so that one transaction can
 * write any of them, on a Cluster too. Ids are escaped (`escapeId`): keys are printable.
 */
export class PartitionKeys {
  readonly base: string;
  /** Sorted set: node id → end of its lease, or minus the end of a reaper's claim (failure-detector.ts). */
  readonly nodes: string;
  /** Set: the users online. */
  readonly online: string;
  /**
   * Sorted set: user → end of their grace, their own status or their first socket without a process; user"room → end of
   * their grace in the room.
   */
  readonly due: string;
  /** Channel of status changes, one message per transaction. */
  readonly events: string;
  /** List: the users whose records were written, per transaction; only while a lookup cache reads it. */
  readonly changes: string;
  /** String: the number of partitions, written by the first service. */
  readonly layout: string;
  readonly socketsPrefix: string;
  readonly userPrefix: string;
  readonly roomPrefix: string;
  readonly roomEventsPrefix: string;

  readonly #suffix: string;

  /** `database`: the logical one. Channels carry its number, because they belong to the server. */
  constructor(prefix: string, partition: number, database = 0) {
    this.#suffix = databaseSuffix(database);
    this.base = `{${prefix}:${partition}}`;
    this.nodes = `${this.base}:nodes`;
    this.online = `${this.base}:online`;
    this.due = `${this.base}:due`;
    this.events = `${this.base}:events${this.#suffix}`;
    this.changes = `${this.base}:changes`;
    this.layout = `${this.base}:layout`;
    this.socketsPrefix = `${this.base}:sockets:`;
    this.userPrefix = `${this.base}:user:`;
    this.roomPrefix = `${this.base}:room:`;
    this.roomEventsPrefix = `${this.base}:room-events${this.#suffix}:`;
  }

  /** Hash: members and their sockets. */
  room(room: string): string {
    return this.roomPrefix + room;
  }

  /** Channel of joins, updates and leaves. */
  roomEvents(room: string): string {
    return this.roomEventsPrefix + room;
  }

  /** Hash: one entry per socket of the user. */
  sockets(user: string): string {
    return this.socketsPrefix + user;
  }

  /** String: the user's record. */
  user(user: string): string {
    return this.userPrefix + user;
  }

  /** Set: the node's sockets, as user"socket, and rooms that some of them are in, as "room. */
  node(nodeId: string): string {
    return `${this.base}:node:${nodeId}`;
  }

  /** Channel for notifications to the node, and set of the same notifications, for when one is missed. */
  inbox(nodeId: string): string {
    return `${this.base}:inbox${this.#suffix}:${nodeId}`;
  }
}

/** Owner of sockets without a process. No node id is the same: it contains a `#`. */
export const NO_PROCESS = '*';

/** No escaped id contains it. */
const SEPARATOR = '"';

/** Both escaped. */
export function joinIds(left: string, right: string): string {
  return left + SEPARATOR + right;
}

/** Member of a node's owner set. */
export function roomMember(room: string): string {
  return joinIds('', room);
}

/** At the first separator; `right` is undefined without one. */
export function splitIds(text: string): [left: string, right: string | undefined] {
  const at = text.indexOf(SEPARATOR);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

/**
 * FNV-1a over the UTF-16 units, modulo `partitions`; unsigned, because a negative remainder is no index.
 * Source: http://www.isthe.com/chongo/tech/comp/fnv/
 */
export function partitionOf(userId: string, partitions: number): number {
  if (partitions === 1) return 0;
  let hash = 0x811c9dc5;
  for (let at = 0; at < userId.length; at++) {
    hash ^= userId.charCodeAt(at);
    hash = Math.imul(hash, 0x01000193);
  }
  return (hash >>> 0) % partitions;
}
