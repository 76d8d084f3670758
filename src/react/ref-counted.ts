export interface Resource {
  /** Called after the first `acquire`. */
  open(): void;
  /** Called after the last release, even if `open` was never called. */
  close(): void;
  /** Time in ms that the resource stays open after the last release. @default 0: one macrotask */
  linger?(): number;
}

/**
 * Opens the resource when all effects of a render have run, so that requests can be merged. Closes it one
 * macrotask after the last release, because the next `acquire` follows at once in strict mode, after a change
 * of key, and when one page replaces another.
 */
export class RefCounted {
  readonly #resource: Resource;
  #holders = 0;
  #open = false;
  #closing: ReturnType<typeof setTimeout> | undefined;

  constructor(resource: Resource) {
    this.#resource = resource;
  }

  get inUse(): boolean {
    return this.#holders > 0;
  }

  /** The returned release function may be called more than once. */
  acquire(): () => void {
    clearTimeout(this.#closing);
    this.#holders++;
    queueMicrotask(() => {
      if (this.#open || this.#holders === 0) return;
      this.#open = true;
      this.#resource.open();
    });
    let held = true;
    return () => {
      if (held && --this.#holders === 0)
        this.#closing = setTimeout(() => this.#close(), this.#resource.linger?.());
      held = false;
    };
  }

  #close(): void {
    this.#open = false;
    this.#resource.close();
  }
}
