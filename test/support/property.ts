import original, {
  type IAsyncProperty,
  type IProperty,
  type IRawProperty,
  type Parameters,
} from 'fast-check';

/** Runs of each property, however long they take; without it each has a budget: `FC_RUNS=10000 npx vitest run`. */
const RUNS = Number(process.env['FC_RUNS'] ?? 0);
/** Of each property, to repeat a long run. @default chance */
const SEED = process.env['FC_SEED'];
/** A property makes as many runs as fit into this many milliseconds, at most its `numRuns`. */
const BUDGET_MS = 1_000;

/** Time limit of a test of one model, in ms; longer with more runs. */
export const MODEL_TIMEOUT = Math.max(60_000, 100 * RUNS);

export type { Arbitrary } from 'fast-check';

/** fast-check, with a limit on the time of each property. */
export const fc = { ...original, assert };

function assert<T>(property: IAsyncProperty<T>, params?: Parameters<T>): Promise<void>;
function assert<T>(property: IProperty<T>, params?: Parameters<T>): void;
function assert<T>(property: IRawProperty<T>, params: Parameters<T> = {}): Promise<void> | void {
  // One failure that is run again, from the seed and the path of a report, needs no limit.
  if (params.path !== undefined) return original.assert(property, params);
  if (RUNS > 0) {
    const seed = SEED === undefined ? {} : { seed: Number(SEED) };
    return original.assert(property, { ...seed, ...params, numRuns: RUNS });
  }
  return original.assert(withBudget(property), params);
}

/** `property`, which counts as passed without a run once the budget is used up. */
function withBudget<T>(property: IRawProperty<T>): IRawProperty<T> {
  let end: number | undefined;
  let last: ReturnType<typeof property.generate> | undefined;
  const isOver = () => end !== undefined && performance.now() > end;
  const inspect = (failure: Awaited<ReturnType<typeof property.run>>) => {
    // A failure is shrunk to the end, however long that takes.
    if (failure !== null) end = Number.POSITIVE_INFINITY;
    return failure;
  };
  const limited: IRawProperty<T> = Object.create(property);
  // Generating a value can take longer than the run itself.
  limited.generate = (random, runId) => {
    if (last === undefined || !isOver()) last = property.generate(random, runId);
    return last;
  };
  limited.run = (value) => {
    end ??= performance.now() + BUDGET_MS;
    if (isOver()) return null;
    const result = property.run(value);
    return result instanceof Promise ? result.then(inspect) : inspect(result);
  };
  return limited;
}
