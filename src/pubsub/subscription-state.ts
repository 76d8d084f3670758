/**
 * Where one subscription stands. At most one command is under way for a name, so what Redis knows
 * is always either the phase or the step that leads to it.
 */
export type SubscriptionState = 'idle' | 'subscribing' | 'active' | 'unsubscribing';

/**
 * What can happen to a subscription: somebody joined or left (`changed`), Redis confirmed the
 * command under way, refused it, or the connection broke under it (`interrupted`). `again`: SUBSCRIBE
 * has to be sent once more, because payloads are wanted in another form now or the last one was refused.
 */
export type SubscriptionEvent = 'changed' | 'confirmed' | 'refused' | 'interrupted' | 'again';

/** What to do about it. */
export type Effect =
  | 'none'
  /** Send SUBSCRIBE, when there is a connection. */
  | 'subscribe'
  /** Send UNSUBSCRIBE. */
  | 'unsubscribe'
  /** Everybody who joined is subscribed. */
  | 'joined'
  /** Everybody who joined is told of the failure and gone. */
  | 'rejected'
  /** Nobody is left, on either side. */
  | 'released';

/** The next phase, and what to do on the way there. */
export interface Transition {
  readonly phase: SubscriptionState;
  readonly effect: Effect;
}

/**
 * The rule of ref-counting: when SUBSCRIBE and UNSUBSCRIBE go out. Pure: it knows no client and no
 * names, only whether anybody is there after the event (`wanted`).
 *
 * - Joins while a command is under way wait for its answer; whatever came in between, the answer
 *   decides the next step by what is wanted then.
 * - A connection that broke, under SUBSCRIBE or between commands, leaves the subscription wanted: it
 *   is sent again. Under UNSUBSCRIBE it did the work itself.
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
      // The connection that carried it is gone.
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
