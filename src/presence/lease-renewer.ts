import { type Clock, jitter, type Timer } from '../internal/clock.js';
import type { ErrorReporter } from '../internal/diagnostics.js';
import type { ClientHandle } from '../redis/client-handle.js';
import { toRollcallError } from '../redis/replies.js';
import type { PartitionKeys } from './keys.js';
import type { LocalPresence } from './local-presence.js';
import type { LocalSockets } from './local-sockets.js';
import type { NodeLease } from './node-lease.js';
import type { PresenceWriter } from './presence-writer.js';
import type { Restorer } from './restorer.js';
import { removeNodeScript, renewLeaseScript } from './scripts.js';
import { type RefreshItem, TtlRefresher } from './ttl-refresher.js';

/** Options of {@link LeaseRenewer}. Durations in ms. */
export interface LeaseRenewerOptions {
  readonly client: ClientHandle;
  readonly keys: readonly PartitionKeys[];
  readonly lease: number;
  readonly renewInterval: number;
  readonly keyTtl: number;
  readonly grace: number;
  readonly reporter: ErrorReporter;
  readonly nodeLease: NodeLease;
  readonly localSockets: LocalSockets;
  readonly writer: PresenceWriter;
  readonly restorer: Restorer;
  readonly local: LocalPresence;
}

/** Longest pause, in ms, between a failed renewal and the next attempt. */
const RETRY_INTERVAL = 1_000;

/** Renews the node's lease in every partition, and with it the TTLs of the keys that this process's sockets live in. */
export class LeaseRenewer {
  readonly #options: LeaseRenewerOptions;
  readonly #clock: Clock;
  readonly #refresher: TtlRefresher;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(options: LeaseRenewerOptions) {
    this.#options = options;
    this.#clock = options.client.clock;
    this.#refresher = new TtlRefresher(options);
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

  /** Removes the node from every partition. Call it once all sockets are removed. */
  async release(): Promise<void> {
    this.stop();
    const { nodeLease, client } = this.#options;
    const { id } = nodeLease;
    const removed = nodeLease.partitions.map((partition) => {
      const keys = this.#options.keys[partition] as PartitionKeys;
      const call = { script: removeNodeScript, keys: [keys.nodes, keys.node(id)], args: [id] };
      return client.execute('close', [call], { key: keys.nodes });
    });
    await Promise.all(removed);
  }

  #schedule(delay: number): void {
    if (this.#stopped) return;
    const { client, nodeLease, renewInterval } = this.#options;
    const renew = () => {
      // A timer must not reopen a client that its owner closed, or that has stopped reconnecting.
      if (client.ended) {
        nodeLease.onRenewalFailed();
        return this.#schedule(RETRY_INTERVAL);
      }
      this.#renew().then(
        () => this.#schedule(renewInterval),
        (error: unknown) => {
          this.#report(error);
          // The lease is running out: renew soon after Redis is back.
          this.#schedule(Math.min(renewInterval, RETRY_INTERVAL));
        },
      );
    };
    this.#timer = this.#clock.after(jitter(this.#clock, delay), renew, { keepAlive: false });
  }

  async #renew(): Promise<void> {
    const { nodeLease, restorer, local } = this.#options;
    const slice = this.#refresher.next();
    // In parallel: an unreachable partition must not cost the node its lease in the others.
    const renewed = await Promise.allSettled(
      nodeLease.partitions.map(async (partition) => {
        try {
          await this.#renewIn(partition, slice.get(partition) ?? []);
        } catch (error) {
          nodeLease.onRenewalFailed(partition);
          throw error;
        }
      }),
    );
    for (const outcome of renewed) if (outcome.status === 'rejected') throw outcome.reason;
    restorer.resume();
    await local.repair();
  }

  async #renewIn(partition: number, items: readonly RefreshItem[]): Promise<void> {
    const { client, lease, keyTtl, nodeLease } = this.#options;
    const keys = this.#options.keys[partition] as PartitionKeys;
    const { id } = nodeLease;
    const known = nodeLease.knownLease(partition);
    const names = [keys.nodes, keys.node(id), keys.online];
    for (const item of items) names.push(...item.keys);
    const call = {
      script: renewLeaseScript,
      keys: names,
      args: [id, String(lease), String(keyTtl), String(known)],
    };
    const [reply] = await client.execute('renew', [call], { key: keys.nodes });
    const replies = reply as readonly (string | number)[];
    nodeLease.onLeaseSeen(partition, id, known, Number(replies[0]), Number(replies[1]));
    // A lost lease, or one that shows a loss, refreshes nothing.
    if (replies.length > 2) await this.#rewriteEvicted(partition, items, replies.slice(4));
  }

  /** Writes entries again whose keys are gone although no node removed them. `found` is 1 for each key that exists. */
  async #rewriteEvicted(
    partition: number,
    items: readonly RefreshItem[],
    found: readonly (string | number)[],
  ): Promise<void> {
    const { writer, restorer } = this.#options;
    let at = 0;
    const rewritten: Promise<unknown>[] = [];
    for (const item of items) {
      const complete = item.keys.every(() => found[at++] === 1);
      const write = complete ? undefined : item.rewrite();
      if (write !== undefined) rewritten.push(writer.apply(partition, write));
    }
    await Promise.all(rewritten);
    restorer.restored += rewritten.length;
  }

  #report(error: unknown): void {
    if (!this.#stopped) this.#options.reporter.report(toRollcallError(error), { stage: 'renew' });
  }
}
