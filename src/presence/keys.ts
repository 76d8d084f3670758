import { databaseSuffix } from '../redis/database.js';

/**
 * Keys and channels of one presence partition. All contain the hash tag `{<prefix>:<k>}`, so that one
 * transaction can write to any of them, on a Cluster too. Ids are escaped (`escapeId`): keys are printable.
 */
export class PartitionKeys {
  /** Common beginning of all of them. */
  readonly base: string;
  /** Sorted set: node id → when its lease expires, or minus the end of a reaper's claim (failure-detector.ts). */
  readonly nodes: string;
  /** Set: the users online. */
  readonly online: string;
  /** Sorted set: user → when their grace or their own status ends. */
  readonly due: string;
  /** Channel of status changes, one message per transaction. */
  readonly events: string;
  /** String: the number of partitions, written by the first service. */
  readonly layout: string;
  /** Common beginning of {@link sockets}. */
  readonly socketsPrefix: string;
  /** Common beginning of {@link user}. */
  readonly userPrefix: string;
  /** Common beginning of {@link room}. */
  readonly roomPrefix: string;
  /** Common beginning of {@link roomEvents}. */
  readonly roomEventsPrefix: string;

  readonly #suffix: string;

  /** `database`: the logical one. Keys belong to it, channels to the server: they carry its number. */
  constructor(prefix: string, partition: number, database = 0) {
    this.#suffix = databaseSuffix(database);
    this.base = `{${prefix}:${partition}}`;
    this.nodes = `${this.base}:nodes`;
    this.online = `${this.base}:online`;
    this.due = `${this.base}:due`;
    this.events = `${this.base}:events${this.#suffix}`;
    this.layout = `${this.base}:layout`;
    this.socketsPrefix = `${this.base}:sockets:`;
    this.userPrefix = `${this.base}:user:`;
    this.roomPrefix = `${this.base}:room:`;
    this.roomEventsPrefix = `${this.base}:room-events${this.#suffix}:`;
  }

  /** Hash: the members of a room and their sockets. */
  room(room: string): string {
    return this.roomPrefix + room;
  }

  /** Channel of a room's joins, updates and leaves. */
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

  /** Set: the sockets of a node, as user"socket, and the rooms that some of them are in, as "room. */
  node(nodeId: string): string {
    return `${this.base}:node:${nodeId}`;
  }

  /**
   * Channel on which a node is notified of removals of its sockets by other nodes; and a set of the same removals, for
   * when a notification was missed.
   */
  inbox(nodeId: string): string {
    return `${this.base}:inbox${this.#suffix}:${nodeId}`;
  }
}

/** Separates two escaped ids; no escaped id contains it. */
const SEPARATOR = '"';

/** `left` and `right`, both escaped, as one string. */
export function joinIds(left: string, right: string): string {
  return left + SEPARATOR + right;
}

/** The member of a node's owner set for a room. */
export function roomMember(room: string): string {
  return joinIds('', room);
}

/** Splits what {@link joinIds} joined at the first separator; `right` is undefined without one. */
export function splitIds(text: string): [left: string, right: string | undefined] {
  const at = text.indexOf(SEPARATOR);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

/**
 * The partition of `userId`: FNV-1a over its UTF-16 units, modulo `partitions`. Computed unsigned,
 * because a negative remainder is the index of no partition.
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
