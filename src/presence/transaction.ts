import { CommandError } from '../internal/errors.js';
import type { Command, Reply, ScriptCall } from '../redis/driver.js';
import type { HiddenUsers } from './hidden-users.js';
import { joinIds, type PartitionKeys, roomMember } from './keys.js';
import type { PartitionLayout } from './partition-layout.js';
import { encodeOwnStatus } from './record.js';
import { updateRoomsScript, updateUsersScript } from './scripts.js';
import {
  isLocalWrite,
  isRestoring,
  type PresenceWrite,
  type Removal,
  type RoomGraceEnd,
  type RoomWrite,
  type SocketWrite,
  type TtlSocketWrite,
} from './writes.js';

/** Durations in ms. */
export interface TransactionSettings {
  readonly keys: PartitionKeys;
  /** Owns entries without an `owner`. */
  readonly nodeId: string;
  /** As last seen; 0: none. */
  readonly knownLease: number;
  readonly lease: number;
  readonly keyTtl: number;
  readonly lastSeenTtl: number;
  readonly statusPriority: readonly string[];
  readonly hidden: Pick<HiddenUsers, 'until' | 'concealsLastSeen'>;
  readonly layout: Pick<PartitionLayout, 'publishCommand'>;
}

export interface TransactionResult {
  /** `null`: no record. */
  recordOf(user: string): string | null;
  readonly records: ReadonlyMap<string, string | null>;
  /** Before and after each script that renewed it; 0: none. */
  readonly leases: readonly { before: number; after: number }[];
}

/** update-users.lua computes the user's record. */
interface UserUpdate {
  /** Code of update-users.lua. */
  reason: number;
  /** A socket was registered and removed within this transaction. */
  visited: boolean;
  /** The user's own status was written. */
  stated: boolean;
  /** An entry of another node was deleted. */
  deleted: boolean;
  /** Last sign of life of the node that had the sockets, in ms; 0: it did not die. */
  lastAlive: number;
  /** Entries of this node that are written or deleted. */
  readonly entries: SocketWrite[];
  readonly removals: Removal[];
  /** Layers of the user's own status, in order. */
  readonly statuses: string[];
  /** Hides `lastSeen` (a duration) or shows it (empty); `undefined`: as before. */
  concealed: string | undefined;
  /** Sockets without a process: socket → value for update-users.lua. */
  readonly ttlSockets: Map<string, string>;
  /** Sockets without a process may be removed, as in {@link Reevaluation}. */
  outage: number | undefined;
}

/**
 * Redis commands for some writes. One call of update-users.lua writes this node's socket entries and derives the
 * records; plain commands before it write all other entries. The last write of an entry counts.
 */
export class Transaction {
  readonly commands: Command[] = [];
  readonly #settings: TransactionSettings;
  readonly #users = new Map<string, UserUpdate>();
  /** Positions in `commands`. */
  readonly #scripts: number[] = [];

  constructor(settings: TransactionSettings, writes: readonly PresenceWrite[]) {
    this.#settings = settings;
    const others = new Map<string, PresenceWrite>();
    for (const write of writes) {
      if (write.kind === 'socket' && (write.owner ?? settings.nodeId) === settings.nodeId) {
        this.#addEntry(this.#addUser(write), write);
        continue;
      }
      if (write.kind !== 'room' && write.kind !== 'room-grace') {
        const update = this.#addUser(write);
        if (write.kind === 'removal') {
          update.removals.push(write);
          // Removals are applied before registrations and heartbeats, and must win over earlier ones.
          if (write.socket === undefined) update.ttlSockets.clear();
          else update.ttlSockets.delete(write.socket);
          continue;
        }
        if (write.kind === 'ttl') {
          addTtlSocket(update, write);
          continue;
        }
        if (write.kind === 'status') {
          update.statuses.push(write.value ?? NO_STATUS);
          continue;
        }
        if (write.kind === 'last-seen') {
          update.concealed = write.concealed === undefined ? '' : String(Math.round(write.concealed));
          continue;
        }
      }
      const key = this.#entryKey(write);
      // Becomes the last in order.
      others.delete(key);
      others.set(key, write);
    }
    const renewsLease = writes.some(isLocalWrite);
    if (others.size > 0) this.#writeOthers([...others.values()], renewsLease);
    if (this.#users.size > 0) this.#call(this.#updateUsers(renewsLease, writes.some(isRestoring)));
  }

  /** @throws {@link CommandError} for replies that the scripts do not send. */
  parseReplies(replies: readonly Reply[]): TransactionResult {
    const results = this.#scripts.map((at) => replies[at]);
    const leases: { before: number; after: number }[] = [];
    for (const result of results) {
      if (!Array.isArray(result)) throw unexpectedReplyError();
      if (result[1] !== '') leases.push({ before: Number(result[0]), after: Number(result[1]) });
    }
    const records = new Map<string, string | null>();
    if (this.#users.size > 0) {
      const updated = results.at(-1) as readonly Reply[];
      if (updated.length !== this.#users.size + 2) throw unexpectedReplyError();
      let at = 2;
      for (const user of this.#users.keys()) {
        const record = updated[at++];
        records.set(user, typeof record === 'string' ? record : null);
      }
    }
    return { recordOf: (user) => records.get(user) ?? null, records, leases };
  }

  #entryKey(write: PresenceWrite): string {
    const owner = 'owner' in write && write.owner !== undefined ? write.owner : this.#settings.nodeId;
    switch (write.kind) {
      case 'socket':
        return joinIds(owner, joinIds(write.user, write.socket));
      case 'room':
        return joinIds(owner, joinIds(joinIds(write.user, write.socket), write.room));
      case 'room-grace':
        return joinIds(joinIds(write.kind, write.when), joinIds(write.user, write.room));
      default:
        return joinIds(write.kind, write.user);
    }
  }

  /** Of several reasons to update a user, the strongest counts. */
  #addUser(write: Exclude<PresenceWrite, RoomWrite | RoomGraceEnd>): UserUpdate {
    const reason = toReasonCode(write);
    const lastAlive = ('lastAlive' in write && write.lastAlive) || 0;
    const stated = write.kind === 'status';
    const outage = write.kind === 'look' ? write.outage : undefined;
    const { nodeId } = this.#settings;
    const owner = write.kind === 'socket' && write.value === undefined ? write.owner : undefined;
    const deleted = owner !== undefined && owner !== nodeId;
    const update = this.#users.get(write.user);
    if (update === undefined) {
      const first: UserUpdate = {
        reason,
        visited: false,
        stated,
        deleted,
        lastAlive,
        entries: [],
        removals: [],
        statuses: [],
        concealed: undefined,
        ttlSockets: new Map(),
        outage,
      };
      this.#users.set(write.user, first);
      return first;
    }
    update.stated ||= stated;
    update.deleted ||= deleted;
    update.lastAlive = Math.max(update.lastAlive, lastAlive);
    if (outage !== undefined) update.outage = Math.max(update.outage ?? 0, outage);
    const before = update.reason;
    if (before === 0 || reason === 0) update.reason = 0;
    else if (before < 0 && reason < 0) update.reason = Math.min(before, reason);
    else update.reason = Math.max(before, reason);
    return update;
  }

  #addEntry(update: UserUpdate, write: SocketWrite): void {
    const { entries } = update;
    const at = entries.findIndex(({ socket }) => socket === write.socket);
    if (at < 0) {
      entries.push(write);
      return;
    }
    update.visited = write.value === undefined && (update.visited || entries[at]?.value !== undefined);
    entries[at] = write;
  }

  /** Entries of other nodes, and rooms. */
  #writeOthers(writes: readonly PresenceWrite[], renewsLease: boolean): void {
    const { keys, nodeId } = this.#settings;
    const removed = new Map<string, string[]>();
    const joined = new Set<string>();
    const left = new Set<string>();
    const rooms: (RoomWrite | RoomGraceEnd)[] = [];
    for (const write of writes) {
      switch (write.kind) {
        case 'socket': {
          const owner = write.owner as string;
          const member = joinIds(write.user, write.socket);
          this.#writeEntry(write.user, joinIds(owner, write.socket), write.value);
          append(removed, owner, member);
          break;
        }
        case 'room-grace': {
          rooms.push(write);
          break;
        }
        case 'room': {
          rooms.push(write);
          if (write.info !== undefined) joined.add(roomMember(write.room));
          else if (write.owner === undefined && write.isLast === true) left.add(roomMember(write.room));
        }
      }
    }
    if (joined.size > 0) this.#addToOwnerSet([...joined]);
    for (const [owner, members] of removed) this.commands.push(['SREM', keys.node(owner), ...members]);
    if (rooms.length > 0) this.#call(this.#updateRooms(rooms, renewsLease));
    // After the script: an entry that could not be removed must stay reapable.
    if (left.size > 0) this.commands.push(['SREM', keys.node(nodeId), ...left]);
  }

  #writeEntry(user: string, field: string, value: string | undefined): void {
    const key = this.#settings.keys.sockets(user);
    this.commands.push(value === undefined ? ['HDEL', key, field] : ['HSET', key, field, value]);
  }

  #addToOwnerSet(members: readonly string[]): void {
    const { keys, nodeId, keyTtl, lastSeenTtl } = this.#settings;
    const key = keys.node(nodeId);
    this.commands.push(['SADD', key, ...members], ['PEXPIRE', key, String(Math.max(keyTtl, lastSeenTtl))]);
  }

  #call(call: ScriptCall): void {
    this.#scripts.push(this.commands.push(call) - 1);
  }

  #updateUsers(renewsLease: boolean, restoring: boolean): ScriptCall {
    const { keys, nodeId, lease, keyTtl, lastSeenTtl, statusPriority, knownLease, layout, hidden } =
      this.#settings;
    const names = [keys.nodes, keys.online, keys.due, keys.node(nodeId)];
    let lines = '';
    for (const [user, update] of this.#users) {
      names.push(keys.sockets(user), keys.user(user));
      const marks = `${update.visited ? 'v' : ''}${update.stated ? 's' : ''}${update.deleted ? 'd' : ''}`;
      let reason = `${marks}${update.reason}`;
      if (update.lastAlive > 0) reason += `@${update.lastAlive}`;
      const until = update.entries.length > 0 ? hidden.until(user) : undefined;
      if (until !== undefined) reason += `h${until}`;
      if (update.outage !== undefined) reason += `t${Math.round(update.outage)}`;
      if (update.entries.length > 0 && hidden.concealsLastSeen(user)) reason += 'l';
      for (const { socket = '', before = '', note } of update.removals) {
        lines += `${reason}\n"${socket}\n${note === undefined ? before : joinIds(before, note)}\n`;
        reason = '';
      }
      for (const { socket, value = '', first } of update.entries) {
        const mark = value === '' || first === true ? '' : '=';
        lines += `${reason}\n${socket}\n${mark}${value}\n`;
        reason = '';
      }
      for (const layer of update.statuses) {
        lines += `${reason}\n\t\n${layer}\n`;
        reason = '';
      }
      if (update.concealed !== undefined) {
        lines += `${reason}\n\tl\n${update.concealed}\n`;
        reason = '';
      }
      for (const [socket, value] of update.ttlSockets) {
        lines += `${reason}\n${socket}\n${value}\n`;
        reason = '';
      }
      if (reason !== '') lines += `${reason}\n\n\n`;
    }
    const args = [
      nodeId,
      renewsLease ? String(lease) : '0',
      String(keyTtl),
      String(lastSeenTtl),
      keys.events,
      String(keys.socketsPrefix.length),
      restoring ? '1' : '0',
      `,${statusPriority.join(',')},`,
      String(knownLease),
      layout.publishCommand,
      lines,
    ];
    return { script: updateUsersScript, keys: names, args };
  }

  #updateRooms(rooms: readonly (RoomWrite | RoomGraceEnd)[], renewsLease: boolean): ScriptCall {
    const { keys, lease, keyTtl, nodeId, knownLease, layout } = this.#settings;
    const numbers = new Map<string, number>();
    const names = [keys.nodes];
    const args = [
      renewsLease ? nodeId : '',
      String(lease),
      String(keyTtl),
      String(keys.roomPrefix.length),
      keys.roomEventsPrefix,
      String(knownLease),
      layout.publishCommand,
    ];
    for (const write of rooms) {
      const { room, user } = write;
      let number = numbers.get(room);
      if (number === undefined) {
        number = names.push(keys.room(room));
        numbers.set(room, number);
      }
      if (write.kind === 'room-grace') {
        args.push(String(number), user, '', write.when === 'now' ? 'end' : 'due', '');
        continue;
      }
      const { owner = nodeId, socket, grace } = write;
      const leaves = grace === undefined ? '' : `~${Math.round(grace)}`;
      args.push(String(number), user, owner, socket, write.info ?? leaves);
    }
    return { script: updateRoomsScript, keys: names, args };
  }
}

/** The layer that removes a user's own status. */
const NO_STATUS = encodeOwnStatus('', 0);

/** A heartbeat does not replace a registration in the same transaction. */
function addTtlSocket({ ttlSockets }: UserUpdate, { socket, ttl, entry = '' }: TtlSocketWrite): void {
  if (ttl !== undefined) ttlSockets.set(socket, `*${ttl}${entry}`);
  else if (!ttlSockets.has(socket)) ttlSockets.set(socket, '*');
}

const REASONS = { gone: 0, time: -1, active: -2, lost: -3 } as const;

function toReasonCode(write: Exclude<PresenceWrite, RoomWrite | RoomGraceEnd>): number {
  if (write.kind === 'socket' || write.kind === 'removal') return Math.round(write.grace);
  return write.kind === 'look' ? REASONS[write.reason] : REASONS.time;
}

function append(map: Map<string, string[]>, key: string, value: string): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

function unexpectedReplyError(): CommandError {
  return new CommandError('presence: unexpected reply from a script');
}
