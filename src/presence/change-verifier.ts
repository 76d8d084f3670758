import type { ErrorReporter } from '../internal/diagnostics.js';
import type { ClientHandle } from '../redis/client-handle.js';
import { toRollcallError } from '../redis/replies.js';
import type { LookupResult, PresenceReader } from './presence-reader.js';
import type { PresenceChange } from './types.js';

/** Options of {@link ChangeVerifier}. Durations in ms. */
export interface ChangeVerifierOptions {
  readonly client: Pick<ClientHandle, 'clock' | 'closed' | 'capabilities'>;
  readonly reader: Pick<PresenceReader, 'lookup'>;
  readonly reporter: ErrorReporter;
  readonly lease: number;
}

/** In ms: for how long a lost Cluster node is expected to return. */
const MAX_ABSENCE = 600_000;

/**
 * Changes of a subscription. A Cluster node that was replaced while frozen runs what waited in its socket when it wakes,
 * and its replicas still deliver what it publishes. So after a gap, until a lease after a node has returned, changes are
 * announced only if the record is not older.
 */
export class ChangeVerifier {
  readonly #options: ChangeVerifierOptions;
  readonly #announce: (change: PresenceChange, channel: string) => void;
  /** In order. */
  #queue: { change: PresenceChange; channel: string }[] = [];
  #verifying = false;
  /** By the monotonic clock. */
  #doubtfulUntil = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(options: ChangeVerifierOptions, announce: (change: PresenceChange, channel: string) => void) {
    this.#options = options;
    this.#announce = announce;
  }

  onChange(change: PresenceChange, channel: string): void {
    if (!this.#verifying && this.#options.client.clock.monotonic() >= this.#doubtfulUntil) {
      this.#announce(change, channel);
      return;
    }
    this.#queue.push({ change, channel });
    if (!this.#verifying) void this.#verify();
  }

  /** Changes may be missed, perhaps because another server has taken over. */
  onGap(): void {
    const { client, lease } = this.#options;
    const duration = client.capabilities.cluster ? Math.max(MAX_ABSENCE, lease) : lease;
    this.#doubtfulUntil = client.clock.monotonic() + duration;
  }

  /** The node runs all delayed commands at once. */
  onNodeReturned(): void {
    const { client, lease } = this.#options;
    this.#doubtfulUntil = client.clock.monotonic() + lease;
  }

  /** Nothing is announced from now on. */
  close(): void {
    this.#closed = true;
    this.#queue = [];
  }

  async #verify(): Promise<void> {
    const { client, reader, reporter } = this.#options;
    this.#verifying = true;
    while (this.#queue.length > 0) {
      const queue = this.#queue;
      this.#queue = [];
      let found: LookupResult | undefined;
      try {
        found = await reader.lookup(new Set(queue.map(({ change }) => change.userId)));
      } catch (error) {
        if (client.closed || this.#closed) break;
        // A missing change would be worse than an outdated one.
        reporter.report(toRollcallError(error), { stage: 'watch' });
      }
      for (const { change, channel } of queue) {
        // The handler may unsubscribe.
        if (this.#closed || client.closed) break;
        // A record that is missing or cannot be read proves nothing.
        const known = found?.records.get(change.userId)?.version ?? change.version;
        if (known >= change.version) this.#announce(change, channel);
      }
    }
    this.#verifying = false;
  }
}
