/**
 * State of one name in Redis. At most one command per name is in flight, so that the state in Redis is
 * either this phase or the one before it.
 */
export type SubscriptionState = 'idle' | 'subscribing' | 'active' | 'unsubscribing';

/**
 * What can happen to a subscription:
 * - `changed`: a handler was added or removed.
 * - `confirmed`, `refused`: the reply to the command in flight.
 * - `interrupted`: the connection was lost.
 * - `again`: SUBSCRIBE must be repeated, because payloads are needed in another form or it was refused.
 */
export type SubscriptionEvent = 'changed' | 'confirmed' | 'refused' | 'interrupted' | 'again';

/** What to do next. */
export type Effect =
  | 'none'
  /** Send SUBSCRIBE as soon as there is a connection. */
  | 'subscribe'
  /** Send UNSUBSCRIBE. */
  | 'unsubscribe'
  /** Resolve the handlers that wait for SUBSCRIBE. */
  | 'joined'
  /** SUBSCRIBE failed: reject and remove all waiting handlers. */
  | 'rejected'
  /** Neither handlers nor a subscription in Redis are left. */
  | 'released';

/** The next phase, and what to do to reach it. */
export interface Transition {
  readonly phase: SubscriptionState;
  readonly effect: Effect;
}

/**
 * Reference counting: decides when SUBSCRIBE and UNSUBSCRIBE are sent. Pure: it knows neither client nor
 * names, only whether there is a handler after the event (`wanted`).
 *
 * - While a command is in flight, changes wait for its reply; what is wanted then decides the next step.
 * - A connection lost during SUBSCRIBE, or between commands, leaves the subscription wanted: SUBSCRIBE is
 *   sent again. Lost during UNSUBSCRIBE, it has ended the subscription by itself.
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
