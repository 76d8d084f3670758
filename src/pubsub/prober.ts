import { type Clock, jitter, type Timer, withTimeout } from '../internal/clock.js';
import { jsonCodec } from '../internal/codec.js';
import { ErrorReporter } from '../internal/diagnostics.js';
import { CommandError, ConnectionError, type RollcallError, TimeoutError } from '../internal/errors.js';
import { toRollcallError } from '../redis/replies.js';
import type { SharedClient } from '../redis/shared-client.js';
import { HandlerSubscription } from './handler-subscription.js';
import { ServiceContext } from './service-context.js';

/** One connection that carries subscriptions. */
export type ConnectionKind = 'channel' | 'sharded';

/** What is probed: the subscriptions of a client. */
export interface ProbeTarget {
  /** There is something to be heard. */
  hasSubscriptions(family: ConnectionKind): boolean;
  /** When something was heard last, on the monotonic clock. */
  lastActivity(family: ConnectionKind): number;
  join(kind: ConnectionKind, name: string, member: HandlerSubscription): Promise<void>;
  leave(kind: ConnectionKind, name: string, member: HandlerSubscription): Promise<void>;
  /** Gives up the connection that carries `name`. */
  reset(family: ConnectionKind, cause: Error, name: string): void;
  /** Nobody's failure in particular. */
  report(error: RollcallError): void;
}

/** What all probes begin with; followed by something no other process has. */
const PROBE_PREFIX = 'rollcall:probe:';
/** Within how many ms a probe has to come through. */
const PROBE_TIMEOUT = 5_000;

/**
 * Finds subscribed connections that are dead without anybody having noticed: after a stretch of
 * silence it publishes a message to itself, and a connection that does not bring it is given up.
 * Through the normal publish path, for a connection to a server that is no longer the master answers
 * pings as well.
 */
export class Prober {
  readonly #session: SharedClient;
  readonly #clock: Clock;
  readonly #probed: ProbeTarget;
  readonly #single: Readonly<Record<ConnectionKind, Probe>>;
  /** Where sharded channels have a connection to each of several nodes: one for each of these. */
  readonly #shards = new Map<string, Probe>();
  readonly #name: string;
  #interval = 0;
  #timer: Timer | undefined;

  constructor(session: SharedClient, clock: Clock, probed: ProbeTarget) {
    this.#session = session;
    this.#clock = clock;
    this.#probed = probed;
    const part = () => clock.random().toString(36).slice(2, 12);
    this.#name = PROBE_PREFIX + part() + part();
    this.#single = {
      channel: new Probe('channel', this.#name),
      sharded: new Probe('sharded', this.#name),
    };
  }

  /** How many subscriptions of its own it has. */
  subscriptionCount(family: ConnectionKind): number {
    let joined = Number(this.#single[family].joined);
    if (family === 'sharded') for (const probe of this.#shards.values()) joined += Number(probe.joined);
    return joined;
  }

  /** Probes after `interval` ms of silence, or sooner if somebody asked for that; 0 does not ask. */
  setInterval(interval: number): void {
    if (interval === 0 || !this.#session.capabilities.reconnects) return;
    if (this.#interval !== 0 && this.#interval <= interval) return;
    this.#interval = interval;
    this.#wait();
  }

  #wait(): void {
    // Somebody may have asked for a shorter interval while a probe was under way.
    this.#timer?.cancel();
    this.#timer = this.#clock.after(jitter(this.#clock, this.#interval), () => void this.#probeDue(), {
      keepAlive: false,
    });
  }

  async #probeDue(): Promise<void> {
    const due = [...this.#due('channel'), ...this.#due('sharded')];
    await Promise.all(due.map((probe) => this.#probe(probe)));
    if (!this.#session.closed) this.#wait();
  }

  #due(family: ConnectionKind): Probe[] {
    if (!this.#session.ready || !this.#probed.hasSubscriptions(family)) return [];
    const names = family === 'sharded' ? this.#session.driver.probeChannels?.(this.#name) : undefined;
    // What one connection brings says nothing of the others.
    if (names !== undefined) return this.#shardProbes(new Set(names));
    const silence = this.#clock.monotonic() - this.#probed.lastActivity(family);
    return silence >= this.#interval * 0.9 ? [this.#single[family]] : [];
  }

  /** The probes by these names; those by others are over, for their connections are. */
  #shardProbes(names: ReadonlySet<string>): Probe[] {
    for (const [name, probe] of this.#shards) {
      if (names.has(name)) continue;
      this.#shards.delete(name);
      if (probe.joined) this.#probed.leave('sharded', name, probe.member).catch(() => {});
    }
    return [...names].map((name) => {
      const probe = this.#shards.get(name) ?? new Probe('sharded', name, true);
      this.#shards.set(name, probe);
      return probe;
    });
  }

  async #probe(probe: Probe): Promise<void> {
    const { family, name } = probe;
    const command = family === 'sharded' ? 'SPUBLISH' : 'PUBLISH';
    const heard = this.#probed.lastActivity(family);
    const { resubscribes: renewals } = probe;
    let published = false;
    const through = async () => {
      if (!probe.joined) {
        probe.joined = true;
        await this.#probed.join(family, name, probe.member).catch((error: unknown) => {
          probe.joined = false;
          throw error;
        });
      }
      const arrived = probe.nextMessage();
      const [reply] = await this.#session.execute([[command, name, '""']]);
      published = true;
      if (reply instanceof Error) throw new CommandError(`probe: ${reply.message}`, { cause: reply });
      await arrived;
    };
    try {
      const late = () => new TimeoutError('no answer');
      await withTimeout(this.#clock, PROBE_TIMEOUT, through(), late, { keepAlive: false });
    } catch (cause) {
      const error = toRollcallError(cause);
      if (this.#session.closed) return;
      if (error instanceof TimeoutError) {
        // Something else came instead; or Redis answers nobody, and another connection would be no better
        // off, but a dead one must not outlive that either.
        if (!probe.oneOfSeveral && this.#probed.lastActivity(family) > heard) return;
        // It went through no connection, or the one before.
        if (probe.resubscribes > renewals) return;
        const where = published ? 'was published and did not arrive' : 'could not be published';
        const dead = new TimeoutError(`a probe ${where} within ${PROBE_TIMEOUT} ms`);
        this.#probed.reset(family, dead, name);
      } else if (!(error instanceof ConnectionError)) this.#probed.report(error);
    }
  }
}

/** The channel a probe goes through. */
class Probe {
  joined = false;
  /** How often its subscription came back after a gap. */
  resubscribes = 0;
  readonly member: HandlerSubscription;
  #arrived: (() => void) | undefined;

  constructor(
    readonly family: ConnectionKind,
    readonly name: string,
    /** There are other connections for the same family. */
    readonly oneOfSeveral = false,
  ) {
    const audience = new ServiceContext(new ErrorReporter(undefined));
    this.member = new HandlerSubscription(audience, () => this.#arrived?.(), {
      codec: jsonCodec,
      raw: true,
      onDiscontinuity: () => {
        this.resubscribes++;
      },
    });
  }

  /** Resolves with the next message. */
  nextMessage(): Promise<void> {
    return new Promise((resolve) => {
      this.#arrived = resolve;
    });
  }
}
