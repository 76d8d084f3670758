import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { type Clock, jittered, type Timer } from '../clock.js';
import { escapeId } from '../codec.js';
import type { Reporter } from '../diagnostics.js';
import type { RollcallError } from '../errors.js';
import { type PartitionKeys, pair, partitionOf, unpair } from '../keys.js';
import type { Link } from '../redis/link.js';
import { toRollcallError } from '../redis/replies.js';
import type { LeaseObserver, PresenceStore } from './presence-store.js';
import { packFact } from './record.js';
import { renewScript, retireScript } from './scripts.js';

/** A socket this process is responsible for. Ids are escaped. */
export interface OwnedSocket {
  readonly user: string;
  readonly socket: string;
  readonly partition: number;
  readonly connectedAt: number;
  readonly status: string;
  /** JSON text. */
  readonly meta: string | undefined;
}

/** Options of {@link PresenceNode}. Durations in ms. */
export interface NodeOptions {
  readonly name: string;
  readonly link: Link;
  readonly keys: readonly PartitionKeys[];
  readonly lease: number;
  readonly renewEvery: number;
  readonly backstop: number;
  readonly grace: number;
  readonly reporter: Reporter;
  /** The lease was lost or a renewal failed: what this process sees of others is not to be trusted. */
  readonly onDoubt: () => void;
}

/** How many sockets are restored at a time, and how many keys one renewal refreshes at most. */
const CHUNK = 1_000;

/** After how many ms a failed renewal is tried again. */
const HURRY = 1_000;

/** A name for this process that is the same after a restart on the same host, within reason. */
export function defaultNodeName(): string {
  return (
    hostname()
      .replace(/[^A-Za-z0-9_.:-]/g, '-')
      .slice(0, 32) || 'node'
  );
}

/** Of the ids that one process had in turn, what they have in common. */
export function processOf(nodeId: string): string {
  return nodeId.replace(/(#[\w-]+)\.\d+$/, '$1');
}

/**
 * This process as an owner of sockets: its id, its lease, and what it owns. What it owns is what
 * ought to be in Redis: whenever that may have been lost, or a call's fate is unclear, it is
 * brought into line again.
 */
export class PresenceNode implements LeaseObserver {
  readonly #options: NodeOptions;
  readonly #clock: Clock;
  /** Name and a random part, new at every start; further incarnations are numbered. */
  readonly #process: string;
  readonly #owned = new Map<string, OwnedSocket>();
  /** Pairs whose state in Redis is unclear since a call failed. */
  readonly #doubtful = new Map<string, { user: string; socket: string; partition: number }>();
  /** Partition → this node's lease as last seen. */
  readonly #leases = new Map<number, number>();
  /** Earlier incarnations that may have left something behind. */
  #former: string[] = [];
  #id: string;
  #incarnations = 0;
  #store!: PresenceStore;
  #timer: Timer | undefined;
  #stopped = false;
  #restoring = false;
  /** Something asked for a restoration since the last one began. */
  #incomplete = false;
  #renewals = 0;
  /** Where the refresh of backstop TTLs goes on. */
  #refreshFrom: IterableIterator<OwnedSocket> | undefined;
  restored = 0;

  constructor(options: NodeOptions) {
    this.#options = options;
    this.#clock = options.link.clock;
    this.#process = `${options.name}#${randomBytes(6).toString('base64url')}`;
    this.#id = this.#process;
  }

  /** Name and incarnation; another one after every lost lease. */
  get id(): string {
    return this.#id;
  }

  /** How many sockets this process owns. */
  get size(): number {
    return this.#owned.size;
  }

  /** Where this node's facts go; called once, before anything else. */
  attach(store: PresenceStore): void {
    this.#store = store;
  }

  /** Starts renewing. */
  start(): void {
    this.#scheduleRenewal(this.#options.renewEvery);
  }

  /** Stops renewing. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  /** What all incarnations of this process have in common: where they are told things. */
  get process(): string {
    return this.#process;
  }

  /** Removes all sockets and gives the leases back. */
  async removeAll(grace: number): Promise<void> {
    this.stop();
    const owned = [...this.#owned.values()];
    await Promise.all(
      owned.map(({ partition, user, socket }) => this.remove(partition, user, socket, grace)),
    );
    await this.#repair();
    const id = this.#id;
    for (const partition of this.#leases.keys()) {
      const keys = this.#options.keys[partition] as PartitionKeys;
      const call = { script: retireScript, keys: [keys.nodes, keys.node(id)], args: [id] };
      await this.#options.link.run('close', [call], { key: keys.nodes });
    }
  }

  /** True when this process owns the socket. */
  owns(user: string, socket: string): boolean {
    return this.#owned.has(pair(user, socket));
  }

  /** Registers or updates a socket; resolves with the user's record. */
  async set(
    partition: number,
    user: string,
    socket: string,
    status: string,
    meta: string | undefined,
  ): Promise<string | null> {
    const key = pair(user, socket);
    const before = this.#owned.get(key);
    const connectedAt = before?.connectedAt ?? this.#clock.now();
    const owned: OwnedSocket = { user, socket, partition, connectedAt, status, meta };
    this.#owned.set(key, owned);
    try {
      return await this.#write(owned);
    } catch (error) {
      // The caller was told that it failed; unless a later call says otherwise, so shall it be.
      if (this.#owned.get(key) === owned) {
        if (before === undefined) this.#owned.delete(key);
        else this.#owned.set(key, before);
      }
      this.#doubtful.set(key, { user, socket, partition });
      throw error;
    }
  }

  /** Removes a socket this process owns; resolves with the user's record. */
  async remove(partition: number, user: string, socket: string, grace: number): Promise<string | null> {
    const key = pair(user, socket);
    this.#owned.delete(key);
    try {
      return await this.#erase(partition, user, socket, grace);
    } catch (error) {
      // A closed connection will not be closed again: the removal is made up for later.
      this.#doubtful.set(key, { user, socket, partition });
      throw error;
    }
  }

  /** Another process removed these sockets of ours. */
  removedElsewhere(pairs: readonly string[]): void {
    for (const key of pairs) this.#owned.delete(key);
  }

  known(partition: number): number {
    return this.#leases.get(partition) ?? 0;
  }

  observed(partition: number, nodeId: string, known: number, was: number, is: number): void {
    if (nodeId !== this.#id) return;
    if (is > 0) this.#leases.set(partition, is);
    if (is <= 0 || (known > 0 && was === 0)) this.#leaseLost();
    // The lease is older than one we know was written: a failover lost it, and facts with it.
    else if (was < known) this.#restore();
  }

  #write(owned: OwnedSocket, restoring = false): Promise<string | null> {
    return this.#store.apply(owned.partition, {
      user: owned.user,
      socket: owned.socket,
      value: packFact(owned.status, owned.connectedAt, owned.meta),
      grace: this.#options.grace,
      restoring,
    });
  }

  async #erase(partition: number, user: string, socket: string, grace: number): Promise<string | null> {
    const gone = [this.#store.apply(partition, { user, socket, grace })];
    for (const owner of this.#former) gone.push(this.#store.apply(partition, { user, socket, grace, owner }));
    const records = await Promise.all(gone);
    return records.at(-1) ?? null;
  }

  #scheduleRenewal(delay: number): void {
    if (this.#stopped) return;
    const renew = () => {
      this.#renew().then(
        () => this.#scheduleRenewal(this.#options.renewEvery),
        (error: unknown) => {
          this.#options.onDoubt();
          if (!this.#stopped) this.#options.reporter.report(toRollcallError(error), { stage: 'renew' });
          // The lease is running out: be there as soon as Redis is.
          this.#scheduleRenewal(Math.min(this.#options.renewEvery, HURRY));
        },
      );
    };
    this.#timer = this.#clock.after(jittered(this.#clock, delay), renew, { keepAlive: false });
  }

  async #renew(): Promise<void> {
    const refresh = this.#dueForRefresh();
    for (const partition of [...this.#leases.keys()]) {
      await this.#renewIn(partition, refresh.get(partition) ?? []);
    }
    if (this.#incomplete) this.#restore();
    await this.#repair();
  }

  async #renewIn(partition: number, refresh: readonly OwnedSocket[]): Promise<void> {
    const { link, lease, backstop } = this.#options;
    const keys = this.#options.keys[partition] as PartitionKeys;
    const id = this.#id;
    const known = this.known(partition);
    const names = [keys.nodes, keys.node(id)];
    for (const owned of refresh) names.push(keys.sockets(owned.user), keys.user(owned.user));
    const call = { script: renewScript, keys: names, args: [id, String(lease), String(backstop)] };
    const [reply] = await link.run('renew', [call], { key: keys.nodes });
    const replies = reply as readonly (string | number)[];
    this.observed(partition, id, known, Number(replies[0]), Number(replies[1]));
    // A key that has gone although nobody removed it was evicted.
    refresh.forEach((owned, at) => {
      const whole = replies[3 + 2 * at] === 1 && replies[4 + 2 * at] === 1;
      if (!whole && this.#owned.get(pair(owned.user, owned.socket)) === owned) this.#rewrite(owned);
    });
  }

  /**
   * The sockets whose users' TTLs this renewal starts again: a slice of all, so that each one's turn
   * comes several times per backstop. It rides in the renewal: no command more however many there are.
   */
  #dueForRefresh(): Map<number, OwnedSocket[]> {
    const { backstop, renewEvery } = this.#options;
    const turns = Math.max(1, Math.floor(backstop / 3 / renewEvery));
    const due = new Map<number, OwnedSocket[]>();
    if (this.#refreshFrom === undefined && this.#renewals++ % turns !== 0) return due;
    this.#refreshFrom ??= this.#owned.values();
    const slice = Math.min(CHUNK, Math.max(64, Math.ceil((2 * this.#owned.size) / turns)));
    for (let count = 0; count < slice; count++) {
      const next = this.#refreshFrom.next();
      if (next.done === true) {
        this.#refreshFrom = undefined;
        break;
      }
      const list = due.get(next.value.partition);
      if (list === undefined) due.set(next.value.partition, [next.value]);
      else list.push(next.value);
    }
    return due;
  }

  #rewrite(owned: OwnedSocket): void {
    this.#write(owned, true).then(
      () => {
        this.restored++;
      },
      (error: RollcallError) => this.#options.reporter.report(error, { stage: 'restore' }),
    );
  }

  /** Brings what failed calls left behind into line with what this process owns. */
  async #repair(): Promise<void> {
    const doubtful = [...this.#doubtful];
    await Promise.all(
      doubtful.map(async ([key, { user, socket, partition }]) => {
        const owned = this.#owned.get(key);
        this.#doubtful.delete(key);
        try {
          await (owned === undefined
            ? this.#erase(partition, user, socket, this.#options.grace)
            : this.#write(owned));
        } catch (error) {
          this.#doubtful.set(key, { user, socket, partition });
          throw error;
        }
      }),
    );
  }

  /** Somebody took this incarnation for dead, or Redis was wiped: go on as a new one. */
  #leaseLost(): void {
    this.#former.push(this.#id);
    this.#id = `${this.#process}.${++this.#incarnations}`;
    this.#leases.clear();
    this.#options.onDoubt();
    this.#restore();
  }

  /** Brings Redis into line with everything owned; what fails is tried again at the next renewal. */
  #restore(): void {
    this.#incomplete = true;
    if (this.#restoring) return;
    this.#restoring = true;
    this.#restoreAll()
      .catch((error: unknown) => {
        this.#incomplete = true;
        if (!this.#stopped) this.#options.reporter.report(toRollcallError(error), { stage: 'restore' });
      })
      .finally(() => {
        this.#restoring = false;
      });
  }

  /** Writes everything owned, in chunks, then removes what is there and not owned. */
  async #restoreAll(): Promise<void> {
    this.#incomplete = false;
    const keys = [...this.#owned.keys()];
    for (let at = 0; at < keys.length && !this.#stopped; at += CHUNK) {
      const chunk = keys.slice(at, at + CHUNK);
      await Promise.all(
        chunk.map((key) => {
          const owned = this.#owned.get(key);
          return owned === undefined ? null : this.#write(owned, true);
        }),
      );
      this.restored += chunk.length;
      if (at + CHUNK < keys.length) await this.#pause();
    }
    const former = this.#former;
    for (const nodeId of [...former, this.#id]) await this.#removeStrangers(nodeId);
    this.#former = this.#former.filter((nodeId) => !former.includes(nodeId));
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#clock.after(jittered(this.#clock, 50, 0.9), resolve);
    });
  }

  /** Removes the facts of `nodeId`, one of ours, that this process does not stand for. */
  async #removeStrangers(nodeId: string): Promise<void> {
    const { link, keys, grace } = this.#options;
    for (let partition = 0; partition < keys.length; partition++) {
      const names = keys[partition] as PartitionKeys;
      let cursor = '0';
      do {
        const [reply] = await link.run(
          'restore',
          [['SSCAN', names.node(nodeId), cursor, 'COUNT', String(CHUNK)]],
          {
            key: names.nodes,
          },
        );
        const [next, pairs] = reply as unknown as [string, string[]];
        cursor = next;
        const strangers = pairs.filter((key) => nodeId !== this.#id || !this.#owned.has(key));
        await Promise.all(
          strangers.map((key) => {
            const [user, socket] = unpair(key);
            return this.#store.apply(partition, { user, socket, grace, owner: nodeId });
          }),
        );
      } while (cursor !== '0');
    }
  }
}

/** The escaped forms of a user and a socket, and the user's partition. */
export function address(
  userId: string,
  socketId: string,
  partitions: number,
): { user: string; socket: string; partition: number } {
  return { user: escapeId(userId), socket: escapeId(socketId), partition: partitionOf(userId, partitions) };
}
