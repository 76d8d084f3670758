import { type Clock, jitter, type Timer } from '../internal/clock.js';
import type { ErrorReporter } from '../internal/diagnostics.js';
import { ConnectionError } from '../internal/errors.js';
import { assertNoErrorReply, type ClientHandle } from '../redis/client-handle.js';
import { toRollcallError } from '../redis/replies.js';
import type { Inbox } from './inbox.js';
import { type PartitionKeys, roomMember } from './keys.js';
import type { LocalPresence } from './local-presence.js';
import type { LocalSocket, LocalSockets } from './local-sockets.js';
import type { NodeLease } from './node-lease.js';
import type { PresenceWriter } from './presence-writer.js';
import type { Restorer } from './restorer.js';
import { removeNodeScript, renewLeaseScript } from './scripts.js';
import { type RefreshItem, TtlRefresher } from './ttl-refresher.js';

/** Durations in ms. */
export interface LeaseRenewerOptions {
  readonly client: ClientHandle;
  readonly keys: readonly PartitionKeys[];
  readonly lease: number;
  readonly renewInterval: number;
  readonly keyTtl: number;
  readonly lastSeenTtl: number;
  readonly grace: number;
  readonly reporter: ErrorReporter;
  readonly nodeLease: NodeLease;
  readonly localSockets: LocalSockets;
  readonly writer: PresenceWriter;
  readonly inbox: Inbox;
  readonly restorer: Restorer;
  readonly local: LocalPresence;
}

/** The node adds these to its owner set first: if the set lost members, it lost these. */
interface Oldest {
  readonly socket: LocalSocket | undefined;
  readonly room: string | undefined;
}

/** Items per call, which takes Redis a few ms. */
const ITEMS_PER_CALL = 2_000;

/** In ms, after a failed renewal. */
const RETRY_INTERVAL = 1_000;

/** Renews the node's lease in every partition, and the TTLs of keys with entries of this process. */
export class LeaseRenewer {
  readonly #options: LeaseRenewerOptions;
  readonly #clock: Clock;
  readonly #refresher: TtlRefresher;
  #timer: Timer | undefined;
  #stopped = false;
  #unlisten = (): void => {};
  /** The client has ended, which was reported. */
  #clientEnded = false;

  constructor(options: LeaseRenewerOptions) {
    this.#options = options;
    this.#clock = options.client.clock;
    this.#refresher = new TtlRefresher(options);
  }

  /** False while the client is closed or does not reconnect: the leases expire. */
  get renewing(): boolean {
    return !this.#options.client.ended;
  }

  start(): void {
    this.#unlisten = this.#options.client.listen({
      connection: (state) => {
        if (state === 'ended') this.#onClientEnded();
        else if (state === 'ready') this.#clientEnded = false;
      },
    });
    this.#schedule(this.#options.renewInterval);
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#unlisten();
  }

  /** Removes the node from every partition, once all sockets are removed. */
  async release(): Promise<void> {
    this.stop();
    const { nodeLease, client } = this.#options;
    const { id } = nodeLease;
    const removed = nodeLease.partitions.map((partition) => {
      const keys = this.#options.keys[partition] as PartitionKeys;
      const names = [keys.nodes, keys.node(id), keys.inbox(nodeLease.instanceId)];
      const call = { script: removeNodeScript, keys: names, args: [id] };
      return client.execute('close', [call], { key: keys.nodes });
    });
    await Promise.all(removed);
  }

  #schedule(delay: number): void {
    if (this.#stopped) return;
    const { client, nodeLease, renewInterval } = this.#options;
    const renew = () => {
      // A timer must not reopen a client that was closed, or has stopped reconnecting.
      if (client.ended) {
        this.#onClientEnded();
        nodeLease.onRenewalFailed();
        return this.#schedule(RETRY_INTERVAL);
      }
      this.#renew().then(
        () => this.#schedule(renewInterval),
        (error: unknown) => {
          if (client.ended) this.#onClientEnded();
          else this.#report(error);
          // The lease is expiring: renew soon after Redis is back.
          this.#schedule(Math.min(renewInterval, RETRY_INTERVAL));
        },
      );
    };
    this.#timer = this.#clock.after(jitter(this.#clock, delay), renew, { keepAlive: false });
  }

  /** Reports once that the leases expire. Without sockets there is no lease. */
  #onClientEnded(): void {
    const { client, nodeLease } = this.#options;
    if (this.#clientEnded || client.closed || nodeLease.partitions.length === 0) return;
    this.#clientEnded = true;
    const message =
      'the Redis client was closed or has stopped reconnecting, so the lease of this process expires and its users go offline: close the presence service before its client, or connect the client again';
    this.#report(new ConnectionError(message));
  }

  async #renew(): Promise<void> {
    const { nodeLease, localSockets, restorer, local } = this.#options;
    const slice = this.#nextSlice();
    const sockets = localSockets.oldestOf(nodeLease.partitions);
    const rooms = localSockets.oldestRoomOf(nodeLease.partitions);
    // In parallel: an unreachable partition must not cost the leases of the others.
    const renewed = await Promise.allSettled(
      nodeLease.partitions.map(async (partition) => {
        try {
          const oldest = { socket: sockets.get(partition), room: rooms.get(partition) };
          await this.#renewIn(partition, slice.get(partition) ?? [], oldest);
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

  /** A slow round is reported, but leases are renewed. */
  #nextSlice(): Map<number, RefreshItem[]> {
    try {
      return this.#refresher.next(this.#clock.monotonic());
    } catch (error) {
      this.#report(error);
      return new Map();
    }
  }

  /** In several calls, because one must not block Redis for long. */
  async #renewIn(partition: number, items: readonly RefreshItem[], oldest: Oldest): Promise<void> {
    let at = 0;
    do {
      const batch = items.slice(at, at + ITEMS_PER_CALL);
      at += ITEMS_PER_CALL;
      if (!(await this.#renewWith(partition, batch, oldest))) return;
    } while (at < items.length);
  }

  /** False: the lease is lost or shows a loss. Then nothing was refreshed, and everything is restored. */
  async #renewWith(partition: number, items: readonly RefreshItem[], oldest: Oldest): Promise<boolean> {
    const { writer, restorer } = this.#options;
    const sorted = [
      ...items.filter(({ kind }) => kind === 'user'),
      ...items.filter(({ kind }) => kind === 'room'),
    ];
    const reply = await writer.runAlone(partition, 'renew', () => this.#send(partition, sorted, oldest));
    const [, , lost, ...missing] = reply;
    if (lost === undefined) return false;
    if (lost !== '') restorer.request();
    await this.#rewrite(
      partition,
      missing.map((number) => sorted[Number(number) - 1] as RefreshItem),
    );
    return true;
  }

  /** Once, with the lease known now. `items`: users first. Resolves with the reply of renew-lease.lua. */
  async #send(
    partition: number,
    items: readonly RefreshItem[],
    oldest: Oldest,
  ): Promise<readonly (string | number)[]> {
    const { client, lease, keyTtl, lastSeenTtl, nodeLease, localSockets } = this.#options;
    const keys = this.#options.keys[partition] as PartitionKeys;
    const { id } = nodeLease;
    const known = nodeLease.knownLease(partition);
    // Lost while the renewal waited. The next write begins a new one.
    if (known === 0) return [];
    const users = items.filter(({ kind }) => kind === 'user').length;
    // A socket or room whose first write is unconfirmed may be missing.
    const probe = oldest.socket?.known === true ? oldest.socket : undefined;
    const { room } = oldest;
    const roomProbe = room !== undefined && localSockets.isConfirmed(room) ? roomMember(room) : '';
    const names = [keys.nodes, keys.node(id), keys.online, keys.user(probe?.user ?? '')];
    const longest = String(Math.max(keyTtl, lastSeenTtl));
    const args = [id, String(lease), String(keyTtl), longest, String(known), String(users)];
    args.push(probe?.key ?? '', probe?.user ?? '', roomProbe);
    for (const item of items) {
      names.push(...item.keys);
      args.push(...item.entry(id));
    }
    const call = { script: renewLeaseScript, keys: names, args };
    const replies = await client.send([call], { key: keys.nodes, background: true });
    assertNoErrorReply('renew', replies);
    const reply = replies[0] as readonly (string | number)[];
    nodeLease.onLeaseSeen(partition, id, known, Number(reply[0]), Number(reply[1]));
    return reply;
  }

  async #rewrite(partition: number, items: readonly RefreshItem[]): Promise<void> {
    const { writer, restorer, inbox } = this.#options;
    if (items.length === 0) return;
    // Another node may have removed it.
    await inbox.readStored(partition);
    const writes = items.flatMap((item) => item.rewrite());
    await Promise.all(writes.map((write) => writer.apply(partition, write)));
    restorer.restored += writes.length;
  }

  #report(error: unknown): void {
    if (!this.#stopped) this.#options.reporter.report(toRollcallError(error), { stage: 'renew' });
  }
}
