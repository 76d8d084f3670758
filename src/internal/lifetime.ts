/**
 * Ends what belongs to one object, as an AbortController does. For many objects that would cost too much: 1.2 KB each, and
 * 30 µs to create and abort.
 */
export class Lifetime {
  #tasks: Set<() => void> | undefined;

  /** Before `end`. Returns a function that removes the task. */
  onEnd(task: () => void): () => void {
    this.#tasks ??= new Set();
    this.#tasks.add(task);
    return () => void this.#tasks?.delete(task);
  }

  end(): void {
    const tasks = this.#tasks;
    this.#tasks = undefined;
    for (const task of tasks ?? []) task();
  }
}
