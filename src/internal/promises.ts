function ignore(): void {}

/** Resolves when `task` has settled. Does not keep its result. */
export function settled(task: Promise<unknown>): Promise<void> {
  return task.then(ignore, ignore);
}

/** Throws the first error after all tasks have settled. */
export async function allOrFirstError(tasks: readonly (Promise<unknown> | undefined)[]): Promise<void> {
  const failed = (await Promise.allSettled(tasks)).find(({ status }) => status === 'rejected');
  if (failed !== undefined) throw (failed as PromiseRejectedResult).reason;
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
