import { type Clock, jitter, type Timer, withTimeout } from '../internal/clock.js';
import { jsonCodec } from '../internal/codec.js';
import { ErrorReporter } from '../internal/diagnostics.js';
import { CommandError, ConnectionError, type RollcallError, TimeoutError } from '../internal/errors.js';
import type { SharedClient } from '../redis/client-handle.js';
import { toRollcallError } from '../redis/replies.js';
import { HandlerSubscription } from './handler-subscription.js';
import { ServiceContext } from './service-context.js';

/** One connection serves channels and patterns; sharded channels have one or more. */
export type ConnectionKind = 'channel' | 'sharded';

export interface ProbeTarget {
  hasSubscriptions(connection: ConnectionKind): boolean;
  /** By the monotonic clock. */
  lastActivity(connection: ConnectionKind): number;
  join(kind: ConnectionKind, name: string, handler: HandlerSubscription): Promise<void>;
  leave(kind: ConnectionKind, name: string, handler: HandlerSubscription): Promise<void>;
  /** Closes the connection that carries `name`. */
  reset(connection: ConnectionKind, cause: Error, name: string): void;
  report(error: RollcallError): void;
}

/** A random part follows. */
const PROBE_PREFIX = 'rollcall:probe:';
/** In ms. */
const PROBE_TIMEOUT = 5_000;

/**
 * After silence, publishes a message to itself, and closes a connection that does not deliver it. Not PING,
 * which a connection to a former master still answers.
 */
export class Prober {
  readonly #client: SharedClient;
  readonly #clock: Clock;
  readonly #target: ProbeTarget;
  readonly #single: Readonly<Record<ConnectionKind, Probe>>;
  /** By channel, where sharded channels have several connections. */
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

  subscriptionCount(connection: ConnectionKind): number {
    let count = Number(this.#single[connection].joined);
    if (connection === 'sharded') for (const probe of this.#shards.values()) count += Number(probe.joined);
    return count;
  }

  /** In ms of silence; a shorter interval set before stays. 0 changes nothing. */
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

  /** Commands can be sent again: repeats probes that could not be published. */
  handleReconnect(): void {
    for (const probe of [...Object.values(this.#single), ...this.#shards.values()]) {
      if (probe.unpublished) void this.#send(probe);
    }
  }

  async #probeSilent(): Promise<void> {
    const probes = [...this.#probesFor('channel'), ...this.#probesFor('sharded')];
    await Promise.all(probes.map((probe) => this.#send(probe)));
    if (!this.#client.closed) this.#schedule();
  }

  #probesFor(connection: ConnectionKind): Probe[] {
    if (!this.#client.ready) return [];
    if (!this.#target.hasSubscriptions(connection)) {
      // Without the probe, the connection can be closed.
      this.#leave(this.#single[connection]);
      return [];
    }
    const names = connection === 'sharded' ? this.#client.driver.probeChannels?.(this.#name) : undefined;
    // Activity on one of several connections proves nothing about the others.
    if (names !== undefined) return this.#shardProbes(new Set(names));
    const silence = this.#clock.monotonic() - this.#target.lastActivity(connection);
    return silence >= this.#interval * 0.9 ? [this.#single[connection]] : [];
  }

  /** Ends probes of other names, whose connections are closed. */
  #shardProbes(names: ReadonlySet<string>): Probe[] {
    for (const [name, probe] of this.#shards) {
      if (names.has(name)) continue;
      this.#shards.delete(name);
      this.#leave(probe);
    }
    return [...names].map((name) => {
      const probe = this.#shards.get(name) ?? new Probe('sharded', name, true);
      this.#shards.set(name, probe);
      return probe;
    });
  }

  #leave(probe: Probe): void {
    if (!probe.joined || probe.busy) return;
    // Counted as joined, and not sent, until it has left.
    probe.busy = true;
    const left = () => {
      probe.busy = false;
      probe.joined = false;
    };
    this.#target.leave(probe.connection, probe.name, probe.handler).then(left, left);
  }

  async #send(probe: Probe): Promise<void> {
    if (probe.busy) return;
    probe.busy = true;
    await this.#roundTrip(probe);
    probe.busy = false;
  }

  async #roundTrip(probe: Probe): Promise<void> {
    const { connection, name, resubscribes } = probe;
    const command = connection === 'sharded' ? 'SPUBLISH' : 'PUBLISH';
    const activityBefore = this.#target.lastActivity(connection);
    let publishing = false;
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
      publishing = true;
      const [reply] = await this.#client.execute([[command, name, '""']], { background: true });
      published = true;
      if (reply instanceof Error) throw new CommandError(`probe: ${reply.message}`, { cause: reply });
      await arrived;
    };
    try {
      const onTimeout = () => new TimeoutError('no answer');
      await withTimeout(this.#clock, PROBE_TIMEOUT, roundTrip(), onTimeout, { keepAlive: false });
      probe.unpublished = false;
    } catch (cause) {
      const error = toRollcallError(cause);
      if (this.#client.closed) return;
      if (error instanceof TimeoutError) {
        // Another message arrived. If Redis does not deliver probes, a new connection is no better; of
        // several connections this one may still be dead.
        if (!probe.oneOfSeveral && this.#target.lastActivity(connection) > activityBefore) return;
        // The connection was replaced meanwhile.
        if (probe.resubscribes > resubscribes) return;
        // Only the connection for commands may be dead, which its driver finds out.
        const isFirst = publishing && !published && !probe.unpublished;
        probe.unpublished = isFirst;
        if (isFirst) return;
        const failure = published ? 'was published and did not arrive' : 'could not be published';
        const timeout = new TimeoutError(`a probe ${failure} within ${PROBE_TIMEOUT} ms`);
        this.#target.reset(connection, timeout, name);
      } else if (error instanceof ConnectionError) probe.unpublished = true;
      else this.#target.report(error);
    }
  }
}

class Probe {
  joined = false;
  /** Being sent. */
  busy = false;
  /** The last attempt proved nothing, because no command could be sent. */
  unpublished = false;
  /** Subscriptions restored after a gap. */
  resubscribes = 0;
  readonly handler: HandlerSubscription;
  #onMessage: (() => void) | undefined;

  constructor(
    readonly connection: ConnectionKind,
    readonly name: string,
    /** Other connections of this kind exist. */
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
