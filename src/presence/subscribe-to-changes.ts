import { jsonCodec } from '../internal/codec.js';
import { DecodeError } from '../internal/errors.js';
import { HandlerSubscription } from '../pubsub/handler-subscription.js';
import type { ServiceContext } from '../pubsub/service-context.js';
import { type DisposableStore, type Subscription, subscribe } from '../pubsub/subscribe.js';
import type { SubscriptionManager } from '../pubsub/subscription-manager.js';
import type { ClientHandle } from '../redis/client-handle.js';
import type { PartitionLayout } from './partition-layout.js';

export interface ChangeSource {
  readonly client: ClientHandle;
  readonly subscriptions: SubscriptionManager;
  readonly layout: PartitionLayout;
  readonly context: ServiceContext;
}

/** Of channels on which update scripts publish. */
export interface ChangeSubscriber {
  /** Each change, still encoded. A `DecodeError` costs that change only. */
  readonly onChange: (encoded: unknown, channel: string) => void;
  readonly onGap?: () => void;
}

/**
 * Sharded or not, as the layout determines; resolves when Redis has confirmed. `disposables`: unsubscribed when
 * the service closes.
 */
export function subscribeToChanges(
  { client, subscriptions, layout, context }: ChangeSource,
  disposables: DisposableStore,
  channels: string | readonly string[],
  { onChange, onGap }: ChangeSubscriber,
): Promise<Subscription> {
  const { reporter } = context;
  /** `batch`: of one transaction. */
  const dispatch = (batch: unknown, channel: string): void => {
    let first: DecodeError | undefined;
    for (const encoded of Array.isArray(batch) ? batch : [batch]) {
      // The handler may unsubscribe during a batch.
      if (!handler.active) break;
      try {
        onChange(encoded, channel);
      } catch (error) {
        if (!(error instanceof DecodeError)) throw error;
        first ??= error;
      }
    }
    if (first !== undefined) reporter.report(first, { stage: 'decode', channel });
  };
  const handler: HandlerSubscription = new HandlerSubscription(
    context,
    (batch, { channel }) => dispatch(batch, channel),
    { codec: jsonCodec, onDiscontinuity: onGap },
  );
  return subscribe({
    handle: client,
    manager: subscriptions,
    disposables,
    kind: layout.channels,
    names: channels,
    handler,
  });
}
