import { CommandError } from '../errors.js';
import { type PartitionKeys, pair } from '../keys.js';
import type { Command, Reply, ScriptCall } from '../redis/driver.js';
import { type Change, isOwn, isRestoring, type RoomChange, type SocketChange } from './changes.js';
import type { Layout } from './layout.js';
import { roomScript, settleScript } from './scripts.js';

/** What a transaction is composed under. Durations in ms. */
export interface TransactionSettings {
  readonly keys: PartitionKeys;
  /** This process's node, under whose id facts without an owner are written. */
  readonly node: string;
  /** The node's lease as last seen; 0 for none. */
  readonly known: number;
  readonly lease: number;
  readonly backstop: number;
  readonly lastSeenTtl: number;
  readonly statuses: readonly string[];
  readonly layout: Pick<Layout, 'publish'>;
}

/** What a transaction brought about. */
export interface Settled {
  /** User → his record, for those that were settled. */
  readonly records: ReadonlyMap<string, string | null>;
  /** The node's lease before and after, for each script that saw it; 0 for none. */
  readonly leases: readonly { was: number; is: number }[];
}

/**
 * One MULTI: the facts of some changes as plain commands, then the scripts that derive everything
 * else. Of several changes to one fact only the last one counts.
 */
export class Transaction {
  readonly commands: Command[] = [];
  readonly #settings: TransactionSettings;
  readonly #restoring: boolean;
  readonly #users = new Map<string, number>();
  readonly #added: string[] = [];
  readonly #removed = new Map<string, string[]>();
  readonly #told = new Map<string, string[]>();
  readonly #rooms: RoomChange[] = [];
  #scripts = 0;

  constructor(settings: TransactionSettings, changes: readonly Change[]) {
    this.#settings = settings;
    this.#restoring = changes.some(isRestoring);
    const latest = new Map<string, Change>();
    for (const change of changes) {
      const key = this.#factOf(change);
      // Set anew, the last one also comes last.
      latest.delete(key);
      latest.set(key, change);
      if (change.kind !== 'room') this.#look(change.user, reasonOf(change));
    }
    for (const change of latest.values()) this.#write(change);
    this.#writePairs();
    const node = changes.some(isOwn) ? settings.node : '';
    if (this.#rooms.length > 0) this.#call(this.#roomCall(node));
    if (this.#users.size > 0) this.#call(this.#settleCall(node));
  }

  /** Makes sense of the replies. */
  settled(replies: readonly Reply[]): Settled {
    const results = replies.slice(replies.length - this.#scripts);
    const leases: { was: number; is: number }[] = [];
    for (const result of results) {
      if (!Array.isArray(result)) throw unexpected();
      if (result[1] !== '') leases.push({ was: Number(result[0]), is: Number(result[1]) });
    }
    const records = new Map<string, string | null>();
    if (this.#users.size > 0) {
      const settled = results.at(-1) as readonly Reply[];
      if (settled.length !== this.#users.size + 2) throw unexpected();
      let at = 2;
      for (const user of this.#users.keys()) {
        const record = settled[at++];
        records.set(user, typeof record === 'string' ? record : null);
      }
    }
    return { records, leases };
  }

  #factOf(change: Change): string {
    const owner = 'owner' in change && change.owner !== undefined ? change.owner : this.#settings.node;
    switch (change.kind) {
      case 'socket':
        return pair(owner, pair(change.user, change.socket));
      case 'room':
        return pair(owner, pair(pair(change.user, change.socket), change.room));
      default:
        return pair(change.kind, change.user);
    }
  }

  /** Why settle looks at a user: of several reasons the one that means most. */
  #look(user: string, reason: number): void {
    const before = this.#users.get(user);
    if (before === undefined) this.#users.set(user, reason);
    else if (before === 0 || reason === 0) this.#users.set(user, 0);
    else if (before < 0 && reason < 0) this.#users.set(user, Math.min(before, reason));
    else this.#users.set(user, Math.max(before, reason));
  }

  #write(change: Change): void {
    switch (change.kind) {
      case 'socket':
        return this.#writeSocket(change);
      case 'status': {
        const facts = this.#settings.keys.sockets(change.user);
        const field = pair('', 'status');
        this.commands.push(
          change.value === undefined ? ['HDEL', facts, field] : ['HSET', facts, field, change.value],
        );
        return;
      }
      case 'room':
        this.#rooms.push(change);
        return this.#own(
          change,
          change.info !== undefined,
          pair(pair(change.user, change.socket), change.room),
        );
      case 'look':
    }
  }

  #writeSocket(change: SocketChange): void {
    const facts = this.#settings.keys.sockets(change.user);
    const owned = pair(change.user, change.socket);
    const field = pair(change.owner ?? this.#settings.node, change.socket);
    this.commands.push(
      change.value === undefined ? ['HDEL', facts, field] : ['HSET', facts, field, change.value],
    );
    this.#own(change, change.value !== undefined, owned);
    if (change.tell !== undefined) append(this.#told, change.tell, owned);
  }

  #own(change: { owner?: string }, added: boolean, owned: string): void {
    if (added) this.#added.push(owned);
    else append(this.#removed, change.owner ?? this.#settings.node, owned);
  }

  #writePairs(): void {
    const { keys, node, backstop } = this.#settings;
    if (this.#added.length > 0) {
      const key = keys.node(node);
      this.commands.push(['SADD', key, ...this.#added], ['PEXPIRE', key, String(backstop)]);
    }
    for (const [owner, owned] of this.#removed) this.commands.push(['SREM', keys.node(owner), ...owned]);
    for (const [channel, owned] of this.#told) {
      this.commands.push(['PUBLISH', channel, JSON.stringify(owned)]);
    }
  }

  #call(call: ScriptCall): void {
    this.commands.push(call);
    this.#scripts++;
  }

  #settleCall(node: string): ScriptCall {
    const { keys, lease, backstop, lastSeenTtl, statuses, known, layout } = this.#settings;
    const names = [keys.nodes, keys.online, keys.due];
    const args = [
      node,
      String(lease),
      String(backstop),
      String(lastSeenTtl),
      keys.events,
      String(keys.socketsPrefix.length),
      this.#restoring ? '1' : '0',
      `,${statuses.join(',')},`,
      String(known),
      layout.publish,
    ];
    for (const [user, reason] of this.#users) {
      names.push(keys.sockets(user), keys.user(user));
      args.push(String(reason));
    }
    return { script: settleScript, keys: names, args };
  }

  #roomCall(node: string): ScriptCall {
    const { keys, lease, backstop, node: self, known, layout } = this.#settings;
    const numbers = new Map<string, number>();
    const names = [keys.nodes];
    const args = [
      node,
      String(lease),
      String(backstop),
      String(keys.roomPrefix.length),
      keys.roomEventsPrefix,
      String(known),
      layout.publish,
    ];
    for (const change of this.#rooms) {
      let number = numbers.get(change.room);
      if (number === undefined) {
        number = names.push(keys.room(change.room));
        numbers.set(change.room, number);
      }
      args.push(String(number), change.user, change.owner ?? self, change.socket, change.info ?? '');
    }
    return { script: roomScript, keys: names, args };
  }
}

const REASONS = { gone: 0, time: -1, active: -2, lost: -3 } as const;

/** Why settle looks at the user, in its terms. */
function reasonOf(change: Exclude<Change, RoomChange>): number {
  if (change.kind === 'socket') return Math.round(change.grace);
  return change.kind === 'look' ? REASONS[change.reason] : REASONS.time;
}

function append(map: Map<string, string[]>, key: string, value: string): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

function unexpected(): CommandError {
  return new CommandError('presence: Redis answered something else than the scripts return');
}
