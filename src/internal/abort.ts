/** One event listener per signal. */
const tasksBySignal = new WeakMap<AbortSignal, Set<(reason: unknown) => void>>();

/** One signal may end a thousand subscriptions, and Node warns of a leak above ten listeners. */
export function onAbort(signal: AbortSignal | undefined, task: (reason: unknown) => void): () => void {
  if (signal === undefined) return () => {};
  let tasks = tasksBySignal.get(signal);
  if (tasks === undefined) {
    const all = new Set<(reason: unknown) => void>();
    signal.addEventListener('abort', () => runAll(all, signal.reason), { once: true });
    tasksBySignal.set(signal, all);
    tasks = all;
  }
  tasks.add(task);
  return () => void tasks.delete(task);
}

function runAll(tasks: Set<(reason: unknown) => void>, reason: unknown): void {
  for (const task of tasks) {
    // A task may remove others.
    if (tasks.delete(task)) task(reason);
  }
}
