import type { ErrorReporter } from '../internal/diagnostics.js';
import { CommandError } from '../internal/errors.js';
import type { ClientHandle } from '../redis/client-handle.js';
import { toRollcallError } from '../redis/replies.js';
import { joinIds, splitIds } from './keys.js';
import type { NodeLease } from './node-lease.js';
import type { PresenceWriter } from './presence-writer.js';
import { encodeRegistration } from './record.js';
import type { RedisClock } from './redis-clock.js';
import type { Removal } from './writes.js';

/** Options of {@link RemovalLog}. Durations in ms. */
export interface RemovalLogOptions {
  readonly client: ClientHandle;
  readonly writer: PresenceWriter;
  readonly nodeLease: NodeLease;
  readonly redisClock: RedisClock;
  readonly reporter: ErrorReporter;
  readonly keyTtl: number;
  readonly lastSeenTtl: number;
}

/** The oldest removals are forgotten. */
const MAX_REMOVALS = 10_000;
/** In ms: a failover loses no more than the last writes. */
const RECENT = 60_000;
/** In ms, after a failed write. */
const RETRY_INTERVAL = 1_000;

interface LoggedRemoval {
  readonly partition: number;
  readonly removal: Removal;
  /** By the monotonic clock. */
  readonly at: number;
}

/**
 * Removals by this process, of sockets of any process. A loss of data also loses what their owners have not read yet, so
 * this process then writes them again. Registrations after a removal stay.
 */
export class RemovalLog {
  readonly #options: RemovalLogOptions;
  readonly #removals = new Map<string, LoggedRemoval>();
  #rewriting = false;
  /** Removals from then on must be written again; `undefined`: none. */
  #since: number | undefined;

  constructor(options: RemovalLogOptions) {
    this.#options = options;
    options.nodeLease.listen({ onEntriesLost: () => this.onLost() });
  }

  /** Resolves with the user's record. */
  async apply(partition: number, removal: Removal): Promise<string | null> {
    const { writer, redisClock, client, keyTtl, lastSeenTtl } = this.#options;
    // Registrations by this process from now on are no earlier. Before the first reply that is the time of this host.
    const called = redisClock.now(partition);
    const record = await writer.apply(partition, removal);
    const before = encodeRegistration(Math.min(called, redisClock.now(partition)));
    const at = client.clock.monotonic();
    const key = joinIds(removal.user, removal.socket ?? '');
    // Becomes the last in order.
    this.#removals.delete(key);
    this.#removals.set(key, { partition, removal: { ...removal, before }, at });
    for (const [oldest, logged] of this.#removals) {
      if (this.#removals.size <= MAX_REMOVALS && at - logged.at < Math.max(keyTtl, lastSeenTtl)) break;
      this.#removals.delete(oldest);
    }
    return record;
  }

  /** Its removals of a user's sockets are not written again. `user` is escaped. */
  forget(user: string): void {
    for (const key of this.#removals.keys()) if (splitIds(key)[0] === user) this.#removals.delete(key);
  }

  /** Redis was wiped or replaced. */
  onLost(): void {
    this.#rewrite(0);
  }

  /** Another server may have taken over, without the last writes. */
  onReconnected(): void {
    this.#rewrite(this.#options.client.clock.monotonic() - RECENT);
  }

  #rewrite(since: number): void {
    if (this.#removals.size === 0) return;
    this.#since = Math.min(this.#since ?? since, since);
    if (this.#rewriting) return;
    this.#rewriting = true;
    const { client, reporter } = this.#options;
    this.#rewriteAll()
      .catch((error: unknown) => {
        if (client.closed) return;
        reporter.report(toRollcallError(error), { stage: 'repair' });
        client.clock.after(RETRY_INTERVAL, () => this.#rewrite(since), { keepAlive: false });
      })
      .finally(() => {
        this.#rewriting = false;
      });
  }

  async #rewriteAll(): Promise<void> {
    while (this.#since !== undefined) {
      const since = this.#since;
      this.#since = undefined;
      const logged = [...this.#removals.values()].filter(({ at }) => at >= since);
      const results = await Promise.allSettled(
        logged.map(({ partition, removal }) => this.#options.writer.apply(partition, removal)),
      );
      for (const result of results) {
        // A refused removal must not block the others.
        if (result.status === 'rejected' && !(result.reason instanceof CommandError)) throw result.reason;
      }
    }
  }
}
