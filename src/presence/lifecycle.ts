import { ConfigurationError } from '../internal/errors.js';
import type { PresenceComponents } from './components.js';
import type { PresenceSettings } from './settings.js';

/** Minimum in ms for users whose sockets are handed over to another process. */
const HANDOFF_GRACE = 10_000;

/** Starts and closes a presence service. */
export class Lifecycle {
  readonly #settings: PresenceSettings;
  readonly #parts: PresenceComponents;
  #closing: Promise<void> | undefined;
  #unlisten = (): void => {};

  constructor(settings: PresenceSettings, parts: PresenceComponents) {
    this.#settings = settings;
    this.#parts = parts;
    parts.startup.onStarted((layouts) => this.#onStarted(layouts));
  }

  assertOpen(): void {
    if (this.#closing !== undefined) throw this.#parts.client.closedError();
  }

  /** Connects, checks the layout, and starts the timers. Calls share one attempt unless it failed. */
  start(): Promise<void> {
    return this.#parts.startup.run();
  }

  /** Idempotent: repeated calls return the same promise. */
  close(handoff: boolean): Promise<void> {
    this.#closing ??= this.#close(handoff);
    return this.#closing;
  }

  #onStarted(layouts: readonly string[]): void {
    if (this.#closing !== undefined) return;
    const { client, leaseRenewer, local, reaper, watches, rooms, removals, changeVerifiers } = this.#parts;
    this.#unlisten = client.listen({
      connection: (state) => {
        if (state === 'ready') removals.onReconnected();
      },
      nodeReturned: () => {
        watches.onNodeReturned();
        for (const verifier of changeVerifiers) verifier.onNodeReturned();
        rooms.rereadAll();
      },
    });
    void this.#checkEviction();
    leaseRenewer.start();
    local.start();
    reaper.start(
      layouts,
      () => this.#onWipe(),
      () => removals.onReconnected(),
    );
  }

  /**
   * Nodes notice a wipe by their leases and restore their entries. After a lease, users who are still missing
   * are gone without an event, so all watches are read again.
   */
  #onWipe(): void {
    const { client, layout, reporter, watches, rooms, removals } = this.#parts;
    removals.onLost();
    layout.check().catch((error) => reporter.report(error, { stage: 'configuration' }));
    const reread = () => {
      watches.onWipe();
      rooms.rereadAll();
    };
    client.clock.after(this.#settings.lease, reread, { keepAlive: false });
  }

  /** Eviction removes presence keys first, because they have TTLs; their users vanish from reads. */
  async #checkEviction(): Promise<void> {
    const { client, reporter } = this.#parts;
    let policy: unknown;
    try {
      const [reply] = await client.execute('connect', [['CONFIG', 'GET', 'maxmemory-policy']]);
      policy = Array.isArray(reply)
        ? reply[1]
        : (reply as { 'maxmemory-policy'?: unknown } | null)?.['maxmemory-policy'];
    } catch {
      // CONFIG is refused or missing: the policy is unknown.
      return;
    }
    if (typeof policy !== 'string' || policy === 'noeviction') return;
    const message = `maxmemory-policy is ${policy}: under memory pressure Redis will drop presence keys; use noeviction`;
    reporter.report(new ConfigurationError(message), { stage: 'configuration' });
  }

  async #close(handoff: boolean): Promise<void> {
    const { client, startup, leaseRenewer, restorer, local, writer, reaper, disposables, reporter } =
      this.#parts;
    const grace = handoff ? Math.max(this.#settings.grace, HANDOFF_GRACE) : 0;
    const removeAll = async () => {
      await local.removeAll(grace, handoff ? HANDOFF_GRACE : undefined);
      await leaseRenewer.release();
    };
    // Without a connection the lease expires, and other nodes remove the entries.
    if ((startup.begun || local.size > 0) && client.ready) {
      await client
        .withDeadline('close', removeAll)
        .catch((error) => reporter.report(error, { stage: 'close' }));
    }
    this.#unlisten();
    leaseRenewer.stop();
    restorer.stop();
    local.stop();
    const unsubscribed = Promise.allSettled([...disposables].map((unsubscribe) => unsubscribe()));
    if (client.ready) await client.withDeadline('close', () => unsubscribed).catch(() => {});
    writer.close(client.closedError());
    const stopped = reaper.stop();
    await client.close();
    await stopped;
  }
}
