/** Whom to tell that there is another snapshot. */
export class Listeners {
  readonly #calls = new Set<{ readonly call: () => void }>();

  add(call: () => void): () => void {
    // An object of its own, so that the same function given twice is two listeners.
    const listener = { call };
    this.#calls.add(listener);
    return () => void this.#calls.delete(listener);
  }

  notify(): void {
    for (const { call } of [...this.#calls]) call();
  }
}
