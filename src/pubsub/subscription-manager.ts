import { HistoryReader } from '../history/history-reader.js';
import type { Position } from '../history/position.js';
import { backoff, type Clock, type Timer } from '../internal/clock.js';
import { CommandError, ConnectionError, type RollcallError } from '../internal/errors.js';
import { Stopwatch, telemetry } from '../internal/telemetry.js';
import { SUBSCRIPTION_KINDS, type SubscriptionKind } from '../redis/driver.js';
import type { SharedClient } from '../redis/shared-client.js';
import { ActivityTracker } from './activity-tracker.js';
import type { Backpressure } from './delivery.js';
import type { DiscontinuityReason } from './discontinuity.js';
import { servicesOf } from './handler-list.js';
import type { HandlerSubscription } from './handler-subscription.js';
import type { StartPosition } from './history-cursor.js';
import { type ConnectionKind, Prober } from './prober.js';
import { RedisSubscription, type SubscriptionGroup } from './redis-subscription.js';
import type { ServiceContext } from './service-context.js';
import { type SubscriptionEvent, transition } from './subscription-state.js';

/** Between attempts to subscribe, at most, in ms: the first time, and at last. */
const FIRST_RETRY_DELAY = 50;
const MAX_RETRY_DELAY = 5_000;
/** Names per command, so that no single one stalls Redis, or the client, for long. */
const BATCH = 1_000;

/** After how much silence a connection is probed, in ms, where nobody asks for anything else. */
export const PROBE_INTERVAL = 30_000;

/** The subscriptions of one kind. */
interface SubscriptionGroupState extends SubscriptionGroup {
  readonly entries: Map<string, RedisSubscription>;
  /** Of the connection that carries them. */
  readonly pulse: ActivityTracker;
}

/**
 * All subscriptions of one Redis client, shared by the services built on it: counts who listens to
 * what, carries out what {@link transition} decides, subscribes anew what a broken connection took away, and
 * hands each message to everybody concerned.
 */
export class SubscriptionManager {
  readonly reader: HistoryReader;
  readonly #session: SharedClient;
  readonly #clock: Clock;
  readonly #prober: Prober;
  readonly #branches: Readonly<Record<SubscriptionKind, SubscriptionGroupState>>;
  #toSubscribe: RedisSubscription[] = [];
  #toUnsubscribe: RedisSubscription[] = [];
  readonly #awaitingRetry = new Set<RedisSubscription>();
  #flushing = false;
  #retry: Timer | undefined;
  #attempts = 0;
  /** Why subscriptions are being given up right now, if it is our own doing. */
  #reason: DiscontinuityReason | undefined;

  constructor(session: SharedClient, clock: Clock) {
    this.#session = session;
    this.#clock = clock;
    const reader = new HistoryReader(session, clock);
    this.reader = reader;
    const began = clock.now();
    const branch = (kind: SubscriptionKind, pulse: ActivityTracker): SubscriptionGroupState => {
      return { kind, entries: new Map(), pulse, reader, clock, began };
    };
    // Sharded channels may have a connection of their own.
    const pulse = new ActivityTracker(clock);
    this.#branches = {
      channel: branch('channel', pulse),
      pattern: branch('pattern', pulse),
      sharded: branch('sharded', new ActivityTracker(clock)),
    };
    this.#prober = new Prober(session, clock, {
      hasSubscriptions: (family) => this.#carries(family),
      lastActivity: (family) => this.#branches[family].pulse.monotonic,
      join: (kind, name, member) => this.subscribe(kind, name, member),
      leave: (kind, name, member) => this.unsubscribe(kind, name, member),
      reset: (family, cause, name) => this.#reset(family, cause, name),
      report: (error) => this.#report(error),
    });
    session.listen({
      message: (kind, name, channel, payload) => {
        const { pulse, entries } = this.#branches[kind];
        pulse.record();
        // None for a message on its way when the last handler left.
        entries.get(name)?.receive(channel, payload);
      },
      connection: (state) => {
        if (state === 'ready' && this.#awaitingRetry.size > 0) this.#retryNow();
      },
      dropped: (kind, names, cause) => this.#dropped(kind, names, cause),
    });
  }

  /** How many subscriptions of each kind there are. */
  get sizes(): Record<SubscriptionKind, number> {
    const { channel, pattern, sharded } = this.#branches;
    return {
      channel: channel.entries.size - this.#prober.subscriptionCount('channel'),
      pattern: pattern.entries.size,
      sharded: sharded.entries.size - this.#prober.subscriptionCount('sharded'),
    };
  }

  /** Probes the connections after `interval` ms of silence; the shortest that was asked for counts. */
  requestProbeInterval(interval: number): void {
    this.#prober.setInterval(interval);
  }

  /**
   * Adds `member`; resolves when Redis has confirmed the subscription and it is known where the member
   * begins. On rejection it is gone again.
   */
  subscribe(
    kind: SubscriptionKind,
    name: string,
    member: HandlerSubscription,
    start?: StartPosition,
    gate?: Backpressure,
  ): Promise<void> {
    const branch = this.#branches[kind];
    let entry = branch.entries.get(name);
    if (entry === undefined) {
      entry = new RedisSubscription(branch, name);
      branch.entries.set(name, entry);
    }
    if (entry.handlerCount === 0) entry.cancel();
    const asBytes = member.codec.binary === true && !entry.binary;
    // Before anything is read for it.
    if (asBytes) entry.binary = true;
    const cohort = entry.add(member, start, gate);
    this.#applyEvent(entry, 'changed');
    if (asBytes && entry.phase === 'active') this.#applyEvent(entry, 'again');
    const confirmed = entry.phase === 'active' ? Promise.resolve() : entry.waitFor('joining');
    return cohort === undefined ? confirmed : confirmed.then(() => cohort.whenPositioned());
  }

  /**
   * Takes `member` out: it is never called again. Resolves when Redis has confirmed, where it was
   * the last one and the subscription is not to outlive it for a while.
   */
  unsubscribe(kind: SubscriptionKind, name: string, member: HandlerSubscription, delay = 0): Promise<void> {
    const entry = this.#branches[kind].entries.get(name);
    if (entry === undefined || !entry.has(member)) {
      member.active = false;
      return Promise.resolve();
    }
    entry.remove(member);
    if (entry.handlerCount === 0 && this.#cancelRetry(entry)) return Promise.resolve();
    if (entry.handlerCount === 0 && entry.phase === 'active' && delay > 0) {
      entry.ensureTransition().keptAliveBy = member.audience;
      entry.wait(delay, () => this.#applyEvent(entry, 'changed'), { keepAlive: false });
      return Promise.resolve();
    }
    this.#applyEvent(entry, 'changed');
    if (entry.handlerCount > 0) return Promise.resolve();
    return entry.waitFor('leaving');
  }

  /** Where `member` stands in the history of the channel `name`, as far as it has one. */
  positionOf(kind: SubscriptionKind, name: string, member: HandlerSubscription): Position | undefined {
    return this.#branches[kind].entries.get(name)?.positionOf(member);
  }

  /** Unsubscribes now what only the delay of `audience` still holds. */
  flushDelayedUnsubscribes(audience: ServiceContext): Promise<unknown> {
    const ends: Promise<void>[] = [];
    for (const kind of SUBSCRIPTION_KINDS) {
      for (const entry of [...this.#branches[kind].entries.values()]) {
        if (entry.handlerCount > 0 || entry.transition?.keptAliveBy !== audience || !entry.cancel()) continue;
        this.#applyEvent(entry, 'changed');
        ends.push(entry.waitFor('leaving'));
      }
    }
    return Promise.all(ends);
  }

  #carries(family: ConnectionKind): boolean {
    const { channel, pattern, sharded } = this.sizes;
    return family === 'sharded' ? sharded > 0 : channel + pattern > 0;
  }

  #report(error: RollcallError): void {
    for (const { reporter } of servicesOf(this.#members())) reporter.report(error, { stage: 'probe' });
  }

  *#members(): Generator<HandlerSubscription> {
    for (const kind of SUBSCRIPTION_KINDS) {
      for (const entry of this.#branches[kind].entries.values()) yield* entry.members();
    }
  }

  /** Gives up the connection that carries `kind`, and subscribes on another. */
  #reset(kind: SubscriptionKind, cause: Error, name: string): void {
    this.#reason = 'unresponsive';
    this.#session.driver.resetSubscriptions(kind, cause, name);
    this.#reason = undefined;
  }

  #applyEvent(entry: RedisSubscription, event: SubscriptionEvent, error?: Error): void {
    const next = transition(entry.phase, event, entry.handlerCount > 0);
    entry.phase = next.phase;
    switch (next.effect) {
      case 'none':
        return;
      case 'subscribe':
        // Whoever left while UNSUBSCRIBE was under way has what he wanted.
        entry.settleWaiters('leaving');
        if (event === 'interrupted') return this.#subscribeLater(entry);
        this.#toSubscribe.push(entry);
        return this.#schedule();
      case 'unsubscribe':
        // Whoever joined has left again; nobody waits for that answer.
        entry.settleWaiters('joining');
        this.#toUnsubscribe.push(entry);
        return this.#schedule();
      case 'joined':
        this.#attempts = 0;
        return entry.confirmed();
      case 'rejected':
        for (const member of entry.members()) entry.remove(member);
        this.#branches[entry.kind].entries.delete(entry.name);
        entry.settleWaiters('leaving');
        return entry.settleWaiters('joining', error);
      case 'released':
        entry.cancel();
        this.#branches[entry.kind].entries.delete(entry.name);
        return entry.settleWaiters('leaving', event === 'refused' ? error : undefined);
    }
  }

  /** Commands of one tick travel together. */
  #schedule(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    process.nextTick(() => {
      this.#flushing = false;
      const joining = this.#toSubscribe;
      const leaving = this.#toUnsubscribe;
      this.#toSubscribe = [];
      this.#toUnsubscribe = [];
      for (const kind of SUBSCRIPTION_KINDS) {
        const own = joining.filter((entry) => entry.kind === kind);
        for (const binary of [false, true]) {
          this.#sendAll(
            'subscribe',
            kind,
            own.filter((entry) => entry.binary === binary),
            binary,
          );
        }
        this.#sendAll(
          'unsubscribe',
          kind,
          leaving.filter((entry) => entry.kind === kind),
        );
      }
    });
  }

  #sendAll(
    command: 'subscribe' | 'unsubscribe',
    kind: SubscriptionKind,
    entries: RedisSubscription[],
    binary = false,
  ): void {
    for (let at = 0; at < entries.length; at += BATCH) {
      void this.#send(command, kind, entries.slice(at, at + BATCH), binary);
    }
  }

  async #send(
    command: 'subscribe' | 'unsubscribe',
    kind: SubscriptionKind,
    entries: RedisSubscription[],
    binary: boolean,
  ): Promise<void> {
    const names = entries.map((entry) => entry.name);
    for (const { transition } of entries) if (transition !== undefined) transition.stale = false;
    const watch = telemetry.subscribe.hasSubscribers ? new Stopwatch() : undefined;
    const ended = (error?: Error) =>
      watch && telemetry.subscribe.emit({ command, kind, channels: names, ...watch.stop(error) });
    try {
      if (command === 'subscribe') await this.#session.driver.subscribe(kind, names, { binary });
      else await this.#session.driver.unsubscribe(kind, names);
    } catch (error) {
      ended(error as Error);
      if (error instanceof ConnectionError) {
        for (const entry of entries) {
          if (command === 'subscribe' && entry.established) this.#beginGap(entry, error);
          this.#applyEvent(entry, 'interrupted');
        }
      } else if (entries.length > 1) {
        // One refused name (an ACL rule, say) must not take the others with it.
        for (const entry of entries) void this.#send(command, kind, [entry], binary);
      } else {
        for (const entry of entries) this.#refused(entry, error as RollcallError);
      }
      return;
    }
    ended();
    for (const entry of entries) {
      if (command === 'unsubscribe') this.#applyEvent(entry, 'confirmed');
      else if (entry.transition?.stale === true) this.#applyEvent(entry, 'interrupted');
      else this.#applyEvent(entry, entry.binary === binary ? 'confirmed' : 'again');
    }
  }

  #refused(entry: RedisSubscription, error: RollcallError): void {
    const back = entry.phase === 'subscribing' && entry.established && entry.handlerCount > 0;
    if (!back) return this.#applyEvent(entry, 'refused', error);
    // What was subscribed for long is not given up because a rule changed: it is said, and tried on.
    entry.report(error);
    entry.settleWaiters('joining', error);
    const delay = backoff(
      this.#clock,
      ++entry.ensureTransition().refusals,
      FIRST_RETRY_DELAY,
      MAX_RETRY_DELAY,
    );
    entry.wait(delay, () => this.#applyEvent(entry, 'again'));
  }

  #subscribeLater(entry: RedisSubscription): void {
    this.#awaitingRetry.add(entry);
    // Only the probe is left then, and nobody to hear it; its attempts would keep the process alive.
    if (this.#session.closed) return;
    this.#retry ??= this.#clock.after(
      backoff(this.#clock, this.#attempts++, FIRST_RETRY_DELAY, MAX_RETRY_DELAY),
      () => this.#retryNow(),
    );
  }

  /** Nobody wants what waits for another attempt any more: Redis knows nothing of it. */
  #cancelRetry(entry: RedisSubscription): boolean {
    if (!this.#awaitingRetry.delete(entry) && !(entry.phase === 'subscribing' && entry.cancel()))
      return false;
    entry.settleWaiters('joining');
    this.#applyEvent(entry, 'interrupted');
    return true;
  }

  #retryNow(): void {
    this.#retry?.cancel();
    this.#retry = undefined;
    if (this.#session.closed) return;
    const entries = [...this.#awaitingRetry];
    this.#awaitingRetry.clear();
    for (const entry of entries) {
      // Left meanwhile: there is nothing at Redis to take back.
      if (entry.handlerCount === 0) this.#applyEvent(entry, 'interrupted');
      else this.#toSubscribe.push(entry);
    }
    this.#schedule();
  }

  #dropped(kind: SubscriptionKind, names: readonly string[], cause: Error): void {
    for (const name of names) {
      const entry = this.#branches[kind].entries.get(name);
      if (entry === undefined) continue;
      if (entry.established) this.#beginGap(entry, cause);
      entry.ensureTransition().stale = true;
      if (entry.phase === 'active') this.#applyEvent(entry, 'interrupted');
    }
  }

  /** From now on messages of `entry` are missing. */
  #beginGap(entry: RedisSubscription, cause: Error): void {
    const reason = this.#reason ?? (cause instanceof CommandError ? 'withdrawn' : 'reconnected');
    entry.dropped(reason, this.#branches[entry.kind].pulse.wallTime);
  }
}

const managers = new WeakMap<SharedClient, SubscriptionManager>();

/** The hub of `session`: one per client. */
export function subscriptionManagerFor(session: SharedClient, clock: Clock): SubscriptionManager {
  let hub = managers.get(session);
  if (hub === undefined) {
    hub = new SubscriptionManager(session, clock);
    managers.set(session, hub);
  }
  return hub;
}
