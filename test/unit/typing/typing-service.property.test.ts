import { expect, test } from 'vitest';
import { turn } from '../../support/fake-clock.js';
import { type Arbitrary, fc } from '../../support/property.js';
import { TTL, TypingFixture } from './typing-fixture.js';

// Model: users type at random on two servers, and watchers must see exactly the users who type.

const USERS = ['ann', 'bob', 'cat'];
const WINDOW = TTL / 2;

type Step =
  | { do: 'start' | 'stop'; user: number }
  | { do: 'leave'; user: number }
  | { do: 'wait'; ms: number };

const user = fc.nat(USERS.length - 1);
const step: Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('start' as const), user }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('stop' as const), user }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('leave' as const), user }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('wait' as const),
      ms: fc.oneof(fc.integer({ min: 1, max: 10 }), fc.integer({ min: 1, max: 70 })).map((n) => n * 100),
    }),
  },
);

/** The actual state of one user. */
interface UserState {
  on: boolean;
  lastKeystroke: number;
  stopped: number;
}

test('few messages are published, and every watcher sees the users who type', {
  timeout: 30_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 60 }), async (steps) => {
      const fixture = new TypingFixture();
      const servers = [fixture.open(), fixture.open()];
      const watches = await Promise.all(servers.map((server) => server.watch('lobby', () => {})));
      const never = Number.NEGATIVE_INFINITY;
      const states: UserState[] = USERS.map(() => ({ on: false, lastKeystroke: never, stopped: never }));
      const now = () => fixture.clock.monotonic();
      const types = ({ on, lastKeystroke }: UserState) => on && now() < lastKeystroke + TTL;

      const check = () => {
        for (const watch of watches) {
          const seen = watch.current();
          states.forEach((state, at) => {
            const name = USERS[at] as string;
            if (!types(state)) expect(seen, `${name} at ${now()}`).not.toContain(name);
            // A user who continues soon after a stop is seen a little later.
            else if (now() >= state.stopped + WINDOW) expect(seen, `${name} at ${now()}`).toContain(name);
          });
        }
      };

      for (const each of [...steps, { do: 'wait', ms: WINDOW } as const, { do: 'wait', ms: TTL } as const]) {
        if (each.do === 'wait') {
          for (let left = each.ms; left > 0; left -= 100) {
            await fixture.pass(100);
            check();
          }
          continue;
        }
        const name = USERS[each.user] as string;
        const state = states[each.user] as UserState;
        // Each user has one server.
        const server = servers[each.user % 2] as (typeof servers)[0];
        if (each.do === 'start') {
          Object.assign(state, { on: true, lastKeystroke: now() });
          await server.start('lobby', name);
        } else {
          Object.assign(state, { on: false, stopped: now() });
          if (each.do === 'stop') await server.stop('lobby', name);
          else await server.stopAll(name);
        }
        await turn();
        check();
      }

      for (const name of USERS) {
        const published = fixture.published.filter(({ from }) => from === name);
        const starts = published.filter(({ ttl }) => ttl > 0);
        expect(starts.length).toBeLessThanOrEqual(Math.floor(now() / WINDOW) + 1);
        expect(published.length - starts.length).toBeLessThanOrEqual(starts.length);
        starts.slice(1).forEach(({ at }, before) => {
          expect(at - (starts[before]?.at as number)).toBeGreaterThanOrEqual(WINDOW);
        });
      }
      // No user has typed for a ttl.
      expect(watches.flatMap((watch) => watch.current())).toEqual([]);
      expect(fixture.clock.timers).toBe(0);
      expect(fixture.errors).toEqual([]);
    }),
    { numRuns: 150 },
  );
});
