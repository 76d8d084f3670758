import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { type Clock, jitter, type Timer } from '../internal/clock.js';
import type { ErrorReporter } from '../internal/diagnostics.js';
import { CommandError } from '../internal/errors.js';
import type { ClientHandle } from '../redis/client-handle.js';
import type { PlainCommand } from '../redis/driver.js';
import { toRollcallError } from '../redis/replies.js';
import { joinIds, type PartitionKeys } from './keys.js';
import { type LocalSocket, type LocalSockets, toRoomWrite, toSocketWrite } from './local-sockets.js';
import type { LeaseObserver, PresenceWriter } from './presence-writer.js';
import { removeNodeScript, renewLeaseScript } from './scripts.js';
import { type RefreshItem, TtlRefresher } from './ttl-refresher.js';
import { createRemoval } from './writes.js';

/** Options of {@link NodeLease}. Durations in ms. */
export interface NodeLeaseOptions {
  readonly name: string;
  readonly client: ClientHandle;
  readonly keys: readonly PartitionKeys[];
  readonly lease: number;
  readonly renewInterval: number;
  readonly keyTtl: number;
  readonly grace: number;
  readonly reporter: ErrorReporter;
  readonly owned: LocalSockets;
  /** After every renewal that came through. */
  readonly afterRenewal: () => Promise<void>;
  /**
   * The lease was lost or a renewal failed, in one partition or anywhere: what this process sees of
   * others there is not to be trusted.
   */
  readonly onDoubt: (partition?: number) => void;
}

/** How many facts are restored at a time. */
const RESTORE_BATCH = 1_000;

/** After how many ms a failed renewal is tried again. */
const RETRY_INTERVAL = 1_000;

/** A name for this process that is the same after a restart on the same host, within reason. */
export function defaultNodeName(): string {
  return (
    hostname()
      .replace(/[^A-Za-z0-9_.:-]/g, '-')
      .slice(0, 32) || 'node'
  );
}

/** Of the ids that one process had in turn, what they have in common. */
export function instanceIdOf(nodeId: string): string {
  return nodeId.replace(/(#[\w-]+)\.\d+$/, '$1');
}

/**
 * This process's claim to be alive: its id, its lease in each partition it wrote to, and what happens
 * when that is lost. Whenever facts may have been lost, all that is owned is written again.
 */
export class NodeLease implements LeaseObserver {
  /** Name and a random part, new at every start: where this process is told things. */
  readonly instanceId: string;
  /** Facts written again after Redis lost them. */
  restored = 0;
  readonly #options: NodeLeaseOptions;
  readonly #clock: Clock;
  /** Partition → the lease as last seen. */
  readonly #leases = new Map<number, number>();
  /** Earlier incarnations that may have left something behind. */
  #former: string[] = [];
  readonly #refresh: TtlRefresher;
  #id: string;
  #incarnations = 0;
  #writer!: PresenceWriter;
  #timer: Timer | undefined;
  #stopped = false;
  #restoring = false;
  /** Something asked for a restoration since the last one began. */
  #incomplete = false;

  constructor(options: NodeLeaseOptions) {
    this.#options = options;
    this.#clock = options.client.clock;
    this.instanceId = `${options.name}#${randomBytes(6).toString('base64url')}`;
    this.#id = this.instanceId;
    this.#refresh = new TtlRefresher(options);
  }

  /** The node's id; a numbered one after every lost lease. */
  get id(): string {
    return this.#id;
  }

  /** Earlier incarnations that may have left something behind. */
  get previousIds(): readonly string[] {
    return this.#former;
  }

  /** Where facts go; called once, before anything else. */
  attach(writer: PresenceWriter): void {
    this.#writer = writer;
  }

  /** Starts renewing. */
  start(): void {
    this.#schedule(this.#options.renewInterval);
  }

  /** Stops renewing. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  /** Gives the leases back, once nothing is owned any more. */
  async release(): Promise<void> {
    this.stop();
    const id = this.#id;
    const retired = [...this.#leases.keys()].map((partition) => {
      const keys = this.#options.keys[partition] as PartitionKeys;
      const call = { script: removeNodeScript, keys: [keys.nodes, keys.node(id)], args: [id] };
      return this.#options.client.execute('close', [call], { key: keys.nodes });
    });
    await Promise.all(retired);
  }

  /**
   * Which of `sockets` Redis does not list as this node's any more. None while the lease shows a loss:
   * then Redis is what is wrong.
   */
  async findMissing(sockets: readonly LocalSocket[]): Promise<LocalSocket[]> {
    const missing: LocalSocket[] = [];
    for (const partition of new Set(sockets.map((owned) => owned.partition))) {
      const own = sockets.filter((owned) => owned.partition === partition);
      const keys = this.#options.keys[partition] as PartitionKeys;
      const id = this.#id;
      // What is on its way goes first.
      const [first] = own as [LocalSocket];
      await this.#writer.apply(partition, { kind: 'look', user: first.user, reason: 'time' });
      const known = this.knownLease(partition);
      const commands: PlainCommand[] = [['ZSCORE', keys.nodes, id]];
      for (const { user, socket } of own) commands.push(['SISMEMBER', keys.node(id), joinIds(user, socket)]);
      const [score, ...listed] = await this.#options.client.execute('removeSocket', commands, {
        key: keys.nodes,
      });
      // A loss that is known is being made up for: until then much is missing that nobody removed.
      if (this.#restoring || this.#incomplete) continue;
      if (id !== this.#id || score === null || Number(score) < known) continue;
      missing.push(...own.filter((_, at) => Number(listed[at]) === 0));
    }
    return missing;
  }

  knownLease(partition: number): number {
    return this.#leases.get(partition) ?? 0;
  }

  onLeaseSeen(partition: number, nodeId: string, known: number, was: number, is: number): void {
    // What was sent under an earlier incarnation says nothing about this one.
    if (nodeId !== this.#id) return;
    if (is > 0) this.#leases.set(partition, is);
    if (is <= 0 || (known > 0 && was === 0)) this.#leaseLost();
    // The lease is older than one we know was written: a failover lost it, and facts with it.
    else if (was < known) this.#restore();
  }

  #schedule(delay: number): void {
    if (this.#stopped) return;
    const renew = () => {
      // A client that its owner closed, or that gave up, is not for a timer to open again.
      if (this.#options.client.ended) {
        this.#options.onDoubt();
        return this.#schedule(RETRY_INTERVAL);
      }
      this.#renew().then(
        () => this.#schedule(this.#options.renewInterval),
        (error: unknown) => {
          this.#report(error, 'renew');
          // The lease is running out: be there as soon as Redis is.
          this.#schedule(Math.min(this.#options.renewInterval, RETRY_INTERVAL));
        },
      );
    };
    this.#timer = this.#clock.after(jitter(this.#clock, delay), renew, { keepAlive: false });
  }

  async #renew(): Promise<void> {
    const refresh = this.#refresh.next();
    // All at once: one that cannot be reached must not cost the others their lease.
    const renewed = await Promise.allSettled(
      [...this.#leases.keys()].map(async (partition) => {
        try {
          await this.#renewIn(partition, refresh.get(partition) ?? []);
        } catch (error) {
          this.#options.onDoubt(partition);
          throw error;
        }
      }),
    );
    for (const outcome of renewed) if (outcome.status === 'rejected') throw outcome.reason;
    if (this.#incomplete) this.#restore();
    await this.#options.afterRenewal();
  }

  async #renewIn(partition: number, refresh: readonly RefreshItem[]): Promise<void> {
    const { client, lease, keyTtl } = this.#options;
    const keys = this.#options.keys[partition] as PartitionKeys;
    const id = this.#id;
    const known = this.knownLease(partition);
    const names = [keys.nodes, keys.node(id), keys.online];
    for (const each of refresh) names.push(...each.keys);
    const call = {
      script: renewLeaseScript,
      keys: names,
      args: [id, String(lease), String(keyTtl), String(known)],
    };
    const [reply] = await client.execute('renew', [call], { key: keys.nodes });
    const replies = reply as readonly (string | number)[];
    this.onLeaseSeen(partition, id, known, Number(replies[0]), Number(replies[1]));
    // Of a lease that is lost, or shows a loss, nothing was refreshed.
    if (replies.length > 2) await this.#rewriteEvicted(partition, refresh, replies.slice(4));
  }

  /** A key that has gone although nobody removed it was evicted. */
  async #rewriteEvicted(
    partition: number,
    refreshed: readonly RefreshItem[],
    found: readonly (string | number)[],
  ): Promise<void> {
    let at = 0;
    const rewritten: Promise<unknown>[] = [];
    for (const each of refreshed) {
      const whole = each.keys.every(() => found[at++] === 1);
      const change = whole ? undefined : each.rewrite();
      if (change !== undefined) rewritten.push(this.#writer.apply(partition, change));
    }
    await Promise.all(rewritten);
    this.restored += rewritten.length;
  }

  /** Somebody took this incarnation for dead, or Redis was wiped: go on as a new one. */
  #leaseLost(): void {
    this.#former.push(this.#id);
    this.#id = `${this.instanceId}.${++this.#incarnations}`;
    this.#leases.clear();
    this.#options.onDoubt();
    this.#restore();
  }

  /** Brings Redis into line with all that is owned; what fails is tried again at the next renewal. */
  #restore(): void {
    this.#incomplete = true;
    if (this.#restoring) return;
    this.#restoring = true;
    this.#restoreAll()
      .catch((error: unknown) => {
        this.#incomplete = true;
        this.#report(error, 'restore');
      })
      .finally(() => {
        this.#restoring = false;
      });
  }

  /** Writes all that is owned, in chunks, then removes what is there and not owned. */
  async #restoreAll(): Promise<void> {
    this.#incomplete = false;
    const { owned, grace, keys } = this.#options;
    await this.#inChunks([...owned.sockets.keys()], (key) => {
      const socket = owned.sockets.get(key);
      return socket && this.#writer.apply(socket.partition, toSocketWrite(socket, grace, true));
    });
    await this.#inChunks([...owned.memberships.keys()], (key) => {
      const membership = owned.memberships.get(key);
      return membership && this.#writer.apply(membership.partition, toRoomWrite(membership, true));
    });
    const former = [...this.#former];
    for (const nodeId of [...former, this.#id]) {
      await Promise.all(keys.map((_, partition) => this.#removeOrphans(partition, nodeId)));
    }
    this.#former = this.#former.filter((nodeId) => !former.includes(nodeId));
  }

  async #inChunks(
    all: readonly string[],
    write: (key: string) => Promise<unknown> | undefined,
  ): Promise<void> {
    let refused: CommandError | undefined;
    for (let at = 0; at < all.length && !this.#stopped; at += RESTORE_BATCH) {
      const chunk = all.slice(at, at + RESTORE_BATCH);
      await Promise.all(
        chunk.map(async (key) => {
          try {
            await write(key);
            this.restored++;
          } catch (error) {
            // One that is refused must not keep the others from coming back.
            if (!(error instanceof CommandError)) throw error;
            refused ??= error;
          }
        }),
      );
      if (at + RESTORE_BATCH < all.length) await this.#pause();
    }
    if (refused !== undefined) throw refused;
  }

  /** Many processes restore at the same time; each leaves room for the others. */
  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#clock.after(jitter(this.#clock, 20, 0.9), resolve);
    });
  }

  /** Removes the facts of `nodeId`, one of ours, that this process does not stand for. */
  async #removeOrphans(partition: number, nodeId: string): Promise<void> {
    const { client, grace, owned } = this.#options;
    const keys = this.#options.keys[partition] as PartitionKeys;
    let cursor = '0';
    do {
      const command = ['SSCAN', keys.node(nodeId), cursor, 'COUNT', String(RESTORE_BATCH)] as const;
      const [reply] = await client.execute('restore', [command], { key: keys.nodes });
      const [next, pairs] = reply as unknown as [string, string[]];
      cursor = next;
      const strangers = pairs.filter((key) => nodeId !== this.#id || !owned.has(key));
      await Promise.all(
        strangers.map((key) => this.#writer.apply(partition, createRemoval(key, nodeId, grace))),
      );
    } while (cursor !== '0');
  }

  #report(error: unknown, stage: 'renew' | 'restore'): void {
    if (!this.#stopped) this.#options.reporter.report(toRollcallError(error), { stage });
  }
}
