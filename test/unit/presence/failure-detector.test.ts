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
/** The clocks of Redis and of the detector are unrelated. */
const REDIS_EPOCH = 1_700_000_000_000;

/** A detector with a Redis of its own: leases by node id, and two clocks that advance together. */
class DetectorFixture {
  readonly detector: FailureDetector;
  readonly leases = new Map<string, number>();
  time = 0;
  /** How far Redis's clock was set ahead, in ms. */
  step = 0;

  constructor(maxFailureRatio = 0.5) {
    this.detector = new FailureDetector({ lease: LEASE, maxFailureRatio });
  }

  get now(): number {
    return REDIS_EPOCH + this.step + this.time;
  }

  renew(...nodes: string[]): void {
    for (const node of nodes) this.leases.set(node, this.now + LEASE);
  }

  survey(): DetectionResult {
    const snapshot: LeaseSnapshot = { now: this.now, leases: new Map(this.leases) };
    return this.detector.detect(snapshot, this.time);
  }

  /** Surveys every SWEEP ms for `ms`, all of `living` renewing in between; returns the results. */
  run(ms: number, living: string[] = []): DetectionResult[] {
    const results: DetectionResult[] = [];
    for (const end = this.time + ms; this.time < end; ) {
      this.time += SWEEP;
      if (this.time % RENEWAL === 0) this.renew(...living);
      results.push(this.survey());
    }
    return results;
  }

  /** Surveys until `node` is declared dead. Returns how long that took, and the last result. */
  untilDead(
    node: string,
    living: string[] = [],
    limit = 20 * LEASE,
  ): { after: number; result: DetectionResult } {
    const start = this.time;
    while (this.time - start < limit) {
      const [result] = this.run(SWEEP, living) as [DetectionResult];
      if (dead(result).includes(node)) return { after: this.time - start, result };
    }
    throw new Error(`${node} was never declared dead`);
  }
}

function dead(result: DetectionResult): string[] {
  return result.dead.map(({ nodeId }) => nodeId);
}

function expectNoneDead(results: DetectionResult[]): void {
  expect(results.flatMap(dead)).toEqual([]);
}

describe('a node that stops renewing', () => {
  test('a node is declared dead at the first survey after its lease expired', () => {
    const fixture = new DetectorFixture();
    fixture.renew('a', 'b');
    fixture.run(3 * LEASE, ['a', 'b']);
    const last = fixture.leases.get('b');
    const { after, result } = fixture.untilDead('b', ['a']);
    expect(after).toBeGreaterThan(LEASE);
    expect(after).toBeLessThanOrEqual(LEASE + SWEEP);
    expect(result).toEqual({ dead: [{ nodeId: 'b', score: last }], suspect: ['b'] });
  });

  test('a node is not declared dead in the very ms in which its lease ends', () => {
    const fixture = new DetectorFixture();
    fixture.renew('a');
    fixture.run(2 * LEASE, ['a']);
    fixture.leases.set('a', fixture.now + LEASE + SWEEP);
    fixture.survey();
    expectNoneDead(fixture.run(LEASE + SWEEP));
    expect(dead(fixture.run(SWEEP)[0] as DetectionResult)).toEqual(['a']);
  });

  test('a node stays suspect for one more lease after Redis lost writes or its clock stepped', () => {
    for (const forward of [0, 3 * LEASE]) {
      const fixture = new DetectorFixture();
      fixture.renew('a');
      fixture.run(2 * LEASE, ['a']);
      fixture.leases.set('a', fixture.now - SWEEP);
      if (forward > 0) fixture.renew('a');
      fixture.step = forward;
      expectNoneDead(fixture.run(LEASE));
      expect(fixture.untilDead('a').after).toBeLessThanOrEqual(2 * SWEEP);
    }
  });

  test('a dead node is reported at every survey while it is listed', () => {
    const fixture = new DetectorFixture();
    fixture.renew('a');
    fixture.run(2 * LEASE, ['a']);
    fixture.untilDead('a');
    expect(fixture.run(3 * SWEEP).map(dead)).toEqual([['a'], ['a'], ['a']]);
  });

  test('a dead node that renews is alive again', () => {
    const fixture = new DetectorFixture();
    fixture.renew('a');
    fixture.run(2 * LEASE, ['a']);
    fixture.untilDead('a');
    fixture.renew('a');
    const results = fixture.run(LEASE);
    expectNoneDead(results);
    expect(results[0]).toEqual({ dead: [], suspect: [] });
  });
});

describe('a detector without a full lease of observation', () => {
  test('no node is declared dead within a lease of the start', () => {
    const fixture = new DetectorFixture();
    fixture.leases.set('a', fixture.now - 1);
    fixture.survey();
    const start = fixture.time;
    const quarantined = fixture.run(LEASE - SWEEP);
    expectNoneDead(quarantined);
    for (const result of quarantined) {
      expect(result).toEqual({ dead: [], suspect: ['a'], suppressed: 'quarantine' });
    }
    expect(fixture.untilDead('a').result.dead).toHaveLength(1);
    expect(fixture.time - start).toBe(LEASE);
  });

  test('no node is declared dead within a lease of a gap between surveys', () => {
    const fixture = new DetectorFixture();
    fixture.renew('a', 'b');
    fixture.run(3 * LEASE, ['a', 'b']);
    // The process of the detector was frozen; Redis and the other nodes were not, and b died.
    fixture.time += LEASE;
    fixture.renew('a');
    const resumed = fixture.time + SWEEP;
    expectNoneDead(fixture.run(LEASE, ['a']));
    fixture.untilDead('b', ['a']);
    expect(fixture.time - resumed).toBe(LEASE);
  });

  test('a gap of up to half a lease counts as a slow survey', () => {
    for (const [gap, suppressed] of [
      [LEASE / 2, undefined],
      [LEASE / 2 + 1, 'quarantine'],
    ] as const) {
      const fixture = new DetectorFixture();
      fixture.renew('a');
      fixture.run(2 * LEASE, ['a']);
      fixture.run(LEASE - 1);
      fixture.time += gap;
      expect(fixture.survey().suppressed).toBe(suppressed);
    }
  });

  test('no node is declared dead within a lease of a reset', () => {
    const fixture = new DetectorFixture();
    fixture.renew('a');
    fixture.run(2 * LEASE, ['a']);
    fixture.untilDead('a');
    fixture.detector.reset();
    const since = fixture.time + SWEEP;
    expectNoneDead(fixture.run(LEASE));
    fixture.untilDead('a');
    expect(fixture.time - since).toBe(LEASE);
  });

  test('no node is declared dead while resets continue', () => {
    const fixture = new DetectorFixture();
    fixture.leases.set('a', fixture.now - 1);
    for (let count = 0; count < 20; count++) {
      expectNoneDead(fixture.run(LEASE - SWEEP));
      fixture.detector.reset();
    }
  });
});

describe('leases that the detector has not observed', () => {
  test('a node whose lease has expired before the first survey is not declared dead at once', () => {
    const fixture = new DetectorFixture();
    fixture.run(2 * LEASE);
    fixture.leases.set('stranger', fixture.now - 10 * LEASE);
    expect(fixture.survey()).toEqual({ dead: [], suspect: ['stranger'] });
    expect(dead(fixture.survey())).toEqual(['stranger']);
  });

  test('an expired lease that changed between two surveys does not make its node dead', () => {
    const fixture = new DetectorFixture();
    fixture.renew('a');
    fixture.run(2 * LEASE, ['a']);
    fixture.run(LEASE + SWEEP - 1);
    // Renewed and expired again within one sweep, as after a freeze of Redis.
    for (let count = 0; count < 5; count++) {
      fixture.leases.set('a', fixture.now - 10 + count);
      fixture.time += SWEEP;
      expect(fixture.survey()).toEqual({ dead: [], suspect: ['a'] });
    }
  });

  test('a node that left the list and returned is observed from the start', () => {
    const fixture = new DetectorFixture();
    fixture.renew('a');
    fixture.run(2 * LEASE, ['a']);
    fixture.untilDead('a');
    const score = fixture.leases.get('a') as number;
    fixture.leases.delete('a');
    fixture.run(SWEEP);
    fixture.leases.set('a', score);
    expect(dead(fixture.survey())).toEqual([]);
    expect(dead(fixture.survey())).toEqual(['a']);
  });
});

describe('self-preservation', () => {
  const nodes = (count: number) => Array.from({ length: count }, (_, index) => `n${index}`);

  /** All of `all` live for a while; then only the first `living` of them renew. */
  function massDeath(all: number, living: number, maxFailureRatio = 0.5) {
    const fixture = new DetectorFixture(maxFailureRatio);
    const names = nodes(all);
    fixture.renew(...names);
    fixture.run(3 * LEASE, names);
    return { fixture, survivors: names.slice(0, living), silent: names.slice(living) };
  }

  test.each([
    ['two of two', 2, 0],
    ['two of three', 3, 1],
    ['half of eight', 8, 4],
    ['one of one', 1, 0],
  ])('the deaths of %s are reported at once', (_, all, living) => {
    const { fixture, survivors, silent } = massDeath(all, living);
    const { after, result } = fixture.untilDead(silent[0] as string, survivors);
    expect(after).toBeLessThanOrEqual(LEASE + SWEEP);
    expect(dead(result)).toEqual(silent);
  });

  test.each([
    ['three of three', 3, 0],
    ['three of five', 5, 2],
    ['five of eight', 8, 3],
  ])('the deaths of %s are reported one lease later', (_, all, living) => {
    const { fixture, survivors, silent } = massDeath(all, living);
    const spared = fixture.run(LEASE + SWEEP, survivors).at(-1) as DetectionResult;
    expect(spared).toEqual({ dead: [], suspect: silent, suppressed: 'self-preservation' });
    const { after, result } = fixture.untilDead(silent[0] as string, survivors);
    expect(after).toBe(LEASE);
    expect(dead(result)).toEqual(silent);
  });

  test('nodes that return in the meantime restart the additional lease', () => {
    const { fixture, survivors, silent } = massDeath(6, 1);
    expectNoneDead(fixture.run(2 * LEASE - SWEEP, survivors));
    fixture.renew(...silent);
    expectNoneDead(fixture.run(2 * LEASE, survivors));
    fixture.untilDead(silent[0] as string, survivors);
  });

  test('maxFailureRatio 0 delays the report of any three deaths, 1 delays none', () => {
    const strict = massDeath(10, 7, 0);
    expect(strict.fixture.run(LEASE + SWEEP, strict.survivors).at(-1)?.suppressed).toBe('self-preservation');
    const lenient = massDeath(10, 0, 1);
    expect(dead(lenient.fixture.run(LEASE + SWEEP).at(-1) as DetectionResult)).toEqual(lenient.silent);
  });
});

describe('a claim', () => {
  test('a claimed node is left to its reaper until the claim ends, and is then reported at once', () => {
    const fixture = new DetectorFixture();
    fixture.leases.set('gone', -(fixture.now + 1_000));
    fixture.survey();
    expect(fixture.run(1_000)).toEqual([
      { dead: [], suspect: [] },
      { dead: [], suspect: [] },
    ]);
    const score = fixture.leases.get('gone');
    fixture.time += 1;
    // No observation is needed, because the node that claimed it had found it dead.
    expect(fixture.survey()).toEqual({ dead: [{ nodeId: 'gone', score }], suspect: [] });
  });

  test('an expired claim is reported at the first survey, and after a reset', () => {
    const fixture = new DetectorFixture();
    fixture.leases.set('gone', -(fixture.now - 1));
    expect(dead(fixture.survey())).toEqual(['gone']);
    fixture.detector.reset();
    expect(dead(fixture.survey())).toEqual(['gone']);
  });

  test('a running claim is never reported, however often it is extended', () => {
    const fixture = new DetectorFixture();
    for (let count = 0; count < 20; count++) {
      fixture.leases.set('gone', -(fixture.now + 1_000));
      expectNoneDead(fixture.run(SWEEP));
    }
  });

  test('an expired claim is reported during self-preservation, and does not count as a death', () => {
    const fixture = new DetectorFixture();
    const names = ['a', 'b', 'c', 'd'];
    fixture.renew(...names);
    fixture.run(2 * LEASE, names);
    fixture.run(LEASE);
    fixture.leases.set('gone', -(fixture.now - 1));
    const [result] = fixture.run(SWEEP) as [DetectionResult];
    expect(dead(result)).toEqual(['gone']);
    expect(result.suppressed).toBe('self-preservation');
    expect(result.suspect).toEqual(names);
  });
});

describe('suspects', () => {
  test('every node with an expired lease is a suspect, also during quarantine', () => {
    const fixture = new DetectorFixture();
    fixture.renew('a', 'b', 'c');
    expect(fixture.survey().suspect).toEqual([]);
    fixture.time += LEASE + 1;
    fixture.renew('b');
    expect(fixture.survey()).toEqual({ dead: [], suspect: ['a', 'c'], suppressed: 'quarantine' });
  });
});

/**
 * Simulates Redis, nodes that renew, and a detector that surveys, while Redis or the process of the
 * detector freezes. Redis answers requests sent during its freeze when it resumes, in any order.
 */
function simulate(plan: {
  stretches: { state: 'normal' | 'redis frozen' | 'detector frozen'; ms: number }[];
  jitter: number[];
  nodes: number;
  crashAt: number;
}): { falseDeaths: string[]; crashed: 'dead' | 'alive'; surveys: number } {
  const detector = new FailureDetector({ lease: LEASE, maxFailureRatio: 1 });
  const leases = new Map<string, number>();
  let chance = 0;
  const random = () => plan.jitter[chance++ % plan.jitter.length] as number;
  const jittered = (ms: number) => Math.round(ms * (0.9 + 0.2 * random()));
  const end = plan.stretches.reduce((sum, { ms }) => sum + ms, 0);
  const frozen = { redis: [] as [number, number][], detector: [] as [number, number][] };
  let at = 0;
  for (const { state, ms } of plan.stretches) {
    if (state === 'redis frozen') frozen.redis.push([at, at + ms]);
    if (state === 'detector frozen') frozen.detector.push([at, at + ms]);
    at += ms;
  }
  /** When something that is due at `time` runs. */
  const afterFreeze = (process: 'redis' | 'detector', time: number) => {
    for (const [from, to] of frozen[process]) if (time >= from && time < to) return to;
    return time;
  };

  type Step = { at: number; rank: number; run: () => void };
  const steps: Step[] = [];
  const scheduleStep = (when: number, run: () => void) => steps.push({ at: when, rank: random(), run });

  const falseDeaths: string[] = [];
  let crashed: 'dead' | 'alive' = 'alive';
  let surveys = 0;
  // A command takes up to 20 ms to Redis, and as long back.
  const trip = () => Math.round(20 * random());
  const renewal = (node: string, sendAt: number) => {
    const runAt = afterFreeze('redis', sendAt + trip());
    scheduleStep(runAt, () => {
      leases.set(node, REDIS_EPOCH + runAt + LEASE);
      const next = runAt + trip() + jittered(RENEWAL);
      if (node !== 'crashed' || next < plan.crashAt) renewal(node, next);
    });
  };
  const sweep = (due: number) => {
    const sendAt = afterFreeze('detector', due);
    const runAt = afterFreeze('redis', sendAt + trip());
    scheduleStep(runAt, () => {
      const snapshot: LeaseSnapshot = { now: REDIS_EPOCH + runAt, leases: new Map(leases) };
      const readAt = afterFreeze('detector', runAt + trip());
      scheduleStep(readAt, () => {
        surveys++;
        for (const { nodeId, score } of detector.detect(snapshot, readAt).dead) {
          // A result counts only while the lease has not changed, which the claim checks.
          if (leases.get(nodeId) !== score) continue;
          if (nodeId === 'crashed') crashed = 'dead';
          else falseDeaths.push(`${nodeId} at ${readAt}`);
        }
        sweep(readAt + jittered(SWEEP));
      });
    });
  };
  for (let node = 0; node < plan.nodes; node++) renewal(`n${node}`, Math.round(RENEWAL * random()));
  renewal('crashed', 0);
  sweep(0);
  while (steps.length > 0) {
    steps.sort((a, b) => a.at - b.at || a.rank - b.rank);
    const step = steps.shift() as Step;
    if (step.at > end) break;
    step.run();
  }
  return { falseDeaths, crashed, surveys };
}

describe('under freezes of Redis and of the detector', () => {
  const plan = fc.record({
    stretches: fc.array(
      fc.record({
        state: fc.constantFrom('normal' as const, 'redis frozen' as const, 'detector frozen' as const),
        ms: fc.oneof(fc.integer({ min: 1, max: 400 }), fc.integer({ min: 400, max: 5 * LEASE })),
      }),
      { minLength: 1, maxLength: 12 },
    ),
    jitter: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 7, maxLength: 31 }),
    nodes: fc.integer({ min: 1, max: 6 }),
    crashAt: fc.integer({ min: 0, max: 10 * LEASE }),
  });

  test('a node that renews whenever Redis answers is never declared dead', () => {
    fc.assert(
      fc.property(plan, (scenario) => {
        expect(simulate(scenario).falseDeaths).toEqual([]);
      }),
      { numRuns: 2_000 },
    );
  }, 60_000);

  test('a crashed node is declared dead after two leases and some sweeps without a freeze', () => {
    fc.assert(
      fc.property(plan, (scenario) => {
        const calm = { state: 'normal' as const, ms: 2 * LEASE + 4 * SWEEP };
        const spent = scenario.stretches.reduce((sum, { ms }) => sum + ms, 0);
        const ending = { ...scenario, crashAt: Math.min(scenario.crashAt, spent) };
        const { crashed, falseDeaths } = simulate({ ...ending, stretches: [...scenario.stretches, calm] });
        expect(crashed).toBe('dead');
        expect(falseDeaths).toEqual([]);
      }),
      { numRuns: 1_000 },
    );
  }, 60_000);
});

test('nodes that die one after another within a lease are counted together', () => {
  const fixture = new DetectorFixture();
  const names = ['a', 'b', 'c', 'd'];
  fixture.renew(...names, 'survivor');
  fixture.run(2 * LEASE, [...names, 'survivor']);
  // Their leases end at different times, so that no survey shows more than two of them at once.
  fixture.leases.set('a', fixture.now + LEASE + SWEEP);
  fixture.leases.set('b', fixture.now + LEASE + SWEEP);
  fixture.leases.set('c', fixture.now + LEASE + 3 * SWEEP);
  fixture.leases.set('d', fixture.now + LEASE + 3 * SWEEP);
  expectNoneDead(fixture.run(LEASE, ['survivor']));
  const removeDead = (results: DetectionResult[]) => {
    for (const name of results.flatMap(dead)) fixture.leases.delete(name);
    return results.flatMap(dead);
  };
  expect(removeDead(fixture.run(2 * SWEEP, ['survivor'])).sort()).toEqual(['a', 'b']);
  const results = fixture.run(3 * SWEEP, ['survivor']);
  expectNoneDead(results);
  expect(results.at(-1)?.suppressed).toBe('self-preservation');
  expect(new Set(removeDead(fixture.run(LEASE + SWEEP, ['survivor'])))).toEqual(new Set(['c', 'd']));
});

test('leases written while the clock was briefly an hour ahead keep no dead node alive, and no living node is declared dead', () => {
  const fixture = new DetectorFixture();
  fixture.renew('a', 'b', 'c', 'dead');
  fixture.run(2 * LEASE, ['a', 'b', 'c', 'dead']);
  // Between two surveys: the detector never sees the clock itself step.
  fixture.step = 3_600_000;
  fixture.renew('a', 'dead');
  fixture.step = 0;
  // The others renew late.
  const early = fixture.run(SWEEP * 2, ['b']).flatMap(dead);
  expect(early).toEqual([]);
  const { after } = fixture.untilDead('dead', ['a', 'b', 'c']);
  expect(after).toBeLessThanOrEqual(LEASE + 2_000);
  expect(fixture.run(2 * LEASE, ['a', 'b', 'c']).flatMap(dead)).not.toContain('a');
});
