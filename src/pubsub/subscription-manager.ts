import { HistoryReader } from '../history/history-reader.js';
import type { Position } from '../history/position.js';
import { runWithoutAsyncContext } from '../internal/async-context.js';
import { backoff, type Clock, type Timer } from '../internal/clock.js';
import { CommandError, ConnectionError, type RollcallError } from '../internal/errors.js';
import { Stopwatch, telemetry } from '../internal/telemetry.js';
import type { SharedClient } from '../redis/client-handle.js';
import { databaseSuffix } from '../redis/database.js';
import { SUBSCRIPTION_KINDS, type SubscriptionKind } from '../redis/driver.js';
import type { Backpressure } from './backpressure.js';
import type { StartPosition } from './catch-up-cursor.js';
import type { DiscontinuityReason } from './discontinuity.js';
import { servicesOf } from './handler-list.js';
import type { HandlerSubscription } from './handler-subscription.js';
import { type ConnectionKind, Prober } from './prober.js';
import { RedisSubscription, type SubscriptionGroup } from './redis-subscription.js';
import type { ServiceContext } from './service-context.js';
import { type SubscriptionEvent, transition } from './subscription-state.js';

/** In ms. */
const FIRST_RETRY_DELAY = 50;
const MAX_RETRY_DELAY = 5_000;
/** Names per command: a larger one would block Redis or the client. */
const BATCH = 1_000;

/** In ms. */
export const PROBE_INTERVAL = 30_000;

const resolved = Promise.resolve();

/** Returned by `subscribe` and `unsubscribe` if nothing is waited for: such a call needs no deadline. */
export const SETTLED: Promise<void> = resolved;

/**
 * Time of the last data on a subscriber connection, read from the clock at the first message of each turn of the
 * event loop: reading it per message would cost as much as finding the handlers.
 */
export class ActivityTracker {
  /** For display. */
  wallTime = 0;
  /** For comparisons. */
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

interface SubscriptionGroupState extends SubscriptionGroup {
  readonly subscriptions: Map<string, RedisSubscription>;
  readonly activity: ActivityTracker;
}

/**
 * Shared by all services on one Redis client. Counts handlers per name, sends the commands of {@link
 * transition}, and subscribes again after a lost connection.
 */
export class SubscriptionManager {
  readonly reader: HistoryReader;
  readonly #client: SharedClient;
  readonly #clock: Clock;
  readonly #prober: Prober;
  readonly #groups: Readonly<Record<SubscriptionKind, SubscriptionGroupState>>;
  #toSubscribe: RedisSubscription[] = [];
  #toUnsubscribe: RedisSubscription[] = [];
  readonly #awaitingRetry = new Set<RedisSubscription>();
  /** Sends what was collected in this turn of the event loop. */
  #flushTimer: NodeJS.Immediate | undefined;
  #retryTimer: Timer | undefined;
  #attempts = 0;
  /** Set while this class closes a connection. */
  #reason: DiscontinuityReason | undefined;

  constructor(client: SharedClient, clock: Clock) {
    this.#client = client;
    this.#clock = clock;
    const reader = new HistoryReader(client, clock);
    this.reader = reader;
    const began = clock.now();
    const suffix = databaseSuffix(client.driver.database);
    const createGroup = (kind: SubscriptionKind, activity: ActivityTracker): SubscriptionGroupState => {
      return { kind, subscriptions: new Map(), activity, reader, clock, began, databaseSuffix: suffix };
    };
    const activity = new ActivityTracker(clock);
    this.#groups = {
      channel: createGroup('channel', activity),
      pattern: createGroup('pattern', activity),
      // Sharded channels may have another connection.
      sharded: createGroup('sharded', new ActivityTracker(clock)),
    };
    this.#prober = new Prober(client, clock, {
      hasSubscriptions: (connection) => this.#hasSubscriptions(connection),
      lastActivity: (connection) => this.#groups[connection].activity.monotonic,
      join: (kind, name, handler) => this.subscribe(kind, name, handler),
      leave: (kind, name, handler) => this.unsubscribe(kind, name, handler),
      reset: (connection, cause, name) => this.#reset(connection, cause, name),
      report: (error) => this.#reportProbeError(error),
    });
    // A message that the caller publishes without waiting for the confirmation follows SUBSCRIBE.
    client.beforeCommands = () => {
      if (this.#flushTimer !== undefined) runWithoutAsyncContext(() => this.#flush());
    };
    client.listen({
      message: (kind, name, channel, payload) => {
        const { activity, subscriptions } = this.#groups[kind];
        activity.record();
        // Undefined if the message was in flight when the last handler left.
        subscriptions.get(name)?.receive(channel, payload);
      },
      connection: (state) => {
        if (state !== 'ready') return;
        if (this.#awaitingRetry.size > 0) this.#retryNow();
        this.#prober.handleReconnect();
      },
      dropped: (kind, names, cause) => this.#onDropped(kind, names, cause),
    });
  }

  /** Names per kind, without probe channels. */
  get sizes(): Record<SubscriptionKind, number> {
    const { channel, pattern, sharded } = this.#groups;
    return {
      channel: channel.subscriptions.size - this.#prober.subscriptionCount('channel'),
      pattern: pattern.subscriptions.size,
      sharded: sharded.subscriptions.size - this.#prober.subscriptionCount('sharded'),
    };
  }

  /** The shortest interval (ms) wins. */
  requestProbeInterval(interval: number): void {
    this.#prober.setInterval(interval);
  }

  /** Resolves after the confirmation, with a known start position. A rejection removes the handler. */
  subscribe(
    kind: SubscriptionKind,
    name: string,
    handler: HandlerSubscription,
    start?: StartPosition,
    backpressure?: Backpressure,
  ): Promise<void> {
    const group = this.#groups[kind];
    let subscription = group.subscriptions.get(name);
    if (subscription === undefined) {
      subscription = new RedisSubscription(group, name);
      group.subscriptions.set(name, subscription);
    }
    if (subscription.handlerCount === 0) subscription.cancel();
    const switchToBytes = handler.codec.binary === true && !subscription.binary;
    // Set before `add`, which may start to read history.
    if (switchToBytes) subscription.binary = true;
    const cursor = subscription.add(handler, start, backpressure);
    this.#applyEvent(subscription, 'changed');
    if (switchToBytes && subscription.phase === 'active') this.#applyEvent(subscription, 'again');
    const confirmed = subscription.phase === 'active' ? SETTLED : subscription.waitFor('joining');
    return cursor === undefined ? confirmed : confirmed.then(() => cursor.whenPositioned());
  }

  /**
   * The handler is never called again. The last one waits for the confirmation of UNSUBSCRIBE, unless `delay`
   * (ms) postpones that command.
   */
  unsubscribe(kind: SubscriptionKind, name: string, handler: HandlerSubscription, delay = 0): Promise<void> {
    const subscription = this.#groups[kind].subscriptions.get(name);
    if (subscription === undefined || !subscription.has(handler)) {
      handler.active = false;
      return SETTLED;
    }
    subscription.remove(handler);
    if (subscription.handlerCount === 0 && this.#cancelRetry(subscription)) return SETTLED;
    if (subscription.handlerCount === 0 && subscription.phase === 'active' && delay > 0) {
      subscription.ensureTransition().keptAliveBy = handler.service;
      subscription.schedule(delay, () => this.#applyEvent(subscription, 'changed'), { keepAlive: false });
      return SETTLED;
    }
    this.#applyEvent(subscription, 'changed');
    if (subscription.handlerCount > 0) return SETTLED;
    return subscription.waitFor('leaving');
  }

  positionOf(kind: SubscriptionKind, name: string, handler: HandlerSubscription): Position | undefined {
    return this.#groups[kind].subscriptions.get(name)?.positionOf(handler);
  }

  flushDelayedUnsubscribes(service: ServiceContext): Promise<unknown> {
    const unsubscribes: Promise<void>[] = [];
    for (const kind of SUBSCRIPTION_KINDS) {
      for (const subscription of [...this.#groups[kind].subscriptions.values()]) {
        const delayed = subscription.handlerCount === 0 && subscription.transition?.keptAliveBy === service;
        if (!delayed || !subscription.cancel()) continue;
        this.#applyEvent(subscription, 'changed');
        unsubscribes.push(subscription.waitFor('leaving'));
      }
    }
    return Promise.all(unsubscribes);
  }

  #hasSubscriptions(connection: ConnectionKind): boolean {
    const { channel, pattern, sharded } = this.sizes;
    return connection === 'sharded' ? sharded > 0 : channel + pattern > 0;
  }

  #reportProbeError(error: RollcallError): void {
    for (const { reporter } of servicesOf(this.#handlers())) reporter.report(error, { stage: 'probe' });
  }

  *#handlers(): Generator<HandlerSubscription> {
    for (const kind of SUBSCRIPTION_KINDS) {
      for (const subscription of this.#groups[kind].subscriptions.values()) yield* subscription.handlers();
    }
  }

  /** All its names are subscribed again on another connection. */
  #reset(kind: SubscriptionKind, cause: Error, name: string): void {
    this.#reason = 'unresponsive';
    this.#client.driver.resetSubscriptions(kind, cause, name);
    this.#reason = undefined;
  }

  #applyEvent(subscription: RedisSubscription, event: SubscriptionEvent, error?: Error): void {
    const next = transition(subscription.phase, event, subscription.handlerCount > 0);
    subscription.phase = next.phase;
    switch (next.effect) {
      case 'none':
        return;
      case 'subscribe':
        // Callers waiting for UNSUBSCRIBE can be resolved now.
        subscription.settleWaiters('leaving');
        if (event === 'interrupted') return this.#subscribeLater(subscription);
        this.#toSubscribe.push(subscription);
        return this.#scheduleFlush();
      case 'unsubscribe':
        // All handlers that waited for SUBSCRIBE have left.
        subscription.settleWaiters('joining');
        this.#toUnsubscribe.push(subscription);
        return this.#scheduleFlush();
      case 'joined':
        this.#attempts = 0;
        return subscription.confirmed();
      case 'rejected':
        for (const handler of subscription.handlers()) subscription.remove(handler);
        this.#groups[subscription.kind].subscriptions.delete(subscription.name);
        subscription.settleWaiters('leaving');
        return subscription.settleWaiters('joining', error);
      case 'released':
        subscription.cancel();
        this.#groups[subscription.kind].subscriptions.delete(subscription.name);
        return subscription.settleWaiters('leaving', event === 'refused' ? error : undefined);
    }
  }

  #scheduleFlush(): void {
    // At the end of the turn, so that connections whose data arrived in it share a command. Without an async context,
    // because the connection may be opened now, and serves all handlers.
    this.#flushTimer ??= runWithoutAsyncContext(() => setImmediate(() => this.#flush()));
  }

  #flush(): void {
    clearImmediate(this.#flushTimer);
    this.#flushTimer = undefined;
    const toSubscribe = this.#toSubscribe;
    const toUnsubscribe = this.#toUnsubscribe;
    this.#toSubscribe = [];
    this.#toUnsubscribe = [];
    for (const kind of SUBSCRIPTION_KINDS) {
      const ofKind = toSubscribe.filter((subscription) => subscription.kind === kind);
      for (const binary of [false, true]) {
        const ofFormat = ofKind.filter((subscription) => subscription.binary === binary);
        this.#sendInBatches('subscribe', kind, ofFormat, binary);
      }
      const leaving = toUnsubscribe.filter((subscription) => subscription.kind === kind);
      this.#sendInBatches('unsubscribe', kind, leaving);
    }
  }

  #sendInBatches(
    command: 'subscribe' | 'unsubscribe',
    kind: SubscriptionKind,
    subscriptions: RedisSubscription[],
    binary = false,
  ): void {
    for (let at = 0; at < subscriptions.length; at += BATCH) {
      void this.#send(command, kind, subscriptions.slice(at, at + BATCH), binary);
    }
  }

  async #send(
    command: 'subscribe' | 'unsubscribe',
    kind: SubscriptionKind,
    subscriptions: RedisSubscription[],
    binary: boolean,
  ): Promise<void> {
    const names = subscriptions.map(({ name }) => name);
    for (const { transition } of subscriptions) if (transition !== undefined) transition.stale = false;
    const stopwatch = telemetry.subscribe.hasSubscribers ? new Stopwatch() : undefined;
    const emitSubscribe = (error?: Error) =>
      stopwatch && telemetry.subscribe.emit({ command, kind, channels: names, ...stopwatch.stop(error) });
    try {
      if (command === 'subscribe') await this.#client.driver.subscribe(kind, names, { binary });
      else await this.#client.driver.unsubscribe(kind, names);
    } catch (error) {
      emitSubscribe(error as Error);
      if (error instanceof ConnectionError) {
        for (const subscription of subscriptions) {
          if (command === 'subscribe' && subscription.established) this.#beginGap(subscription, error);
          this.#applyEvent(subscription, 'interrupted');
        }
      } else if (subscriptions.length > 1) {
        // One refused name (by an ACL rule, for example) must not affect the others.
        for (const subscription of subscriptions) void this.#send(command, kind, [subscription], binary);
      } else {
        for (const subscription of subscriptions) this.#onRefused(subscription, error as RollcallError);
      }
      return;
    }
    emitSubscribe();
    for (const subscription of subscriptions) {
      if (command === 'unsubscribe') this.#applyEvent(subscription, 'confirmed');
      else if (subscription.transition?.stale === true) this.#applyEvent(subscription, 'interrupted');
      else this.#applyEvent(subscription, subscription.binary === binary ? 'confirmed' : 'again');
    }
  }

  #onRefused(subscription: RedisSubscription, error: RollcallError): void {
    const { phase, established, handlerCount } = subscription;
    if (phase !== 'subscribing' || !established || handlerCount === 0) {
      return this.#applyEvent(subscription, 'refused', error);
    }
    // The subscription was active, so the refusal (a changed ACL, for example) is reported and retried.
    subscription.report(error);
    subscription.settleWaiters('joining', error);
    const refusals = ++subscription.ensureTransition().refusals;
    const delay = backoff(this.#clock, refusals, FIRST_RETRY_DELAY, MAX_RETRY_DELAY);
    subscription.schedule(delay, () => this.#applyEvent(subscription, 'again'));
  }

  #subscribeLater(subscription: RedisSubscription): void {
    this.#awaitingRetry.add(subscription);
    // Only the probe is left; a retry would keep the process alive.
    if (this.#client.closed) return;
    this.#retryTimer ??= this.#clock.after(
      backoff(this.#clock, this.#attempts++, FIRST_RETRY_DELAY, MAX_RETRY_DELAY),
      () => this.#retryNow(),
    );
  }

  /** Redis has no subscription to remove. */
  #cancelRetry(subscription: RedisSubscription): boolean {
    const waitsForRetry = subscription.phase === 'subscribing' && subscription.cancel();
    if (!this.#awaitingRetry.delete(subscription) && !waitsForRetry) return false;
    subscription.settleWaiters('joining');
    this.#applyEvent(subscription, 'interrupted');
    return true;
  }

  #retryNow(): void {
    this.#retryTimer?.cancel();
    this.#retryTimer = undefined;
    if (this.#client.closed) return;
    const subscriptions = [...this.#awaitingRetry];
    this.#awaitingRetry.clear();
    for (const subscription of subscriptions) {
      // The handlers have left; Redis has no subscription to remove.
      if (subscription.handlerCount === 0) this.#applyEvent(subscription, 'interrupted');
      else this.#toSubscribe.push(subscription);
    }
    this.#scheduleFlush();
  }

  #onDropped(kind: SubscriptionKind, names: readonly string[], cause: Error): void {
    for (const name of names) {
      const subscription = this.#groups[kind].subscriptions.get(name);
      if (subscription === undefined) continue;
      if (subscription.established) this.#beginGap(subscription, cause);
      subscription.ensureTransition().stale = true;
      if (subscription.phase === 'active') this.#applyEvent(subscription, 'interrupted');
    }
  }

  #beginGap(subscription: RedisSubscription, cause: Error): void {
    const reason = this.#reason ?? (cause instanceof CommandError ? 'withdrawn' : 'reconnected');
    subscription.dropped(reason, this.#groups[subscription.kind].activity.wallTime);
  }
}

const managers = new WeakMap<SharedClient, SubscriptionManager>();

export function subscriptionManagerFor(client: SharedClient, clock: Clock): SubscriptionManager {
  let manager = managers.get(client);
  if (manager === undefined) {
    manager = new SubscriptionManager(client, clock);
    managers.set(client, manager);
  }
  return manager;
}
