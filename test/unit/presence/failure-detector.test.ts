import { describe, expect, test } from 'vitest';
import {
  type DetectionResult,
  FailureDetector,
  type LeaseSnapshot,
} from '../../../src/presence/failure-detector.js';
import { fc } from '../../support/property.js';

const LEASE = 3_000;
const SWEEP = 500;
const RENEWAL = 1_000;
/** Redis's clock and the judge's have nothing to do with each other. */
const REDIS_EPOCH = 1_700_000_000_000;

/** A judge with a Redis of its own: leases by name, and two clocks that go on together. */
class Court {
  readonly judge: FailureDetector;
  readonly leases = new Map<string, number>();
  time = 0;
  /** By how much Redis's clock was set ahead. */
  step = 0;

  constructor(maxFailureRatio = 0.5) {
    this.judge = new FailureDetector({ lease: LEASE, maxFailureRatio: maxFailureRatio });
  }

  get now(): number {
    return REDIS_EPOCH + this.step + this.time;
  }

  renew(...nodes: string[]): void {
    for (const node of nodes) this.leases.set(node, this.now + LEASE);
  }

  survey(): DetectionResult {
    const survey: LeaseSnapshot = { now: this.now, leases: new Map(this.leases) };
    return this.judge.detect(survey, this.time);
  }

  /** Surveys every SWEEP ms for `ms`, all of `living` renewing in between; returns the verdicts. */
  run(ms: number, living: string[] = []): DetectionResult[] {
    const verdicts: DetectionResult[] = [];
    for (const end = this.time + ms; this.time < end; ) {
      this.time += SWEEP;
      if (this.time % RENEWAL === 0) this.renew(...living);
      verdicts.push(this.survey());
    }
    return verdicts;
  }

  /** Surveys until `node` is judged dead; how long that took, and what was said then. */
  untilDead(
    node: string,
    living: string[] = [],
    limit = 20 * LEASE,
  ): { after: number; verdict: DetectionResult } {
    const start = this.time;
    while (this.time - start < limit) {
      const [verdict] = this.run(SWEEP, living) as [DetectionResult];
      if (dead(verdict).includes(node)) return { after: this.time - start, verdict };
    }
    throw new Error(`${node} was never judged dead`);
  }
}

function dead(verdict: DetectionResult): string[] {
  return verdict.dead.map(({ nodeId }) => nodeId);
}

function neverDead(verdicts: DetectionResult[]): void {
  expect(verdicts.flatMap(dead)).toEqual([]);
}

describe('a node that falls silent', () => {
  test('is judged dead at the first survey after its lease ran out', () => {
    const court = new Court();
    court.renew('a', 'b');
    court.run(3 * LEASE, ['a', 'b']);
    const last = court.leases.get('b');
    const { after, verdict } = court.untilDead('b', ['a']);
    expect(after).toBeGreaterThan(LEASE);
    expect(after).toBeLessThanOrEqual(LEASE + SWEEP);
    expect(verdict).toEqual({ dead: [{ nodeId: 'b', score: last }], suspect: ['b'] });
  });

  test('is not judged at the very ms its lease ends', () => {
    const court = new Court();
    court.renew('a');
    court.run(2 * LEASE, ['a']);
    court.leases.set('a', court.now + LEASE + SWEEP);
    court.survey();
    neverDead(court.run(LEASE + SWEEP));
    expect(dead(court.run(SWEEP)[0] as DetectionResult)).toEqual(['a']);
  });

  test('is spared for a lease when Redis went back to an older state, or its clock stepped', () => {
    for (const forward of [0, 3 * LEASE]) {
      const court = new Court();
      court.renew('a');
      court.run(2 * LEASE, ['a']);
      court.leases.set('a', court.now - SWEEP);
      if (forward > 0) court.renew('a');
      court.step = forward;
      neverDead(court.run(LEASE));
      expect(court.untilDead('a').after).toBeLessThanOrEqual(2 * SWEEP);
    }
  });

  test('is judged anew at every survey for as long as it is listed', () => {
    const court = new Court();
    court.renew('a');
    court.run(2 * LEASE, ['a']);
    court.untilDead('a');
    expect(court.run(3 * SWEEP).map(dead)).toEqual([['a'], ['a'], ['a']]);
  });

  test('is spared when it renews after all', () => {
    const court = new Court();
    court.renew('a');
    court.run(2 * LEASE, ['a']);
    court.untilDead('a');
    court.renew('a');
    const verdicts = court.run(LEASE);
    neverDead(verdicts);
    expect(verdicts[0]).toEqual({ dead: [], suspect: [] });
  });
});

describe('a judge whose own view was not unbroken for a lease', () => {
  test('judges nobody after its start', () => {
    const court = new Court();
    court.leases.set('a', court.now - 1);
    court.survey();
    const start = court.time;
    const quarantined = court.run(LEASE - SWEEP);
    neverDead(quarantined);
    for (const verdict of quarantined) {
      expect(verdict).toEqual({ dead: [], suspect: ['a'], suppressed: 'quarantine' });
    }
    expect(court.untilDead('a').verdict.dead).toHaveLength(1);
    expect(court.time - start).toBe(LEASE);
  });

  test('judges nobody for a lease after a gap between surveys', () => {
    const court = new Court();
    court.renew('a', 'b');
    court.run(3 * LEASE, ['a', 'b']);
    // The judge's process stood still; Redis and everybody else did not, but b died.
    court.time += LEASE;
    court.renew('a');
    const resumed = court.time + SWEEP;
    neverDead(court.run(LEASE, ['a']));
    court.untilDead('b', ['a']);
    expect(court.time - resumed).toBe(LEASE);
  });

  test('takes a gap of up to half a lease for a slow survey', () => {
    for (const [gap, suppressed] of [
      [LEASE / 2, undefined],
      [LEASE / 2 + 1, 'quarantine'],
    ] as const) {
      const court = new Court();
      court.renew('a');
      court.run(2 * LEASE, ['a']);
      court.run(LEASE - 1);
      court.time += gap;
      expect(court.survey().suppressed).toBe(suppressed);
    }
  });

  test('judges nobody for a lease after an interruption', () => {
    const court = new Court();
    court.renew('a');
    court.run(2 * LEASE, ['a']);
    court.untilDead('a');
    court.judge.reset();
    const since = court.time + SWEEP;
    neverDead(court.run(LEASE));
    court.untilDead('a');
    expect(court.time - since).toBe(LEASE);
  });

  test('judges nobody as long as interruptions go on', () => {
    const court = new Court();
    court.leases.set('a', court.now - 1);
    for (let count = 0; count < 20; count++) {
      neverDead(court.run(LEASE - SWEEP));
      court.judge.reset();
    }
  });
});

describe('what a judge has not watched itself', () => {
  test('a node first seen already expired is not judged at once', () => {
    const court = new Court();
    court.run(2 * LEASE);
    court.leases.set('stranger', court.now - 10 * LEASE);
    expect(court.survey()).toEqual({ dead: [], suspect: ['stranger'] });
    expect(dead(court.survey())).toEqual(['stranger']);
  });

  test('a lease that changed between two surveys is not judged, though it has expired', () => {
    const court = new Court();
    court.renew('a');
    court.run(2 * LEASE, ['a']);
    court.run(LEASE + SWEEP - 1);
    // Renewed, and already late again, within one sweep: as when Redis was frozen.
    for (let count = 0; count < 5; count++) {
      court.leases.set('a', court.now - 10 + count);
      court.time += SWEEP;
      expect(court.survey()).toEqual({ dead: [], suspect: ['a'] });
    }
  });

  test('a node that left the list and came back is new', () => {
    const court = new Court();
    court.renew('a');
    court.run(2 * LEASE, ['a']);
    court.untilDead('a');
    const score = court.leases.get('a') as number;
    court.leases.delete('a');
    court.run(SWEEP);
    court.leases.set('a', score);
    expect(dead(court.survey())).toEqual([]);
    expect(dead(court.survey())).toEqual(['a']);
  });
});

describe('self-preservation', () => {
  const nodes = (count: number) => Array.from({ length: count }, (_, index) => `n${index}`);

  /** All of `all` live for a while; then only the first `living` of them renew. */
  function massDeath(all: number, living: number, maxFailureRatio = 0.5) {
    const court = new Court(maxFailureRatio);
    const names = nodes(all);
    court.renew(...names);
    court.run(3 * LEASE, names);
    return { court, survivors: names.slice(0, living), silent: names.slice(living) };
  }

  test.each([
    ['two of two', 2, 0],
    ['two of three', 3, 1],
    ['half of eight', 8, 4],
    ['one of one', 1, 0],
  ])('believes that %s died', (_, all, living) => {
    const { court, survivors, silent } = massDeath(all, living);
    const { after, verdict } = court.untilDead(silent[0] as string, survivors);
    expect(after).toBeLessThanOrEqual(LEASE + SWEEP);
    expect(dead(verdict)).toEqual(silent);
  });

  test.each([
    ['three of three', 3, 0],
    ['three of five', 5, 2],
    ['five of eight', 8, 3],
  ])('does not believe for a further lease that %s died', (_, all, living) => {
    const { court, survivors, silent } = massDeath(all, living);
    const spared = court.run(LEASE + SWEEP, survivors).at(-1) as DetectionResult;
    expect(spared).toEqual({ dead: [], suspect: silent, suppressed: 'self-preservation' });
    const { after, verdict } = court.untilDead(silent[0] as string, survivors);
    expect(after).toBe(LEASE);
    expect(dead(verdict)).toEqual(silent);
  });

  test('counts a further lease from the start when they came back meanwhile', () => {
    const { court, survivors, silent } = massDeath(6, 1);
    neverDead(court.run(2 * LEASE - SWEEP, survivors));
    court.renew(...silent);
    neverDead(court.run(2 * LEASE, survivors));
    court.untilDead(silent[0] as string, survivors);
  });

  test('the share is an option: 0 doubts any three, 1 believes in all', () => {
    const doubting = massDeath(10, 7, 0);
    expect(doubting.court.run(LEASE + SWEEP, doubting.survivors).at(-1)?.suppressed).toBe(
      'self-preservation',
    );
    const believing = massDeath(10, 0, 1);
    expect(dead(believing.court.run(LEASE + SWEEP).at(-1) as DetectionResult)).toEqual(believing.silent);
  });
});

describe('a claim', () => {
  test('is left to its reaper until it ends, then taken over at once', () => {
    const court = new Court();
    court.leases.set('gone', -(court.now + 1_000));
    court.survey();
    expect(court.run(1_000)).toEqual([
      { dead: [], suspect: [] },
      { dead: [], suspect: [] },
    ]);
    const score = court.leases.get('gone');
    court.time += 1;
    // A judge that has just started knows enough: whoever claimed has judged.
    expect(court.survey()).toEqual({ dead: [{ nodeId: 'gone', score }], suspect: [] });
  });

  test('is taken over even by a judge who sees it for the first time, or was interrupted', () => {
    const court = new Court();
    court.leases.set('gone', -(court.now - 1));
    expect(dead(court.survey())).toEqual(['gone']);
    court.judge.reset();
    expect(dead(court.survey())).toEqual(['gone']);
  });

  test('that runs is no lease, however often it is prolonged', () => {
    const court = new Court();
    for (let count = 0; count < 20; count++) {
      court.leases.set('gone', -(court.now + 1_000));
      neverDead(court.run(SWEEP));
    }
  });

  test('neither counts as a death nor waits for those who are spared', () => {
    const court = new Court();
    const names = ['a', 'b', 'c', 'd'];
    court.renew(...names);
    court.run(2 * LEASE, names);
    court.run(LEASE);
    court.leases.set('gone', -(court.now - 1));
    const [verdict] = court.run(SWEEP) as [DetectionResult];
    expect(dead(verdict)).toEqual(['gone']);
    expect(verdict.suppressed).toBe('self-preservation');
    expect(verdict.suspect).toEqual(names);
  });
});

describe('who looks late', () => {
  test('is everybody whose lease has run out, judged or not', () => {
    const court = new Court();
    court.renew('a', 'b', 'c');
    expect(court.survey().suspect).toEqual([]);
    court.time += LEASE + 1;
    court.renew('b');
    expect(court.survey()).toEqual({ dead: [], suspect: ['a', 'c'], suppressed: 'quarantine' });
  });
});

/**
 * A Redis, nodes that renew, and a judge that surveys, under freezes of Redis and of the judge's
 * process. Everything sent while Redis stands still is answered when it goes on, in any order.
 */
function simulate(plan: {
  stretches: { what: 'all well' | 'redis frozen' | 'judge frozen'; ms: number }[];
  jitter: number[];
  nodes: number;
  doomedAt: number;
}): { wronged: string[]; doomed: 'judged' | 'spared'; surveys: number } {
  const judge = new FailureDetector({ lease: LEASE, maxFailureRatio: 1 });
  const leases = new Map<string, number>();
  let chance = 0;
  const random = () => plan.jitter[chance++ % plan.jitter.length] as number;
  const jittered = (ms: number) => Math.round(ms * (0.9 + 0.2 * random()));
  const end = plan.stretches.reduce((sum, { ms }) => sum + ms, 0);
  const frozen = { redis: [] as [number, number][], judge: [] as [number, number][] };
  let at = 0;
  for (const { what, ms } of plan.stretches) {
    if (what === 'redis frozen') frozen.redis.push([at, at + ms]);
    if (what === 'judge frozen') frozen.judge.push([at, at + ms]);
    at += ms;
  }
  /** When something that is due at `time` happens. */
  const thawed = (who: 'redis' | 'judge', time: number) => {
    for (const [from, to] of frozen[who]) if (time >= from && time < to) return to;
    return time;
  };

  type Step = { at: number; rank: number; run: () => void };
  const steps: Step[] = [];
  const plant = (when: number, run: () => void) => steps.push({ at: when, rank: random(), run });

  const wronged: string[] = [];
  let doomed: 'judged' | 'spared' = 'spared';
  let surveys = 0;
  // A command takes up to 20 ms to Redis, and as long back.
  const trip = () => Math.round(20 * random());
  const renewal = (node: string, sendAt: number) => {
    const runAt = thawed('redis', sendAt + trip());
    plant(runAt, () => {
      leases.set(node, REDIS_EPOCH + runAt + LEASE);
      const next = runAt + trip() + jittered(RENEWAL);
      if (node !== 'doomed' || next < plan.doomedAt) renewal(node, next);
    });
  };
  const sweep = (due: number) => {
    const sendAt = thawed('judge', due);
    const runAt = thawed('redis', sendAt + trip());
    plant(runAt, () => {
      const survey: LeaseSnapshot = { now: REDIS_EPOCH + runAt, leases: new Map(leases) };
      const readAt = thawed('judge', runAt + trip());
      plant(readAt, () => {
        surveys++;
        for (const { nodeId, score } of judge.detect(survey, readAt).dead) {
          // A verdict binds only while the lease is the one that was judged: the claim checks it.
          if (leases.get(nodeId) !== score) continue;
          if (nodeId === 'doomed') doomed = 'judged';
          else wronged.push(`${nodeId} at ${readAt}`);
        }
        sweep(readAt + jittered(SWEEP));
      });
    });
  };
  for (let node = 0; node < plan.nodes; node++) renewal(`n${node}`, Math.round(RENEWAL * random()));
  renewal('doomed', 0);
  sweep(0);
  while (steps.length > 0) {
    steps.sort((a, b) => a.at - b.at || a.rank - b.rank);
    const step = steps.shift() as Step;
    if (step.at > end) break;
    step.run();
  }
  return { wronged, doomed, surveys };
}

describe('under freezes of Redis and of the judge', () => {
  const plan = fc.record({
    stretches: fc.array(
      fc.record({
        what: fc.constantFrom('all well' as const, 'redis frozen' as const, 'judge frozen' as const),
        ms: fc.oneof(fc.integer({ min: 1, max: 400 }), fc.integer({ min: 400, max: 5 * LEASE })),
      }),
      { minLength: 1, maxLength: 12 },
    ),
    jitter: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 7, maxLength: 31 }),
    nodes: fc.integer({ min: 1, max: 6 }),
    doomedAt: fc.integer({ min: 0, max: 10 * LEASE }),
  });

  test('a node that renews whenever Redis answers is never judged dead', () => {
    fc.assert(
      fc.property(plan, (scenario) => {
        expect(simulate(scenario).wronged).toEqual([]);
      }),
      { numRuns: 2_000 },
    );
  }, 60_000);

  test('a node that died is judged once all has been well for two leases and some sweeps', () => {
    fc.assert(
      fc.property(plan, (scenario) => {
        const calm = { what: 'all well' as const, ms: 2 * LEASE + 4 * SWEEP };
        const spent = scenario.stretches.reduce((sum, { ms }) => sum + ms, 0);
        const ending = { ...scenario, doomedAt: Math.min(scenario.doomedAt, spent) };
        const { doomed, wronged } = simulate({ ...ending, stretches: [...scenario.stretches, calm] });
        expect(doomed).toBe('judged');
        expect(wronged).toEqual([]);
      }),
      { numRuns: 1_000 },
    );
  }, 60_000);
});

test('those who die one after the other, within a lease, are counted together', () => {
  const court = new Court();
  const names = ['a', 'b', 'c', 'd'];
  court.renew(...names, 'survivor');
  court.run(2 * LEASE, [...names, 'survivor']);
  // Their leases end at different times, so that no survey shows more than two of them at once.
  court.leases.set('a', court.now + LEASE + SWEEP);
  court.leases.set('b', court.now + LEASE + SWEEP);
  court.leases.set('c', court.now + LEASE + 3 * SWEEP);
  court.leases.set('d', court.now + LEASE + 3 * SWEEP);
  neverDead(court.run(LEASE, ['survivor']));
  const judged = (verdicts: DetectionResult[]) => {
    for (const name of verdicts.flatMap(dead)) court.leases.delete(name);
    return verdicts.flatMap(dead);
  };
  expect(judged(court.run(2 * SWEEP, ['survivor'])).sort()).toEqual(['a', 'b']);
  const verdicts = court.run(3 * SWEEP, ['survivor']);
  neverDead(verdicts);
  expect(verdicts.at(-1)?.suppressed).toBe('self-preservation');
  expect(new Set(judged(court.run(LEASE + SWEEP, ['survivor'])))).toEqual(new Set(['c', 'd']));
});

test('leases written while the clock was an hour ahead for a moment prove nothing: the living renew, the dead are found', () => {
  const court = new Court();
  court.renew('a', 'b', 'c', 'dead');
  court.run(2 * LEASE, ['a', 'b', 'c', 'dead']);
  // Between two surveys: the detector never sees the clock itself step.
  court.step = 3_600_000;
  court.renew('a', 'dead');
  court.step = 0;
  // The others renew late.
  const early = court.run(SWEEP * 2, ['b']).flatMap(dead);
  expect(early).toEqual([]);
  const { after } = court.untilDead('dead', ['a', 'b', 'c']);
  expect(after).toBeLessThanOrEqual(LEASE + 2_000);
  expect(court.run(2 * LEASE, ['a', 'b', 'c']).flatMap(dead)).not.toContain('a');
});
