/** Something that is there as long as anybody holds it. */
export interface Resource {
  /** It is wanted, and was not. */
  open(): void;
  /** Nobody wants it any more. It may never have been opened. */
  close(): void;
}

/**
 * Counts who holds something. It is opened when all effects of a render have run, so that their wishes can be put
 * together; and closed a macrotask after the last holder has gone, for in strict mode, when a key changes and when
 * one page gives way to another, the next holder comes at once.
 */
export class RefCounted {
  readonly #leased: Resource;
  #holders = 0;
  #open = false;
  #closing: ReturnType<typeof setTimeout> | undefined;

  constructor(leased: Resource) {
    this.#leased = leased;
  }

  /** Somebody holds it. */
  get inUse(): boolean {
    return this.#holders > 0;
  }

  /** Holds it; returns how to let it go, which may be called more than once. */
  acquire(): () => void {
    clearTimeout(this.#closing);
    this.#holders++;
    queueMicrotask(() => {
      if (this.#open || this.#holders === 0) return;
      this.#open = true;
      this.#leased.open();
    });
    let held = true;
    return () => {
      if (held && --this.#holders === 0) this.#closing = setTimeout(() => this.#close());
      held = false;
    };
  }

  #close(): void {
    this.#open = false;
    this.#leased.close();
  }
}
