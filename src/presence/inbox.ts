import { jsonCodec } from '../internal/codec.js';
import type { ErrorReporter } from '../internal/diagnostics.js';
import { HandlerSubscription } from '../pubsub/handler-subscription.js';
import type { ServiceContext } from '../pubsub/service-context.js';
import type { DisposableStore } from '../pubsub/subscribe.js';
import type { SubscriptionManager } from '../pubsub/subscription-manager.js';
import type { ClientHandle } from '../redis/client-handle.js';
import { toRollcallError } from '../redis/replies.js';
import { joinIds, type PartitionKeys, splitIds } from './keys.js';
import type { LocalPresence } from './local-presence.js';
import type { NodeLease } from './node-lease.js';

export interface InboxOptions {
  readonly client: ClientHandle;
  readonly subscriptions: SubscriptionManager;
  readonly context: ServiceContext;
  readonly disposables: DisposableStore;
  readonly reporter: ErrorReporter;
  readonly keys: readonly PartitionKeys[];
  readonly nodeLease: NodeLease;
  readonly local: LocalPresence;
}

/** In ms, after a failed read of missed notifications. */
const RETRY_INTERVAL = 1_000;

/**
 * Notifications that another node removed sockets of this process, or that its users became invisible or
 * visible. They are also stored, in the transaction of the change, because one may be missed.
 */
export class Inbox {
  readonly #options: InboxOptions;
  #subscribing: Promise<void> | undefined;
  #subscribed = false;

  constructor(options: InboxOptions) {
    this.#options = options;
  }

  /** Subscribes once. `undefined` once confirmed; the promise never rejects. */
  open(): Promise<void> | undefined {
    if (this.#subscribed) return undefined;
    this.#subscribing ??= this.#subscribe();
    return this.#subscribing;
  }

  /** Call it before entries of the partition are restored. */
  async readStored(partition: number): Promise<void> {
    const { client, nodeLease } = this.#options;
    const keys = this.#options.keys[partition] as PartitionKeys;
    const command = ['SMEMBERS', keys.inbox(nodeLease.instanceId)] as const;
    const [reply] = await client.execute('restore', [command], { key: keys.nodes });
    const stored = reply as readonly string[];
    // Deleted first: a change in between is stored again. Removals stay, because they name one registration.
    const users = stored.filter((text) => !isRemoval(text));
    if (users.length > 0) {
      await client.execute('restore', [['SREM', command[1], ...users]], { key: keys.nodes });
    }
    this.#apply(stored);
  }

  async #subscribe(): Promise<void> {
    const { client, subscriptions, keys, nodeLease, disposables, context, reporter } = this.#options;
    const channel = (keys[0] as PartitionKeys).inbox(nodeLease.instanceId);
    const handler = new HandlerSubscription(
      context,
      (notifications) => this.#apply(notifications as readonly string[]),
      { codec: jsonCodec, onDiscontinuity: () => void this.#readAllStored() },
    );
    const unsubscribe = () => subscriptions.unsubscribe('channel', channel, handler);
    disposables.add(unsubscribe);
    try {
      await client.withDeadline('subscribe', () => subscriptions.subscribe('channel', channel, handler));
      // Of sockets that were written, and removed again by other processes, before the subscription was confirmed.
      await this.#readAllStored();
      this.#subscribed = true;
    } catch (error) {
      if (!client.closed) reporter.report(toRollcallError(error), { stage: 'subscribe', channel });
      disposables.delete(unsubscribe);
      unsubscribe().catch(() => {});
      this.#subscribing = undefined;
    }
  }

  /** Notifications may be missed. Repeated until every partition has replied. */
  async #readAllStored(partitions = this.#options.nodeLease.partitions): Promise<void> {
    const { client, reporter } = this.#options;
    const failed: number[] = [];
    let failure: unknown;
    await Promise.all(
      partitions.map((partition) =>
        this.readStored(partition).catch((error: unknown) => {
          failed.push(partition);
          failure = error;
        }),
      ),
    );
    if (failed.length === 0 || client.closed) return;
    reporter.report(toRollcallError(failure), { stage: 'repair' });
    client.clock.after(RETRY_INTERVAL, () => void this.#readAllStored(failed), { keepAlive: false });
  }

  /** A removal (user, socket, registration and perhaps a note, joined) or a user whose own status changed. */
  #apply(notifications: readonly string[]): void {
    for (const notification of notifications) {
      const [user, rest = ''] = splitIds(notification);
      if (!isRemoval(notification)) {
        this.#options.local.onStatusChangedElsewhere(user);
        continue;
      }
      const [socket, tail = ''] = splitIds(rest);
      const [registration, note] = splitIds(tail);
      this.#options.local.onRemovedElsewhere(joinIds(user, socket), registration, note);
    }
  }
}

function isRemoval(notification: string): boolean {
  return splitIds(notification)[1] !== undefined;
}
