// Proves that no message is lost or doubled. Each message carries `{ tab, n, unsent }`: a random id of the tab, its
// number in the room, and which earlier numbers the room has not confirmed yet.

export class Counter {
  sent = 0;
  received = 0;
  #id = Math.random().toString(36).slice(2);
  #n = 0;
  #unsent = new Set();
  #tabs = new Map();

  /** The fields of the next message of this tab. */
  next() {
    const fields = { tab: this.#id, n: ++this.#n, unsent: [...this.#unsent] };
    this.sent++;
    this.#unsent.add(fields.n);
    return fields;
  }

  /** The room has confirmed the message. */
  confirm({ n }) {
    this.#unsent.delete(n);
  }

  /** Counts a message that the room has delivered. Clients can send any data. */
  receive({ tab, n, unsent }) {
    this.received++;
    if (typeof tab !== 'string' || !Number.isSafeInteger(n) || !Array.isArray(unsent)) return;
    // Earlier messages of the tab may be older than the room's first page.
    const from = this.#tabs.get(tab) ?? { last: n - 1, missing: new Set(), seen: new Set(), doubled: 0 };
    this.#tabs.set(tab, from);
    if (from.seen.has(n)) from.doubled++;
    from.seen.add(n);
    // Tabs number their messages one by one; a huge step is made up.
    if (n > from.last && n - from.last < 10_000) {
      for (let each = from.last + 1; each < n; each++) from.missing.add(each);
      from.last = n;
      from.waiting = new Set(unsent);
    }
    from.missing.delete(n);
  }

  /** Numbers between two received ones that were confirmed to their tab, but not delivered here. */
  get lost() {
    let lost = 0;
    for (const { missing, waiting } of this.#tabs.values()) {
      for (const n of missing) if (!waiting.has(n)) lost++;
    }
    return lost;
  }

  get doubled() {
    return [...this.#tabs.values()].reduce((sum, { doubled }) => sum + doubled, 0);
  }
}
