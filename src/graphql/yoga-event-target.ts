import { onAbort } from '../internal/abort.js';
import type { RollcallError } from '../internal/errors.js';
import { assertFunction, assertOptions, assertSignal } from '../internal/validate.js';
import { GraphQLPubSub } from './graphql-pubsub.js';
import { YOGA_EVENT_TARGET_OPTION_NAMES } from './option-names.js';
import type { YogaEventTargetOptions } from './options.js';
import { resolveSettings } from './settings.js';

/** The part of a `CustomEvent` that Yoga uses. */
export interface YogaEvent {
  /** The topic. */
  readonly type: string;
  /** The payload. */
  readonly detail?: unknown;
}

/** As for an `EventTarget`: a function, or an object with the method `handleEvent`. */
// biome-ignore lint/suspicious/noExplicitAny: listeners have types of their own
export type YogaEventListener = ((event: any) => void) | YogaEventListenerObject;

/** A listener that is an object. */
export interface YogaEventListenerObject {
  /** Called with every event. */
  // biome-ignore lint/suspicious/noExplicitAny: listeners have types of their own
  handleEvent(event: any): void;
}

/** The methods of an `EventTarget`. */
export interface YogaEventTarget {
  /** Subscribes. A failure is reported to `onError`, and removes the listener. */
  addEventListener(
    topic: string,
    listener: YogaEventListener | null,
    options?: boolean | { once?: boolean; signal?: AbortSignal },
  ): void;
  /** Unsubscribes. A failure is reported to `onError`. */
  removeEventListener(topic: string, listener: YogaEventListener | null): void;
  /** Publishes the event's `detail`, null if there is none. A failure is reported to `onError`. */
  dispatchEvent(event: YogaEvent): boolean;
}

/**
 * An event target on Redis, for the option `eventTarget` of `createPubSub` of GraphQL Yoga. An event target cannot end
 * a subscription, so gaps reach `onDiscontinuity` and not the GraphQL client: prefer {@link createYogaPubSub}.
 *
 * @throws `InvalidArgumentError` for an invalid option.
 */
export function createYogaEventTarget(options: YogaEventTargetOptions): YogaEventTarget {
  assertOptions('options', options, YOGA_EVENT_TARGET_OPTION_NAMES);
  const { onDiscontinuity, ...rest } = options ?? {};
  if (onDiscontinuity !== undefined) assertFunction('onDiscontinuity', onDiscontinuity);
  const engine = new GraphQLPubSub(rest);
  const { reporter } = resolveSettings(rest);
  /** By topic and listener, a function that unsubscribes. */
  const removers = new Map<string, Map<YogaEventListener, () => void>>();

  const removeEventListener: YogaEventTarget['removeEventListener'] = (topic, listener) => {
    const listeners = removers.get(topic);
    if (listener === null) return;
    const remove = listeners?.get(listener);
    if (listeners === undefined || remove === undefined) return;
    listeners.delete(listener);
    if (listeners.size === 0) removers.delete(topic);
    remove();
  };

  const addEventListener: YogaEventTarget['addEventListener'] = (topic, listener, options) => {
    const { once = false, signal } = typeof options === 'object' ? options : {};
    if (listener === null || removers.get(topic)?.has(listener) || signal?.aborted) return;
    assertSignal(signal);
    let removed = false;
    const onMessage = (detail: unknown) => {
      if (removed) return;
      if (once) removeEventListener(topic, listener);
      const event = new CustomEvent(topic, { detail });
      return typeof listener === 'function' ? listener(event) : listener.handleEvent(event);
    };
    const subscribed = engine.subscribe(topic, onMessage, {
      ...(onDiscontinuity && { onDiscontinuity: (discontinuity) => onDiscontinuity(discontinuity, topic) }),
    });
    const removeAbortListener = onAbort(signal, () => removeEventListener(topic, listener));
    const listeners = removers.get(topic) ?? new Map<YogaEventListener, () => void>();
    removers.set(topic, listeners);
    listeners.set(listener, () => {
      removed = true;
      removeAbortListener();
      subscribed.then(
        (id) => engine.unsubscribe(id),
        () => {},
      );
    });
    subscribed.catch((error: RollcallError) => {
      removeEventListener(topic, listener);
      reporter.report(error, { stage: 'subscribe', channel: topic });
    });
  };

  const dispatchEvent: YogaEventTarget['dispatchEvent'] = ({ type, detail = null }) => {
    engine.publish(type, detail).catch((error: RollcallError) => {
      reporter.report(error, { stage: 'publish', channel: type });
    });
    return true;
  };

  return { addEventListener, removeEventListener, dispatchEvent };
}
