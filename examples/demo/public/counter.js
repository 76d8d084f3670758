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
  /** By tab: the numbers received, the highest of them, and what was unsent by then. */
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
    if (tab === this.#tab) this.confirm({ n });
    const from = this.#tabs.get(tab) ?? { seen: new Set(), first: n, last: n - 1 };
    if (from.seen.has(n)) this.doubled++;
    from.seen.add(n);
    // Messages before the first one may be older than the room's first page.
    from.first = Math.min(from.first, n);
    this.#tabs.set(tab, n > from.last ? { ...from, last: n, unsent } : from);
  }

  /** Numbers between two received ones that the room has confirmed to their tab, but not delivered here. */
  get lost() {
    return [...this.#tabs.values()].reduce((sum, { seen, first, last, unsent }) => {
      const waiting = unsent.filter((n) => n > first && n < last && !seen.has(n));
      return sum + (last - first + 1) - seen.size - waiting.length;
    }, 0);
  }
}
