import { describe, expect, test } from 'vitest';
import {
  type Effect,
  type SubscriptionEvent,
  type SubscriptionState,
  transition,
} from '../../../src/pubsub/subscription-state.js';
import { fc } from '../../support/property.js';

// Every phase, every event, and whether anybody is there after it.
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

describe('step', () => {
  for (const [phase, events] of Object.entries(table)) {
    for (const [event, outcomes] of Object.entries(events)) {
      for (const wanted of [true, false]) {
        test(`${phase}, ${event}, ${wanted ? 'wanted' : 'not wanted'}`, () => {
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

  /** Redis and the people at one name, driven by what `step` says. */
  class Name {
    phase: SubscriptionState = 'idle';
    people = 0;
    known = false;
    command: 'subscribe' | 'unsubscribe' | undefined;
    readonly effects: Effect[] = [];

    happens(event: SubscriptionEvent): void {
      const { phase, effect } = transition(this.phase, event, this.people > 0);
      this.phase = phase;
      this.effects.push(effect);
      if (effect === 'subscribe' || effect === 'unsubscribe') {
        expect(this.command, 'a second command while one is under way').toBeUndefined();
        // Only `again` asks for what Redis knows already.
        if (event !== 'again') {
          expect(this.known, `${effect} changes something`).toBe(effect === 'unsubscribe');
        }
        this.command = effect;
      }
      if (effect === 'joined') expect(this.known).toBe(true);
      if (effect === 'released' || effect === 'rejected') expect(this.known).toBe(false);
      if (effect === 'released') expect(this.people).toBe(0);
      if (effect === 'rejected') this.people = 0;
    }

    answered(how: 'confirmed' | 'refused' | 'interrupted' | 'again'): void {
      if (how === 'again' && this.command !== 'subscribe') return;
      if (this.command === undefined) return;
      // A cut connection takes what it had subscribed with it; so does, for simplicity, a refusal.
      if (how === 'confirmed' || how === 'again') this.known = this.command === 'subscribe';
      else this.known = false;
      this.command = undefined;
      this.happens(how);
    }

    /** Between commands: the connection is gone, or payloads are wanted in another form. */
    between(what: 'dropped' | 'wanted otherwise'): void {
      if (this.phase !== 'active') return;
      if (what === 'dropped') this.known = false;
      this.happens(what === 'dropped' ? 'interrupted' : 'again');
    }
  }

  const action = fc.constantFrom(
    ...(['join', 'join', 'leave', 'leave'] as const),
    ...(['confirmed', 'refused', 'interrupted', 'again'] as const),
    ...(['dropped', 'wanted otherwise'] as const),
  );

  test('any events end with a subscription if and only if there is a handler', () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 80, size: 'max' }), (actions) => {
        const name = new Name();
        for (const what of actions) {
          if (what === 'join' || what === 'leave') {
            if (what === 'leave' && name.people === 0) continue;
            name.people += what === 'join' ? 1 : -1;
            name.happens('changed');
          } else if (what === 'dropped' || what === 'wanted otherwise') {
            name.between(what);
          } else {
            name.answered(what);
          }
          // Nothing is under way: then what Redis knows is what people want.
          if (name.command === undefined) expect(name.known).toBe(name.people > 0);
        }
        for (let round = 0; name.command !== undefined; round++) {
          expect(round, 'comes to rest').toBeLessThan(3);
          name.answered('confirmed');
        }
        expect(name.known).toBe(name.people > 0);
        expect(name.phase).toBe(name.people > 0 ? 'active' : 'idle');
      }),
      { numRuns: 2_000 },
    );
  });
});
