import { ClosedError } from '../errors.js';
import type { SubscriptionKind } from '../redis/driver.js';
import type { Link } from '../redis/link.js';
import { assertSignal } from '../validate.js';
import type { Start } from './cohort.js';
import type { Member } from './delivery.js';
import type { Hub } from './hub.js';

/** A handler's place in a subscription. */
export interface Subscription {
  /**
   * Takes the handler out; from this moment it is not called again. Resolves when Redis has
   * confirmed, where it was the last one; with `unsubscribeDelay` at once. Idempotent, and works
   * detached from the object.
   */
  unsubscribe(): Promise<void>;
  /** The same, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** Functions that each take one handler out; a service calls them all when it closes. */
export class Leaving extends Set<() => Promise<void>> {
  /** The service is closing: nothing is to outlive its last handler. */
  ending = false;
}

/** Where a handler is to be added, and by whom. */
export interface SubscribeRequest {
  readonly link: Link;
  readonly hub: Hub;
  readonly leaving: Leaving;
  readonly kind: SubscriptionKind;
  readonly names: readonly string[];
  readonly member: Member;
  /** Where in the channel's history to begin; without it, with what comes. */
  readonly start?: Start | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Adds a handler under some names, for as long as its subscription and its signal last. When it
 * rejects, the handler is gone.
 */
export async function subscribe(request: SubscribeRequest): Promise<Subscription> {
  const { link, hub, leaving, kind, names, member, start, signal } = request;
  assertSignal(signal);
  let left: Promise<void> | undefined;
  let cancel = (_reason: Error): void => {};

  const unsubscribe = (): Promise<void> => {
    if (left === undefined) {
      signal?.removeEventListener('abort', aborted);
      leaving.delete(unsubscribe);
      const leave = async () => {
        const delay = link.closed || leaving.ending ? 0 : member.audience.unsubscribeDelay;
        await Promise.all(names.map((name) => hub.leave(kind, name, member, delay)));
      };
      left = link.bounded('unsubscribe', leave).catch((error: unknown) => {
        // The service's end takes everything out; there is nothing to fail.
        if (!(error instanceof ClosedError)) throw error;
      });
    }
    return left;
  };
  const aborted = (): void => {
    unsubscribe().catch((error) => member.audience.reporter.report(error, { stage: 'unsubscribe' }));
    cancel(signal?.reason);
  };

  leaving.add(unsubscribe);
  signal?.addEventListener('abort', aborted, { once: true });
  try {
    await new Promise<unknown>((resolve, reject) => {
      cancel = reject;
      const joined = () => Promise.all(names.map((name) => hub.join(kind, name, member, start)));
      link.bounded('subscribe', joined).then(resolve, reject);
    });
  } catch (error) {
    unsubscribe().catch(() => {});
    throw error;
  }
  return { unsubscribe, [Symbol.asyncDispose]: unsubscribe };
}
