import { jsonCodec } from '../internal/codec.js';
import type { ErrorReporter } from '../internal/diagnostics.js';
import { HandlerSubscription } from '../pubsub/handler-subscription.js';
import type { ServiceContext } from '../pubsub/service-context.js';
import type { DisposableStore } from '../pubsub/subscribe.js';
import type { SubscriptionManager } from '../pubsub/subscription-manager.js';
import type { ClientHandle } from '../redis/client-handle.js';
import type { PlainCommand } from '../redis/driver.js';
import { toRollcallError } from '../redis/replies.js';
import type { PartitionKeys } from './keys.js';
import type { LocalPresence } from './local-presence.js';
import type { LocalSocket, LocalSockets } from './local-sockets.js';
import type { NodeLease } from './node-lease.js';
import type { PresenceWriter } from './presence-writer.js';
import type { Restorer } from './restorer.js';

/** Options of {@link Inbox}. */
export interface InboxOptions {
  readonly client: ClientHandle;
  readonly subscriptions: SubscriptionManager;
  readonly context: ServiceContext;
  readonly disposables: DisposableStore;
  readonly reporter: ErrorReporter;
  readonly keys: readonly PartitionKeys[];
  readonly nodeLease: NodeLease;
  readonly localSockets: LocalSockets;
  readonly writer: PresenceWriter;
  readonly restorer: Restorer;
  readonly local: LocalPresence;
}

/** How many sockets are checked at a time. */
const CHECK_BATCH = 1_000;

/** Receives notifications that another node removed sockets of this process. */
export class Inbox {
  readonly #options: InboxOptions;
  #subscribing: Promise<void> | undefined;
  #subscribed = false;

  constructor(options: InboxOptions) {
    this.#options = options;
  }

  /** Subscribes once. Returns a promise until the subscription is confirmed; it never rejects. */
  open(): Promise<void> | undefined {
    if (this.#subscribed) return undefined;
    this.#subscribing ??= this.#subscribe();
    return this.#subscribing;
  }

  async #subscribe(): Promise<void> {
    const { client, subscriptions, keys, nodeLease, localSockets, disposables, context, reporter } =
      this.#options;
    const channel = (keys[0] as PartitionKeys).inbox(nodeLease.instanceId);
    const handler = new HandlerSubscription(
      context,
      (removed) => this.#checkRemoved(removed as readonly string[]),
      // Notifications may have been missed. Errors are reported as those of a handler.
      { codec: jsonCodec, onDiscontinuity: () => this.#checkRemoved([...localSockets.sockets.keys()]) },
    );
    const unsubscribe = () => subscriptions.unsubscribe('channel', channel, handler);
    disposables.add(unsubscribe);
    try {
      await client.withDeadline('subscribe', () => subscriptions.subscribe('channel', channel, handler));
      this.#subscribed = true;
    } catch (error) {
      if (!client.closed) reporter.report(toRollcallError(error), { stage: 'subscribe', channel });
      disposables.delete(unsubscribe);
      unsubscribe().catch(() => {});
      this.#subscribing = undefined;
    }
  }

  /** A notification can be lost or come late, so Redis is asked which of the sockets it still has. */
  async #checkRemoved(keys: readonly string[]): Promise<void> {
    const { localSockets, local } = this.#options;
    const checked = keys.flatMap((key) => localSockets.sockets.get(key) ?? []);
    for (let at = 0; at < checked.length; at += CHECK_BATCH) {
      local.onRemovedElsewhere(await this.#findMissing(checked.slice(at, at + CHECK_BATCH)));
    }
  }

  /**
   * The sockets among `sockets` that Redis no longer lists for this node. None while entries are being restored: then
   * Redis lost them, and no node removed them.
   */
  async #findMissing(sockets: readonly LocalSocket[]): Promise<LocalSocket[]> {
    const missing: LocalSocket[] = [];
    for (const partition of new Set(sockets.map((socket) => socket.partition))) {
      const some = sockets.filter((socket) => socket.partition === partition);
      missing.push(...(await this.#findMissingIn(partition, some)));
    }
    return missing;
  }

  async #findMissingIn(partition: number, sockets: readonly LocalSocket[]): Promise<LocalSocket[]> {
    const { client, nodeLease, restorer, writer } = this.#options;
    const keys = this.#options.keys[partition] as PartitionKeys;
    const { id } = nodeLease;
    // Send queued writes first; otherwise this check reads a state they are about to change.
    const [first] = sockets as readonly [LocalSocket];
    await writer.apply(partition, { kind: 'look', user: first.user, reason: 'time' });
    const known = nodeLease.knownLease(partition);
    const commands: PlainCommand[] = [['ZSCORE', keys.nodes, id]];
    for (const { key } of sockets) commands.push(['SISMEMBER', keys.node(id), key]);
    const [score, ...listed] = await client.execute('removeSocket', commands, { key: keys.nodes });
    if (restorer.active) return [];
    if (id !== nodeLease.id || score === null || Number(score) < known) return [];
    return sockets.filter((_, at) => Number(listed[at]) === 0);
  }
}
