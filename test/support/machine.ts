import { readFileSync } from 'node:fs';

// Times in tests are written for an idle machine like the one that the suite is developed on. They
// are multiplied by how much slower this machine is at the moment.

/** Above this, a longer wait would only hide a hang. */
const MAX_SLOWNESS = 20;
/** Rounds of the calibrated loop, and the milliseconds they take on an idle machine. */
const ROUNDS = 8_000_000;
const IDLE_MS = 14;
/**
 * Periods that a test waits out (a lease, a grace) leave room for a machine this slow: the workers
 * of the suite itself slow each other down about as much.
 */
const PERIOD_RESERVE = 2;
/** Longer periods cost more than they help: the start of all workers at once measures as a very slow machine. */
const MAX_PERIOD_FACTOR = 3;
/** A thread that ran for less, in ns, says nothing about the machine. */
const MIN_RUN_NS = 200_000_000;

let slowness = 1;
let ranBefore = 0;
let waitedBefore = 0;

/** Wall time of a fixed amount of work, as a multiple of what an idle machine takes. */
function measureLoop(): number {
  const start = performance.now();
  let value = 1;
  for (let round = 0; round < ROUNDS; round++) value = Math.imul(value ^ round, 0x5bd1e995) ^ (value >>> 15);
  // `value` is read, so that the compiler keeps the loop.
  return (performance.now() - start) / (value === 0 ? IDLE_MS + 1 : IDLE_MS);
}

/**
 * 1 + the time that this thread waited for a processor, per time that it ran, since the last call.
 * On the first call, that is since the start of the process. Linux only.
 */
function measureRunQueue(): number {
  try {
    const text = readFileSync('/proc/thread-self/schedstat', 'utf8');
    const [ran = 0, waited = 0] = text.split(' ').map(Number);
    if (ran - ranBefore < MIN_RUN_NS) return 1;
    const ratio = (waited - waitedBefore) / (ran - ranBefore);
    ranBefore = ran;
    waitedBefore = waited;
    return 1 + ratio;
  } catch {
    return 1;
  }
}

/**
 * Measures how many times slower this machine is than an idle one, from 1 to 20. Load comes in
 * bursts, so that the result is never less than the one before.
 */
export function measureSlowness(): number {
  slowness = Math.min(Math.max(slowness, measureLoop(), measureRunQueue()), MAX_SLOWNESS);
  return slowness;
}

/** Measures again, because the load of an earlier test file in this process may have ended. */
export function resetSlowness(): void {
  slowness = 1;
  measureSlowness();
}

/** An upper limit for something that takes at most `ms` milliseconds on an idle machine. */
export const timeLimit = (ms: number): number => Math.ceil(ms * slowness);

/**
 * A period that a test waits out, like a lease: `ms` milliseconds, unless the machine is so slow
 * that a healthy process could miss it.
 */
export const period = (ms: number): number =>
  Math.ceil(ms * Math.min(Math.max(1, slowness / PERIOD_RESERVE), MAX_PERIOD_FACTOR));
