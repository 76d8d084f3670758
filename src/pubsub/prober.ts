import { type Clock, jitter, type Timer, withTimeout } from '../internal/clock.js';
import { jsonCodec } from '../internal/codec.js';
import { ErrorReporter } from '../internal/diagnostics.js';
import { CommandError, ConnectionError, type RollcallError, TimeoutError } from '../internal/errors.js';
import { toRollcallError } from '../redis/replies.js';
import type { SharedClient } from '../redis/shared-client.js';
import { HandlerSubscription } from './handler-subscription.js';
import { ServiceContext } from './service-context.js';

/** The subscriber connections of a client: one for channels and patterns, one or more for sharded channels. */
export type ConnectionKind = 'channel' | 'sharded';

const resolved = Promise.resolve();

/**
 * When a subscriber connection last received something. One read of the socket brings many messages,
 * and reading the clock for each would cost as much as finding its handlers. So the clock is read once
 * per turn of the event loop, at the first message: the time is too early rather than too late.
 */
export class ActivityTracker {
  /** Wall clock, for people. */
  wallTime = 0;
  /** Monotonic clock, for comparisons. */
  monotonic = 0;
  readonly #clock: Clock;
  #recorded = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  record(): void {
    if (this.#recorded) return;
    this.#recorded = true;
    this.wallTime = this.#clock.now();
    this.monotonic = this.#clock.monotonic();
    void resolved.then(this.#reset);
  }

  readonly #reset = (): void => {
    this.#recorded = false;
  };
}

/** The subscriptions that a {@link Prober} watches over. */
export interface ProbeTarget {
  hasSubscriptions(connection: ConnectionKind): boolean;
  /** When the connection last received something, by the monotonic clock. */
  lastActivity(connection: ConnectionKind): number;
  join(kind: ConnectionKind, name: string, handler: HandlerSubscription): Promise<void>;
  leave(kind: ConnectionKind, name: string, handler: HandlerSubscription): Promise<void>;
  /** Closes the connection that carries `name`. */
  reset(connection: ConnectionKind, cause: Error, name: string): void;
  report(error: RollcallError): void;
}

/** Prefix of all probe channels; the rest is random. */
const PROBE_PREFIX = 'rollcall:probe:';
/** Milliseconds within which a probe must arrive. */
const PROBE_TIMEOUT = 5_000;

/**
 * Detects dead subscriber connections: after a period of silence it publishes a message to itself, and
 * closes a connection that does not deliver it. It publishes like any other message, because a connection
 * to a server that is no longer the master still answers PING.
 */
export class Prober {
  readonly #client: SharedClient;
  readonly #clock: Clock;
  readonly #target: ProbeTarget;
  readonly #single: Readonly<Record<ConnectionKind, Probe>>;
  /** Probes by channel, where sharded channels have connections to several nodes. */
  readonly #shards = new Map<string, Probe>();
  readonly #name: string;
  #interval = 0;
  #timer: Timer | undefined;

  constructor(client: SharedClient, clock: Clock, target: ProbeTarget) {
    this.#client = client;
    this.#clock = clock;
    this.#target = target;
    const random = () => clock.random().toString(36).slice(2, 12);
    this.#name = PROBE_PREFIX + random() + random();
    this.#single = {
      channel: new Probe('channel', this.#name),
      sharded: new Probe('sharded', this.#name),
    };
  }

  /** Number of its own subscriptions. */
  subscriptionCount(connection: ConnectionKind): number {
    let count = Number(this.#single[connection].joined);
    if (connection === 'sharded') for (const probe of this.#shards.values()) count += Number(probe.joined);
    return count;
  }

  /** Probes after `interval` ms of silence; a shorter interval set before stays. 0 changes nothing. */
  setInterval(interval: number): void {
    if (interval === 0 || !this.#client.capabilities.reconnects) return;
    if (this.#interval !== 0 && this.#interval <= interval) return;
    this.#interval = interval;
    this.#schedule();
  }

  #schedule(): void {
    // `setInterval` may have been called while a probe was in flight.
    this.#timer?.cancel();
    this.#timer = this.#clock.after(jitter(this.#clock, this.#interval), () => void this.#probeSilent(), {
      keepAlive: false,
    });
  }

  async #probeSilent(): Promise<void> {
    const probes = [...this.#probesFor('channel'), ...this.#probesFor('sharded')];
    await Promise.all(probes.map((probe) => this.#send(probe)));
    if (!this.#client.closed) this.#schedule();
  }

  #probesFor(connection: ConnectionKind): Probe[] {
    if (!this.#client.ready || !this.#target.hasSubscriptions(connection)) return [];
    const names = connection === 'sharded' ? this.#client.driver.probeChannels?.(this.#name) : undefined;
    // Activity on one of several connections proves nothing about the others.
    if (names !== undefined) return this.#shardProbes(new Set(names));
    const silence = this.#clock.monotonic() - this.#target.lastActivity(connection);
    return silence >= this.#interval * 0.9 ? [this.#single[connection]] : [];
  }

  /** Returns a probe for each name. Probes of other names are ended, because their connections are closed. */
  #shardProbes(names: ReadonlySet<string>): Probe[] {
    for (const [name, probe] of this.#shards) {
      if (names.has(name)) continue;
      this.#shards.delete(name);
      if (probe.joined) this.#target.leave('sharded', name, probe.handler).catch(() => {});
    }
    return [...names].map((name) => {
      const probe = this.#shards.get(name) ?? new Probe('sharded', name, true);
      this.#shards.set(name, probe);
      return probe;
    });
  }

  async #send(probe: Probe): Promise<void> {
    const { connection, name, resubscribes } = probe;
    const command = connection === 'sharded' ? 'SPUBLISH' : 'PUBLISH';
    const activityBefore = this.#target.lastActivity(connection);
    let published = false;
    const roundTrip = async () => {
      if (!probe.joined) {
        probe.joined = true;
        await this.#target.join(connection, name, probe.handler).catch((error: unknown) => {
          probe.joined = false;
          throw error;
        });
      }
      const arrived = probe.nextMessage();
      const [reply] = await this.#client.execute([[command, name, '""']]);
      published = true;
      if (reply instanceof Error) throw new CommandError(`probe: ${reply.message}`, { cause: reply });
      await arrived;
    };
    try {
      const onTimeout = () => new TimeoutError('no answer');
      await withTimeout(this.#clock, PROBE_TIMEOUT, roundTrip(), onTimeout, { keepAlive: false });
    } catch (cause) {
      const error = toRollcallError(cause);
      if (this.#client.closed) return;
      if (error instanceof TimeoutError) {
        // Another message arrived. If Redis answers nobody, a new connection is no better, but then this
        // one may be dead as well.
        if (!probe.oneOfSeveral && this.#target.lastActivity(connection) > activityBefore) return;
        // The connection was replaced in the meantime.
        if (probe.resubscribes > resubscribes) return;
        const failure = published ? 'was published and did not arrive' : 'could not be published';
        const timeout = new TimeoutError(`a probe ${failure} within ${PROBE_TIMEOUT} ms`);
        this.#target.reset(connection, timeout, name);
      } else if (!(error instanceof ConnectionError)) this.#target.report(error);
    }
  }
}

/** A channel that probes are published to. */
class Probe {
  joined = false;
  /** How often its subscription was restored after a gap. */
  resubscribes = 0;
  readonly handler: HandlerSubscription;
  #onMessage: (() => void) | undefined;

  constructor(
    readonly connection: ConnectionKind,
    readonly name: string,
    /** There are other connections of this kind. */
    readonly oneOfSeveral = false,
  ) {
    const service = new ServiceContext(new ErrorReporter(null));
    this.handler = new HandlerSubscription(service, () => this.#onMessage?.(), {
      codec: jsonCodec,
      raw: true,
      onDiscontinuity: () => {
        this.resubscribes++;
      },
    });
  }

  nextMessage(): Promise<void> {
    return new Promise((resolve) => {
      this.#onMessage = resolve;
    });
  }
}
