import { CommandError } from '../internal/errors.js';
import type { Command, Reply, ScriptCall } from '../redis/driver.js';
import { joinIds, type PartitionKeys } from './keys.js';
import type { PartitionLayout } from './partition-layout.js';
import { updateRoomsScript, updateUsersScript } from './scripts.js';
import { isLocalWrite, isRestoring, type PresenceWrite, type RoomWrite, type SocketWrite } from './writes.js';

/** What a transaction is composed under. Durations in ms. */
export interface TransactionSettings {
  readonly keys: PartitionKeys;
  /** This process's node, under whose id facts without an owner are written. */
  readonly node: string;
  /** The node's lease as last seen; 0 for none. */
  readonly known: number;
  readonly lease: number;
  readonly keyTtl: number;
  readonly lastSeenTtl: number;
  readonly statuses: readonly string[];
  readonly layout: Pick<PartitionLayout, 'publishCommand'>;
}

/** What a transaction brought about. */
export interface TransactionResult {
  /** The record of a user, `null` where there is none. */
  recordOf(user: string): string | null;
  /** The node's lease before and after, for each script that saw it; 0 for none. */
  readonly leases: readonly { was: number; is: number }[];
}

/** A user whom settle looks at. */
interface UserUpdate {
  /** Why, in terms of settle. */
  reason: number;
  /** The facts about his sockets that this node changes. */
  readonly facts: SocketWrite[];
}

/**
 * What some changes are in Redis: a call of settle, which writes the facts of this node's sockets and
 * derives everything else; before it, as plain commands, whatever is no fact of a socket of this
 * node. Of several changes to one fact only the last one counts.
 */
export class Transaction {
  readonly commands: Command[] = [];
  readonly #settings: TransactionSettings;
  readonly #users = new Map<string, UserUpdate>();
  #scripts = 0;

  constructor(settings: TransactionSettings, changes: readonly PresenceWrite[]) {
    this.#settings = settings;
    const others = new Map<string, PresenceWrite>();
    for (const change of changes) {
      if (change.kind === 'socket' && (change.owner ?? settings.node) === settings.node) {
        replace(this.#addUser(change).facts, change);
        continue;
      }
      if (change.kind !== 'room') this.#addUser(change);
      const key = this.#factOf(change);
      // Set anew, the last one also comes last.
      others.delete(key);
      others.set(key, change);
    }
    const own = changes.some(isLocalWrite);
    if (others.size > 0) this.#writeOthers([...others.values()], own);
    if (this.#users.size > 0) this.#call(this.#settleCall(own, changes.some(isRestoring)));
  }

  /** Makes sense of the replies. */
  parseReplies(replies: readonly Reply[]): TransactionResult {
    const results = replies.slice(replies.length - this.#scripts);
    const leases: { was: number; is: number }[] = [];
    for (const result of results) {
      if (!Array.isArray(result)) throw unexpectedReplyError();
      if (result[1] !== '') leases.push({ was: Number(result[0]), is: Number(result[1]) });
    }
    const records = new Map<string, string | null>();
    if (this.#users.size > 0) {
      const settled = results.at(-1) as readonly Reply[];
      if (settled.length !== this.#users.size + 2) throw unexpectedReplyError();
      let at = 2;
      for (const user of this.#users.keys()) {
        const record = settled[at++];
        records.set(user, typeof record === 'string' ? record : null);
      }
    }
    return { recordOf: (user) => records.get(user) ?? null, leases };
  }

  #factOf(change: PresenceWrite): string {
    const owner = 'owner' in change && change.owner !== undefined ? change.owner : this.#settings.node;
    switch (change.kind) {
      case 'socket':
        return joinIds(owner, joinIds(change.user, change.socket));
      case 'room':
        return joinIds(owner, joinIds(joinIds(change.user, change.socket), change.room));
      default:
        return joinIds(change.kind, change.user);
    }
  }

  /** Has settle look at a user; of several reasons the one that means most. */
  #addUser(change: Exclude<PresenceWrite, RoomWrite>): UserUpdate {
    const reason = toReasonCode(change);
    const turn = this.#users.get(change.user);
    if (turn === undefined) {
      const first: UserUpdate = { reason, facts: [] };
      this.#users.set(change.user, first);
      return first;
    }
    const before = turn.reason;
    if (before === 0 || reason === 0) turn.reason = 0;
    else if (before < 0 && reason < 0) turn.reason = Math.min(before, reason);
    else turn.reason = Math.max(before, reason);
    return turn;
  }

  /** What people set themselves, what others own, and rooms. */
  #writeOthers(changes: readonly PresenceWrite[], own: boolean): void {
    const { keys, node } = this.#settings;
    const removed = new Map<string, string[]>();
    const told = new Map<string, string[]>();
    const joined: string[] = [];
    const rooms: RoomWrite[] = [];
    for (const change of changes) {
      switch (change.kind) {
        case 'status': {
          this.#writeFact(change.user, joinIds('', 'status'), change.value);
          break;
        }
        case 'socket': {
          const owner = change.owner as string;
          const owned = joinIds(change.user, change.socket);
          this.#writeFact(change.user, joinIds(owner, change.socket), change.value);
          append(removed, owner, owned);
          if (change.tell !== undefined) append(told, change.tell, owned);
          break;
        }
        case 'room': {
          const owned = joinIds(joinIds(change.user, change.socket), change.room);
          rooms.push(change);
          if (change.info !== undefined) joined.push(owned);
          else append(removed, change.owner ?? node, owned);
        }
      }
    }
    if (joined.length > 0) this.#writePairs(joined);
    for (const [owner, owned] of removed) this.commands.push(['SREM', keys.node(owner), ...owned]);
    for (const [channel, owned] of told) this.commands.push(['PUBLISH', channel, JSON.stringify(owned)]);
    if (rooms.length > 0) this.#call(this.#roomCall(rooms, own));
  }

  #writeFact(user: string, field: string, value: string | undefined): void {
    const facts = this.#settings.keys.sockets(user);
    this.commands.push(value === undefined ? ['HDEL', facts, field] : ['HSET', facts, field, value]);
  }

  /** Notes what the node answers for. */
  #writePairs(owned: readonly string[]): void {
    const { keys, node, keyTtl } = this.#settings;
    const key = keys.node(node);
    this.commands.push(['SADD', key, ...owned], ['PEXPIRE', key, String(keyTtl)]);
  }

  #call(call: ScriptCall): void {
    this.commands.push(call);
    this.#scripts++;
  }

  #settleCall(own: boolean, restoring: boolean): ScriptCall {
    const { keys, node, lease, keyTtl, lastSeenTtl, statuses, known, layout } = this.#settings;
    const names = [keys.nodes, keys.online, keys.due, keys.node(node)];
    let lines = '';
    for (const [user, { reason, facts }] of this.#users) {
      names.push(keys.sockets(user), keys.user(user));
      let why = String(reason);
      for (const { socket, value = '' } of facts) {
        lines += `${why}\n${socket}\n${value}\n`;
        why = '';
      }
      if (facts.length === 0) lines += `${why}\n\n\n`;
    }
    const args = [
      node,
      own ? String(lease) : '0',
      String(keyTtl),
      String(lastSeenTtl),
      keys.events,
      String(keys.socketsPrefix.length),
      restoring ? '1' : '0',
      `,${statuses.join(',')},`,
      String(known),
      layout.publishCommand,
      lines,
    ];
    return { script: updateUsersScript, keys: names, args };
  }

  #roomCall(rooms: readonly RoomWrite[], own: boolean): ScriptCall {
    const { keys, lease, keyTtl, node, known, layout } = this.#settings;
    const numbers = new Map<string, number>();
    const names = [keys.nodes];
    const args = [
      own ? node : '',
      String(lease),
      String(keyTtl),
      String(keys.roomPrefix.length),
      keys.roomEventsPrefix,
      String(known),
      layout.publishCommand,
    ];
    for (const change of rooms) {
      let number = numbers.get(change.room);
      if (number === undefined) {
        number = names.push(keys.room(change.room));
        numbers.set(change.room, number);
      }
      args.push(String(number), change.user, change.owner ?? node, change.socket, change.info ?? '');
    }
    return { script: updateRoomsScript, keys: names, args };
  }
}

const REASONS = { gone: 0, time: -1, active: -2, lost: -3 } as const;

/** Why settle looks at the user, in its terms. */
function toReasonCode(change: Exclude<PresenceWrite, RoomWrite>): number {
  if (change.kind === 'socket') return Math.round(change.grace);
  return change.kind === 'look' ? REASONS[change.reason] : REASONS.time;
}

/** Puts `change` among `facts`, in the place of an earlier change of the same one. */
function replace(facts: SocketWrite[], change: SocketWrite): void {
  const at = facts.findIndex(({ socket }) => socket === change.socket);
  if (at < 0) facts.push(change);
  else facts[at] = change;
}

function append(map: Map<string, string[]>, key: string, value: string): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

function unexpectedReplyError(): CommandError {
  return new CommandError('presence: Redis answered something else than the scripts return');
}
