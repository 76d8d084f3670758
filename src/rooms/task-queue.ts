import { runWithoutAsyncContext } from '../internal/async-context.js';
import type { Clock, Timer } from '../internal/clock.js';

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
