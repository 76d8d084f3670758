function ignore(): void {}

/** Resolves when `task` has settled. Does not keep its result. */
export function settled(task: Promise<unknown>): Promise<void> {
  return task.then(ignore, ignore);
}

/**
 * Rejects with the error of the first failed task in the list, after all tasks have settled. Takes half the memory of
 * `Promise.allSettled`: every join and leave of a room waits here.
 */
export function allOrFirstError(tasks: readonly (Promise<unknown> | undefined)[]): Promise<void> {
  return new Promise((resolve, reject) => {
    let pending = 1;
    let failedAt = tasks.length;
    let reason: unknown;
    const settle = () => {
      if (--pending > 0) return;
      if (failedAt === tasks.length) resolve();
      else reject(reason);
    };
    for (const [at, task] of tasks.entries()) {
      if (task === undefined) continue;
      pending++;
      task.then(settle, (error: unknown) => {
        if (at < failedAt) {
          failedAt = at;
          reason = error;
        }
        settle();
      });
    }
    settle();
  });
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
