/**
 * What a full queue does with one message more: lose the oldest it holds, lose the new one, or end
 * the stream after what it holds.
 */
export type OverflowPolicy = 'drop-oldest' | 'drop-newest' | 'close';

/** A bounded first-in, first-out queue with a named overflow policy. Pure: it neither waits nor wakes. */
export class BoundedQueue<T> {
  readonly #capacity: number;
  readonly #overflow: OverflowPolicy;
  #items: T[] = [];
  #head = 0;
  #dropped = 0;
  #full = false;

  constructor(capacity: number, overflow: OverflowPolicy) {
    this.#capacity = capacity;
    this.#overflow = overflow;
  }

  /** How many items wait. */
  get size(): number {
    return this.#items.length - this.#head;
  }

  /** How many items were lost so far. */
  get dropped(): number {
    return this.#dropped;
  }

  /** True once `close` was the policy and an item did not fit; nothing is taken in any more. */
  get overflowed(): boolean {
    return this.#full;
  }

  /** The oldest item; `undefined` when there is none. */
  get first(): T | undefined {
    return this.#items[this.#head];
  }

  /** Takes `item` in; returns the one that was lost by it, this one or an older one, if any. */
  push(item: T): T | undefined {
    if (!this.#full && this.size < this.#capacity) {
      this.#items.push(item);
      return undefined;
    }
    this.#dropped++;
    if (this.#overflow === 'close') this.#full = true;
    if (this.#overflow !== 'drop-oldest') return item;
    const lost = this.shift();
    this.#items.push(item);
    return lost;
  }

  /** The oldest item, taken out; `undefined` when there is none. */
  shift(): T | undefined {
    if (this.#head >= this.#items.length) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head] = undefined as T;
    this.#head++;
    // Moving the rest down only now and then keeps shifting O(1) on average.
    if (this.#head > 64 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** Forgets everything that waits. */
  clear(): void {
    this.#items = [];
    this.#head = 0;
  }
}
