import { runWithoutAsyncContext } from '../internal/async-context.js';
import type { Clock, Timer } from '../internal/clock.js';
import { allOrFirstError } from '../internal/promises.js';

/** Enough tasks to share few pipelines. Their deadlines start with the call, so not all run at once. */
const CONCURRENCY = 250;
/** The synchronous part of a slice takes a few ms. */
const SLICE = 50;
/**
 * After this time in ms without a start, running tasks do not count: without Redis each takes its full
 * deadline.
 */
const STALL_TIMEOUT = 250;

/**
 * Runs tasks in order, with bounded concurrency and in slices, so that releasing thousands of sockets neither
 * blocks the event loop nor times out in the queue.
 */
export class TaskQueue {
  readonly #clock: Clock;
  #waiting: (() => void)[] = [];
  /** Of the first waiting task: `shift` would copy a long array. */
  #next = 0;
  #running = 0;
  /** Incremented when running tasks stop counting. */
  #generation = 0;
  #startedInTurn = 0;
  #turnScheduled = false;
  #stallTimer: Timer | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  run<T>(task: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push(() => {
        const generation = this.#generation;
        task()
          .then(resolve, reject)
          .finally(() => {
            if (generation !== this.#generation) return;
            this.#running--;
            this.#startNext();
          });
      });
      this.#startNext();
    });
  }

  #startNext(): void {
    const { length } = this.#waiting;
    while (this.#next < length && this.#running < CONCURRENCY && this.#startedInTurn < SLICE) {
      this.#startedInTurn++;
      this.#scheduleTurn();
      this.#running++;
      this.#stallTimer?.cancel();
      this.#stallTimer = undefined;
      this.#waiting[this.#next++]?.();
    }
    if (this.#next < length) return this.#watchStall();
    this.#waiting = [];
    this.#next = 0;
  }

  #scheduleTurn(): void {
    if (this.#turnScheduled) return;
    this.#turnScheduled = true;
    const startTurn = () => {
      this.#turnScheduled = false;
      this.#startedInTurn = 0;
      this.#startNext();
    };
    runWithoutAsyncContext(() => setImmediate(startTurn));
  }

  #watchStall(): void {
    this.#stallTimer ??= this.#clock.after(STALL_TIMEOUT, () => {
      this.#stallTimer = undefined;
      this.#generation++;
      this.#running = 0;
      this.#startNext();
    });
  }
}

/** Items handled before other work of the process runs. */
const ITEMS_PER_SLICE = 250;

/** Lets other work run in between. Rejects with the first failure after all tasks have settled. */
export async function runInSlices<T>(
  items: readonly T[],
  task: (item: T) => Promise<unknown>,
): Promise<void> {
  const done: Promise<unknown>[] = [];
  for (let start = 0; start < items.length; start += ITEMS_PER_SLICE) {
    if (start > 0) await new Promise<void>((resolve) => setImmediate(resolve));
    for (const item of items.slice(start, start + ITEMS_PER_SLICE)) {
      const running = task(item);
      // A failure before the last slice starts would be an unhandled rejection, which ends the process.
      running.catch(() => {});
      done.push(running);
    }
  }
  await allOrFirstError(done);
}
