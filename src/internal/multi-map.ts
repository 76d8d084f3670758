/** With several values per key. */
class Values<V> extends Set<V> {}

/** A map of keys to values. Nearly all keys have one value, which is stored without a Set, whose table takes 150 bytes. */
export class MultiMap<K, V extends string | object> {
  readonly #entries = new Map<K, V | Values<V>>();

  /** Number of keys. */
  get size(): number {
    return this.#entries.size;
  }

  keys(): IterableIterator<K> {
    return this.#entries.keys();
  }

  has(key: K): boolean {
    return this.#entries.has(key);
  }

  hasValue(key: K, value: V): boolean {
    const entry = this.#entries.get(key);
    return entry instanceof Values ? entry.has(value) : entry === value;
  }

  /** In the order in which they were added. */
  get(key: K): V[] {
    const entry = this.#entries.get(key);
    if (entry === undefined) return [];
    return entry instanceof Values ? [...entry] : [entry];
  }

  /** No effect if the key has the value. */
  add(key: K, value: V): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) this.#entries.set(key, value);
    else if (entry instanceof Values) entry.add(value);
    else if (entry !== value) this.#entries.set(key, new Values([entry, value]));
  }

  /** False if the key did not have the value. */
  delete(key: K, value: V): boolean {
    const entry = this.#entries.get(key);
    if (!(entry instanceof Values)) return entry === value && this.#entries.delete(key);
    const deleted = entry.delete(value);
    if (entry.size === 0) this.#entries.delete(key);
    return deleted;
  }

  deleteAll(key: K): void {
    this.#entries.delete(key);
  }
}
