/** What is to be done when a signal aborts, behind one listener of it. */
const tasksBySignal = new WeakMap<AbortSignal, Set<(reason: unknown) => void>>();

/**
 * Calls `task` with the signal's reason when it aborts, until the returned function calls that off. One
 * signal may end a thousand subscriptions: Node takes more than ten listeners of one for a leak, and says so.
 */
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
    // A task may call others off.
    if (tasks.delete(task)) task(reason);
  }
}
