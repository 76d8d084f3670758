import type { Clock } from '../internal/clock.js';
import type { SharedClient } from '../redis/client-handle.js';
import { keysOfMasters } from '../redis/cluster-slots.js';
import type { Reply } from '../redis/driver.js';
import { INFO_SECTIONS, parseServerInfo } from '../redis/server-info.js';
import { type HistoryServer, historyServerOf, isSameServer, wasPromoted } from './server-identity.js';

interface Master {
  readonly server: HistoryServer;
  /** By the clock's `now`. */
  readonly startedAt: number;
}

/**
 * Distinguishes a moved slot, which loses nothing, from a failover: after a move, old and new owner are the same
 * masters as before.
 */
export class ClusterMasters {
  readonly #client: SharedClient;
  readonly #clock: Clock;
  /** By the clock's `now`. */
  readonly #firstSeen = new Map<HistoryServer, number>();
  #remembered: Promise<unknown> | undefined;

  constructor(client: SharedClient, clock: Clock) {
    this.#client = client;
    this.#clock = clock;
  }

  /** Reads all masters once, to compare later. Never rejects. */
  remember(): Promise<unknown> {
    this.#remembered ??= this.#readAll().catch(() => {
      this.#remembered = undefined;
    });
    return this.#remembered;
  }

  /** The slot moved, and neither master has failed over since `since`. */
  async isSlotMove(before: HistoryServer, now: HistoryServer, since: number): Promise<boolean> {
    const masters = await this.#readAll().catch(() => []);
    const find = (server: HistoryServer) => masters.find((master) => isSameServer(server, master.server));
    const owner = find(now);
    if (owner === undefined || find(before) === undefined) return false;
    if ([...this.#firstSeen].some(([server, at]) => at <= since && isSameServer(server, now))) return true;
    // A node added since then, and a master from its start.
    return owner.startedAt <= since && !wasPromoted(now);
  }

  async #readAll(): Promise<Master[]> {
    const [slots] = await this.#client.execute([['CLUSTER', 'SLOTS']]);
    const masters = Array.isArray(slots) ? keysOfMasters(slots as readonly Reply[]) : [];
    const replies = await Promise.all(
      masters.map(({ key }) =>
        this.#client.execute(
          INFO_SECTIONS.map((section) => ['INFO', section] as const),
          { key },
        ),
      ),
    );
    const at = this.#clock.now();
    return replies.map((sections) => {
      const info = parseServerInfo(sections);
      const server = historyServerOf(info);
      if (!this.#firstSeen.has(server)) this.#firstSeen.set(server, at);
      return { server, startedAt: at - info.uptime * 1_000 };
    });
  }
}
