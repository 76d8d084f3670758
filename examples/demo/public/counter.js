/**
 * Proves that a room neither loses nor doubles messages. Each message carries `{ tab, n, unsent }`: a random id of the
 * tab, its number in the room, and which earlier numbers the room has not confirmed yet.
 */
export class Counter {
  sent = 0;
  received = 0;
  doubled = 0;
  #tab = Math.random().toString(36).slice(2);
  #unsent = new Set();
  #tabs = new Map();

  /** The fields of the next message of this tab. */
  next() {
    const fields = { tab: this.#tab, n: ++this.sent, unsent: [...this.#unsent] };
    this.#unsent.add(fields.n);
    return fields;
  }

  /** The room has stored the message. */
  confirm({ n }) {
    this.#unsent.delete(n);
  }

  /** Counts a message that the room has delivered. Clients can send any data. */
  receive({ tab, n, unsent }) {
    this.received++;
    if (typeof tab !== 'string' || !Number.isSafeInteger(n) || !Array.isArray(unsent)) return;
    if (tab === this.#tab) this.#unsent.delete(n);
    // Earlier messages of the tab may be older than the room's first page.
    const from = this.#tabs.get(tab) ?? { last: n - 1, seen: new Set(), missing: new Set() };
    this.#tabs.set(tab, from);
    if (from.seen.has(n)) this.doubled++;
    from.seen.add(n);
    // Tabs number their messages one by one; a huge step is made up.
    if (n > from.last && n - from.last < 10_000) {
      for (let each = from.last + 1; each < n; each++) from.missing.add(each);
      from.last = n;
      from.waiting = new Set(unsent);
    }
    from.missing.delete(n);
  }

  /** Numbers between two received ones that the room has confirmed to their tab, but not delivered here. */
  get lost() {
    return [...this.#tabs.values()].flatMap(({ missing, waiting }) =>
      [...missing].filter((n) => !waiting.has(n)),
    ).length;
  }
}
