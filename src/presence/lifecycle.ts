import { jsonCodec } from '../internal/codec.js';
import { ConfigurationError } from '../internal/errors.js';
import { HandlerSubscription } from '../pubsub/handler-subscription.js';
import { toRollcallError } from '../redis/replies.js';
import type { PresenceComponents } from './components.js';
import type { PartitionKeys } from './keys.js';
import type { PresenceSettings } from './settings.js';

/** For how long, in ms, a user handed over to another process is waited for at least. */
const HANDOFF_GRACE = 10_000;

/** How a presence service begins and ends. */
export class Lifecycle {
  readonly #settings: PresenceSettings;
  readonly #parts: PresenceComponents;
  #started: Promise<void> | undefined;
  #inbox: Promise<void> | undefined;
  #listening = false;
  #closing: Promise<void> | undefined;
  #unlisten = (): void => {};

  constructor(settings: PresenceSettings, parts: PresenceComponents) {
    this.#settings = settings;
    this.#parts = parts;
  }

  /** Throws once the service is closed or closing. */
  assertOpen(): void {
    if (this.#closing !== undefined) throw this.#parts.client.closedError();
  }

  /** Connects, checks what is stored, and starts the timers; once, but again after a failure. */
  start(): Promise<void> {
    this.#started ??= this.#start().catch((error: unknown) => {
      this.#started = undefined;
      throw error;
    });
    return this.#started;
  }

  /**
   * Listens to what other processes tell this one about its sockets. Returns a promise while the
   * subscription is not confirmed yet; it never rejects.
   */
  listenToInbox(): Promise<void> | undefined {
    if (this.#listening) return undefined;
    this.#inbox ??= this.#joinInbox();
    return this.#inbox;
  }

  async #joinInbox(): Promise<void> {
    const { client, subscriptions, keys, nodeLease, local, disposables, context, reporter } = this.#parts;
    const channel = (keys[0] as PartitionKeys).inbox(nodeLease.instanceId);
    const check = (pairs: readonly string[]): Promise<void> => local.checkRemoved(pairs);
    const member = new HandlerSubscription(
      context,
      (pairs) => check(pairs as readonly string[]),
      // What was said meanwhile was not heard. (Its failures are reported as a handler's.)
      { codec: jsonCodec, onDiscontinuity: () => check(local.keys()) },
    );
    const leave = () => subscriptions.unsubscribe('channel', channel, member);
    disposables.add(leave);
    try {
      await client.withDeadline('subscribe', () => subscriptions.subscribe('channel', channel, member));
      this.#listening = true;
    } catch (error) {
      if (this.#closing === undefined)
        reporter.report(toRollcallError(error), { stage: 'subscribe', channel });
      disposables.delete(leave);
      leave().catch(() => {});
      this.#inbox = undefined;
    }
  }

  /**
   * Redis was wiped. Owners notice by their leases and restore what is theirs; once they had the time,
   * whoever is still missing has gone, and no event told so.
   */
  onWipe(): void {
    const { client, layout, reporter, watches, rooms } = this.#parts;
    layout.check().catch((error) => reporter.report(error, { stage: 'configuration' }));
    client.clock.after(
      this.#settings.lease,
      () => {
        watches.onWipe();
        rooms.rereadAll();
      },
      { keepAlive: false },
    );
  }

  /** Removes what this process owns and undoes everything else; once. */
  close(handoff: boolean): Promise<void> {
    this.#closing ??= this.#close(handoff);
    return this.#closing;
  }

  async #start(): Promise<void> {
    const { client, layout, nodeLease, local, reaper, watches, rooms } = this.#parts;
    await client.connect();
    const layouts = await layout.check();
    if (this.#closing !== undefined) return;
    this.#unlisten = client.listen({
      nodeReturned: () => {
        watches.onNodeReturned();
        rooms.rereadAll();
      },
    });
    void this.#checkEviction();
    nodeLease.start();
    local.start();
    reaper.start(layouts);
  }

  /** A Redis that evicts takes presence keys first, for they have TTLs; their users just vanish. */
  async #checkEviction(): Promise<void> {
    const { client, reporter } = this.#parts;
    let policy: unknown;
    try {
      const [reply] = await client.execute('connect', [['CONFIG', 'GET', 'maxmemory-policy']]);
      policy = Array.isArray(reply)
        ? reply[1]
        : (reply as { 'maxmemory-policy'?: unknown } | null)?.['maxmemory-policy'];
    } catch {
      // Not allowed, or not there: nothing is known, so there is nothing to say.
      return;
    }
    if (typeof policy !== 'string' || policy === 'noeviction') return;
    const message = `maxmemory-policy is ${policy}: under memory pressure Redis will drop presence keys; use noeviction`;
    reporter.report(new ConfigurationError(message), { stage: 'configuration' });
  }

  async #close(handoff: boolean): Promise<void> {
    const { client, nodeLease, local, writer, reaper, disposables, reporter } = this.#parts;
    const grace = handoff ? Math.max(this.#settings.grace, HANDOFF_GRACE) : 0;
    const giveBack = async () => {
      await local.removeAll(grace);
      await nodeLease.release();
    };
    // With Redis away there is nobody to give anything back to; the lease runs out.
    if ((this.#started !== undefined || local.size > 0) && client.ready) {
      await client
        .withDeadline('close', giveBack)
        .catch((error) => reporter.report(error, { stage: 'close' }));
    }
    this.#unlisten();
    nodeLease.stop();
    local.stop();
    const undone = Promise.allSettled([...disposables].map((leave) => leave()));
    if (client.ready) await client.withDeadline('close', () => undone).catch(() => {});
    writer.close(client.closedError());
    const stopped = reaper.stop();
    await client.close();
    await stopped;
  }
}
