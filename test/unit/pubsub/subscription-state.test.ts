import { describe, expect, test } from 'vitest';
import {
  type Effect,
  type SubscriptionEvent,
  type SubscriptionState,
  transition,
} from '../../../src/pubsub/subscription-state.js';
import { fc } from '../../support/property.js';

// The transition of every state and event, with and without handlers.
const table: Record<SubscriptionState, Record<SubscriptionEvent, [wanted: string, unwanted: string]>> = {
  idle: {
    changed: ['subscribing subscribe', 'idle none'],
    confirmed: ['idle none', 'idle none'],
    refused: ['idle none', 'idle none'],
    interrupted: ['idle none', 'idle none'],
    again: ['idle none', 'idle none'],
  },
  subscribing: {
    changed: ['subscribing none', 'subscribing none'],
    confirmed: ['active joined', 'unsubscribing unsubscribe'],
    refused: ['idle rejected', 'idle rejected'],
    interrupted: ['subscribing subscribe', 'idle released'],
    again: ['subscribing subscribe', 'unsubscribing unsubscribe'],
  },
  active: {
    changed: ['active none', 'unsubscribing unsubscribe'],
    confirmed: ['active none', 'active none'],
    refused: ['active none', 'active none'],
    interrupted: ['subscribing subscribe', 'idle released'],
    again: ['subscribing subscribe', 'active none'],
  },
  unsubscribing: {
    changed: ['unsubscribing none', 'unsubscribing none'],
    confirmed: ['subscribing subscribe', 'idle released'],
    refused: ['subscribing subscribe', 'idle released'],
    interrupted: ['subscribing subscribe', 'idle released'],
    again: ['subscribing subscribe', 'idle released'],
  },
};

describe('transition', () => {
  for (const [phase, events] of Object.entries(table)) {
    for (const [event, outcomes] of Object.entries(events)) {
      for (const wanted of [true, false]) {
        test(`event ${event} in state ${phase}, ${wanted ? 'with' : 'without'} handlers`, () => {
          const { phase: next, effect } = transition(
            phase as SubscriptionState,
            event as SubscriptionEvent,
            wanted,
          );
          expect(`${next} ${effect}`).toBe(outcomes[wanted ? 0 : 1]);
        });
      }
    }
  }

  /** Redis and the handlers of one name, driven by the effects of `transition`. */
  class ModelName {
    phase: SubscriptionState = 'idle';
    handlers = 0;
    known = false;
    command: 'subscribe' | 'unsubscribe' | undefined;
    readonly effects: Effect[] = [];

    apply(event: SubscriptionEvent): void {
      const { phase, effect } = transition(this.phase, event, this.handlers > 0);
      this.phase = phase;
      this.effects.push(effect);
      if (effect === 'subscribe' || effect === 'unsubscribe') {
        expect(this.command, 'a second command while one is in flight').toBeUndefined();
        // Only `again` subscribes a name that is subscribed already.
        if (event !== 'again') {
          expect(this.known, `${effect} changes something`).toBe(effect === 'unsubscribe');
        }
        this.command = effect;
      }
      if (effect === 'joined') expect(this.known).toBe(true);
      if (effect === 'released' || effect === 'rejected') expect(this.known).toBe(false);
      if (effect === 'released') expect(this.handlers).toBe(0);
      if (effect === 'rejected') this.handlers = 0;
    }

    reply(how: 'confirmed' | 'refused' | 'interrupted' | 'again'): void {
      if (how === 'again' && this.command !== 'subscribe') return;
      if (this.command === undefined) return;
      // A broken connection ends its subscriptions. For simplicity, so does a refusal.
      if (how === 'confirmed' || how === 'again') this.known = this.command === 'subscribe';
      else this.known = false;
      this.command = undefined;
      this.apply(how);
    }

    /** An event without a command in flight: the connection broke, or handlers need payloads in another form. */
    whileIdle(event: 'dropped' | 'form changed'): void {
      if (this.phase !== 'active') return;
      if (event === 'dropped') this.known = false;
      this.apply(event === 'dropped' ? 'interrupted' : 'again');
    }
  }

  const action = fc.constantFrom(
    ...(['join', 'join', 'leave', 'leave'] as const),
    ...(['confirmed', 'refused', 'interrupted', 'again'] as const),
    ...(['dropped', 'form changed'] as const),
  );

  test('any events end with a subscription if and only if there is a handler', () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 80, size: 'max' }), (actions) => {
        const name = new ModelName();
        for (const event of actions) {
          if (event === 'join' || event === 'leave') {
            if (event === 'leave' && name.handlers === 0) continue;
            name.handlers += event === 'join' ? 1 : -1;
            name.apply('changed');
          } else if (event === 'dropped' || event === 'form changed') {
            name.whileIdle(event);
          } else {
            name.reply(event);
          }
          // Without a command in flight, Redis has a subscription if and only if there are handlers.
          if (name.command === undefined) expect(name.known).toBe(name.handlers > 0);
        }
        for (let round = 0; name.command !== undefined; round++) {
          expect(round, 'comes to rest').toBeLessThan(3);
          name.reply('confirmed');
        }
        expect(name.known).toBe(name.handlers > 0);
        expect(name.phase).toBe(name.handlers > 0 ? 'active' : 'idle');
      }),
      { numRuns: 2_000 },
    );
  });
});
