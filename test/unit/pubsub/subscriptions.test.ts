import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Effect, type Phase, type SubscriptionEvent, step } from '../../../src/pubsub/subscriptions.js';

// Every phase, every event, and whether anybody is there after it.
const table: Record<Phase, Record<SubscriptionEvent, [wanted: string, unwanted: string]>> = {
  idle: {
    changed: ['subscribing subscribe', 'idle none'],
    confirmed: ['idle none', 'idle none'],
    refused: ['idle none', 'idle none'],
    interrupted: ['idle none', 'idle none'],
  },
  subscribing: {
    changed: ['subscribing none', 'subscribing none'],
    confirmed: ['active joined', 'unsubscribing unsubscribe'],
    refused: ['idle rejected', 'idle rejected'],
    interrupted: ['subscribing subscribe', 'idle released'],
  },
  active: {
    changed: ['active none', 'unsubscribing unsubscribe'],
    confirmed: ['active none', 'active none'],
    refused: ['active none', 'active none'],
    interrupted: ['subscribing subscribe', 'idle released'],
  },
  unsubscribing: {
    changed: ['unsubscribing none', 'unsubscribing none'],
    confirmed: ['subscribing subscribe', 'idle released'],
    refused: ['subscribing subscribe', 'idle released'],
    interrupted: ['subscribing subscribe', 'idle released'],
  },
};

describe('step', () => {
  for (const [phase, events] of Object.entries(table)) {
    for (const [event, outcomes] of Object.entries(events)) {
      for (const wanted of [true, false]) {
        test(`${phase}, ${event}, ${wanted ? 'wanted' : 'not wanted'}`, () => {
          const { phase: next, effect } = step(phase as Phase, event as SubscriptionEvent, wanted);
          expect(`${next} ${effect}`).toBe(outcomes[wanted ? 0 : 1]);
        });
      }
    }
  }

  /** Redis and the people at one name, driven by what `step` says. */
  class Name {
    phase: Phase = 'idle';
    people = 0;
    known = false;
    command: 'subscribe' | 'unsubscribe' | undefined;
    readonly effects: Effect[] = [];

    happens(event: SubscriptionEvent): void {
      const { phase, effect } = step(this.phase, event, this.people > 0);
      this.phase = phase;
      this.effects.push(effect);
      if (effect === 'subscribe' || effect === 'unsubscribe') {
        expect(this.command, 'a second command while one is under way').toBeUndefined();
        expect(this.known, `${effect} changes something`).toBe(effect === 'unsubscribe');
        this.command = effect;
      }
      if (effect === 'joined') expect(this.known).toBe(true);
      if (effect === 'released' || effect === 'rejected') expect(this.known).toBe(false);
      if (effect === 'released') expect(this.people).toBe(0);
      if (effect === 'rejected') this.people = 0;
    }

    answered(how: 'confirmed' | 'refused' | 'interrupted'): void {
      if (this.command === undefined) return;
      // A cut connection takes what it had subscribed with it; a refused SUBSCRIBE changes nothing.
      if (how === 'confirmed') this.known = this.command === 'subscribe';
      else this.known = false;
      this.command = undefined;
      this.happens(how);
    }
  }

  const action = fc.constantFrom('join', 'join', 'leave', 'leave', 'confirmed', 'refused', 'interrupted');

  test('whatever happens, it ends with: subscribed if and only if somebody is there', () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
        const name = new Name();
        for (const what of actions) {
          if (what === 'join' || what === 'leave') {
            if (what === 'leave' && name.people === 0) continue;
            name.people += what === 'join' ? 1 : -1;
            name.happens('changed');
          } else {
            name.answered(what as 'confirmed');
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
