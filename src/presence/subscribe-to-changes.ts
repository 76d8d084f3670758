import { jsonCodec } from '../internal/codec.js';
import { HandlerSubscription } from '../pubsub/handler-subscription.js';
import type { ServiceContext } from '../pubsub/service-context.js';
import { type DisposableStore, type Subscription, subscribe } from '../pubsub/subscribe.js';
import type { SubscriptionManager } from '../pubsub/subscription-manager.js';
import type { ClientHandle } from '../redis/client-handle.js';
import type { PartitionLayout } from './partition-layout.js';

/** The parts of a presence service that a subscription to changes needs. */
export interface ChangeSource {
  readonly client: ClientHandle;
  readonly subscriptions: SubscriptionManager;
  readonly layout: PartitionLayout;
  readonly context: ServiceContext;
}

/** A subscriber of the channels on which the update scripts publish changes. */
export interface ChangeSubscriber {
  /** Gets the changes of one transaction, still encoded. `isActive` turns false on unsubscribing, also within a batch. */
  readonly onBatch: (batch: readonly unknown[], channel: string, isActive: () => boolean) => void;
  /** Changes may have been missed. */
  readonly onGap?: () => void;
}

/**
 * Subscribes to `channels`, sharded or not as the layout says; resolves when Redis has confirmed.
 * When the service closes it unsubscribes all of `disposables`.
 */
export function subscribeToChanges(
  { client, subscriptions, layout, context }: ChangeSource,
  disposables: DisposableStore,
  channels: string | readonly string[],
  { onBatch, onGap }: ChangeSubscriber,
): Promise<Subscription> {
  const member: HandlerSubscription = new HandlerSubscription(
    context,
    (batch, { channel }) => onBatch(batch as readonly unknown[], channel, () => member.active),
    { codec: jsonCodec, onDiscontinuity: onGap },
  );
  return subscribe({
    link: client,
    hub: subscriptions,
    leaving: disposables,
    kind: layout.channels,
    names: channels,
    member,
  });
}
