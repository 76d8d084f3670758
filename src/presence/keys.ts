/**
 * The keys and channels of one presence partition. All carry the hash tag `{<prefix>:<k>}`, so
 * that one transaction can touch any of them, on a Cluster too. Users are escaped by
 * {@link escapeId}: what is in Redis is always printable.
 */
export class PartitionKeys {
  /** What all of them begin with. */
  readonly base: string;
  /** Sorted set: node id → lease expiry, or a claim on its remains (liveness.ts). */
  readonly nodes: string;
  /** Sorted set, all scores 0: the users online, in lexical order. */
  readonly online: string;
  /** Sorted set: user → when his grace ends. */
  readonly due: string;
  /** Channel: changes of status, one message per transaction. */
  readonly events: string;
  /** How many partitions there are, as the first service wrote it. */
  readonly layout: string;
  /** What the keys of users' facts begin with. */
  readonly socketsPrefix: string;
  /** What the keys of users' records begin with. */
  readonly userPrefix: string;
  /** What the keys of rooms begin with. */
  readonly roomPrefix: string;
  /** What the channels of rooms' changes begin with. */
  readonly roomEventsPrefix: string;

  constructor(prefix: string, partition: number) {
    this.base = `{${prefix}:${partition}}`;
    this.nodes = `${this.base}:nodes`;
    this.online = `${this.base}:online`;
    this.due = `${this.base}:due`;
    this.events = `${this.base}:events`;
    this.layout = `${this.base}:layout`;
    this.socketsPrefix = `${this.base}:sockets:`;
    this.userPrefix = `${this.base}:user:`;
    this.roomPrefix = `${this.base}:room:`;
    this.roomEventsPrefix = `${this.base}:room-events:`;
  }

  /** Hash: who is in a room, on which sockets. */
  room(room: string): string {
    return this.roomPrefix + room;
  }

  /** Channel: who joins, changes and leaves. */
  roomEvents(room: string): string {
    return this.roomEventsPrefix + room;
  }

  /** Hash: the facts, one field per socket. */
  sockets(user: string): string {
    return this.socketsPrefix + user;
  }

  /** String: the record. */
  user(user: string): string {
    return this.userPrefix + user;
  }

  /** Set: the (user, socket) pairs a node owns. */
  node(nodeId: string): string {
    return `${this.base}:node:${nodeId}`;
  }

  /** Channel: what a node is told about its own sockets. */
  inbox(nodeId: string): string {
    return `${this.base}:inbox:${nodeId}`;
  }
}

/** Separates two escaped ids, for none contains it. */
const SEPARATOR = '"';

/** `left` and `right`, both escaped, as one string. */
export function joinIds(left: string, right: string): string {
  return left + SEPARATOR + right;
}

/** What {@link joinIds} joined, cut at the first separator; without one there is no right side. */
export function splitIds(text: string): [left: string, right: string | undefined] {
  const at = text.indexOf(SEPARATOR);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

/**
 * The partition of `userId`: FNV-1a over its UTF-16 units, modulo `partitions`. Unsigned
 * throughout; a negative remainder would name a partition that nobody reads.
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
