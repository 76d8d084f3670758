/** Of one name. With one command in flight at most, Redis is in this phase or the one before. */
export type SubscriptionState = 'idle' | 'subscribing' | 'active' | 'unsubscribing';

/**
 * - `changed`: a handler was added or removed.
 * - `confirmed`, `refused`: the reply to the command in flight.
 * - `interrupted`: the connection was lost.
 * - `again`: SUBSCRIBE must be repeated: payloads in another form, or it was refused.
 */
export type SubscriptionEvent = 'changed' | 'confirmed' | 'refused' | 'interrupted' | 'again';

export type Effect =
  | 'none'
  /** As soon as there is a connection. */
  | 'subscribe'
  | 'unsubscribe'
  /** Resolve handlers that wait for SUBSCRIBE. */
  | 'joined'
  /** SUBSCRIBE failed: reject and remove waiting handlers. */
  | 'rejected'
  /** No handlers, no subscription in Redis. */
  | 'released';

export interface Transition {
  readonly phase: SubscriptionState;
  readonly effect: Effect;
}

/**
 * Decides when SUBSCRIBE and UNSUBSCRIBE are sent. Pure. `wanted`: a handler exists after the event.
 *
 * - A change during a command waits for its reply; `wanted` then decides.
 * - A connection lost during UNSUBSCRIBE ends the subscription; otherwise SUBSCRIBE is sent again.
 */
export function transition(phase: SubscriptionState, event: SubscriptionEvent, wanted: boolean): Transition {
  switch (phase) {
    case 'idle':
      return event === 'changed' && wanted ? SUBSCRIBE : { phase, effect: 'none' };

    case 'subscribing':
      if (event === 'changed') return { phase, effect: 'none' };
      if (event === 'refused') return { phase: 'idle', effect: 'rejected' };
      if (event === 'interrupted') return wanted ? SUBSCRIBE : RELEASED;
      if (!wanted) return UNSUBSCRIBE;
      return event === 'again' ? SUBSCRIBE : { phase: 'active', effect: 'joined' };

    case 'active':
      // The connection that carried it is lost.
      if (event === 'interrupted') return wanted ? SUBSCRIBE : RELEASED;
      if (event === 'again' && wanted) return SUBSCRIBE;
      return event === 'changed' && !wanted ? UNSUBSCRIBE : { phase, effect: 'none' };

    case 'unsubscribing':
      if (event === 'changed') return { phase, effect: 'none' };
      return wanted ? SUBSCRIBE : RELEASED;
  }
}

const SUBSCRIBE: Transition = { phase: 'subscribing', effect: 'subscribe' };
const UNSUBSCRIBE: Transition = { phase: 'unsubscribing', effect: 'unsubscribe' };
const RELEASED: Transition = { phase: 'idle', effect: 'released' };
