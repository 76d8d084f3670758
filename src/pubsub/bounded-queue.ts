/** A full queue drops the oldest message, drops the new one, or ends the stream after the queued messages. */
export type OverflowPolicy = 'drop-oldest' | 'drop-newest' | 'close';

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

  get size(): number {
    return this.#items.length - this.#head;
  }

  get dropped(): number {
    return this.#dropped;
  }

  /** An item did not fit under the policy `close`; every later item is dropped. */
  get overflowed(): boolean {
    return this.#full;
  }

  get first(): T | undefined {
    return this.#items[this.#head];
  }

  /** Returns the dropped item, if any, which may be `item`. */
  push(item: T): T | undefined {
    if (!this.#full && this.size < this.#capacity) {
      this.#items.push(item);
      return undefined;
    }
    this.#dropped++;
    if (this.#overflow === 'close') this.#full = true;
    if (this.#overflow !== 'drop-oldest') return item;
    const dropped = this.shift();
    this.#items.push(item);
    return dropped;
  }

  shift(): T | undefined {
    if (this.#head >= this.#items.length) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head] = undefined as T;
    this.#head++;
    // Compacting only now and then keeps `shift` O(1) on average.
    if (this.#head > 64 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  clear(): void {
    this.#items = [];
    this.#head = 0;
  }
}
