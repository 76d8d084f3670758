import { HistoryReader } from '../history/history-reader.js';
import type { Position } from '../history/position.js';
import { backoff, type Clock, type Timer } from '../internal/clock.js';
import { CommandError, ConnectionError, type RollcallError } from '../internal/errors.js';
import { Stopwatch, telemetry } from '../internal/telemetry.js';
import { SUBSCRIPTION_KINDS, type SubscriptionKind } from '../redis/driver.js';
import type { SharedClient } from '../redis/shared-client.js';
import type { Start } from './cohort.js';
import { audiencesOf } from './crowd.js';
import type { Audience, Gate, Member } from './delivery.js';
import type { DiscontinuityReason } from './discontinuity.js';
import { Entry, type EntryHome } from './entry.js';
import { type Family, Prober } from './prober.js';
import { Pulse } from './pulse.js';
import { type SubscriptionEvent, step } from './subscriptions.js';

/** Between attempts to subscribe, at most, in ms: the first time, and at last. */
const FIRST_RETRY = 50;
const MAX_RETRY = 5_000;
/** Names per command, so that no single one stalls Redis, or the client, for long. */
const BATCH = 1_000;

/** After how much silence a connection is probed, in ms, where nobody asks for anything else. */
export const PROBE_INTERVAL = 30_000;

/** The subscriptions of one kind. */
interface Branch extends EntryHome {
  readonly entries: Map<string, Entry>;
  /** Of the connection that carries them. */
  readonly pulse: Pulse;
}

/**
 * All subscriptions of one Redis client, shared by the services built on it: counts who listens to
 * what, carries out what {@link step} decides, subscribes anew what a broken connection took away, and
 * hands each message to everybody concerned.
 */
export class Hub {
  readonly reader: HistoryReader;
  readonly #session: SharedClient;
  readonly #clock: Clock;
  readonly #prober: Prober;
  readonly #branches: Readonly<Record<SubscriptionKind, Branch>>;
  #toSubscribe: Entry[] = [];
  #toUnsubscribe: Entry[] = [];
  readonly #interrupted = new Set<Entry>();
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
    const branch = (kind: SubscriptionKind, pulse: Pulse): Branch => {
      return { kind, entries: new Map(), pulse, reader, clock, began };
    };
    // Sharded channels may have a connection of their own.
    const pulse = new Pulse(clock);
    this.#branches = {
      channel: branch('channel', pulse),
      pattern: branch('pattern', pulse),
      sharded: branch('sharded', new Pulse(clock)),
    };
    this.#prober = new Prober(session, clock, {
      carries: (family) => this.#carries(family),
      heard: (family) => this.#branches[family].pulse.monotonic,
      join: (kind, name, member) => this.join(kind, name, member),
      leave: (kind, name, member) => this.leave(kind, name, member),
      reset: (family, cause, name) => this.#reset(family, cause, name),
      report: (error) => this.#report(error),
    });
    session.listen({
      message: (kind, name, channel, payload) => {
        const { pulse, entries } = this.#branches[kind];
        pulse.beat();
        // None for a message on its way when the last handler left.
        entries.get(name)?.receive(channel, payload);
      },
      connection: (state) => {
        if (state === 'ready' && this.#interrupted.size > 0) this.#retryNow();
      },
      dropped: (kind, names, cause) => this.#dropped(kind, names, cause),
    });
  }

  /** How many subscriptions of each kind there are. */
  get sizes(): Record<SubscriptionKind, number> {
    const { channel, pattern, sharded } = this.#branches;
    return {
      channel: channel.entries.size - this.#prober.joined('channel'),
      pattern: pattern.entries.size,
      sharded: sharded.entries.size - this.#prober.joined('sharded'),
    };
  }

  /** Probes the connections after `interval` ms of silence; the shortest that was asked for counts. */
  probeEvery(interval: number): void {
    this.#prober.every(interval);
  }

  /**
   * Adds `member`; resolves when Redis has confirmed the subscription and it is known where the member
   * begins. On rejection it is gone again.
   */
  join(kind: SubscriptionKind, name: string, member: Member, start?: Start, gate?: Gate): Promise<void> {
    const branch = this.#branches[kind];
    let entry = branch.entries.get(name);
    if (entry === undefined) {
      entry = new Entry(branch, name);
      branch.entries.set(name, entry);
    }
    if (entry.active === 0) entry.cancel();
    const asBytes = member.codec.binary === true && !entry.binary;
    // Before anything is read for it.
    if (asBytes) entry.binary = true;
    const cohort = entry.add(member, start, gate);
    this.#advance(entry, 'changed');
    if (asBytes && entry.phase === 'active') this.#advance(entry, 'again');
    const confirmed = entry.phase === 'active' ? Promise.resolve() : entry.waiting('joining');
    return cohort === undefined ? confirmed : confirmed.then(() => cohort.started());
  }

  /**
   * Takes `member` out: it is never called again. Resolves when Redis has confirmed, where it was
   * the last one and the subscription is not to outlive it for a while.
   */
  leave(kind: SubscriptionKind, name: string, member: Member, delay = 0): Promise<void> {
    const entry = this.#branches[kind].entries.get(name);
    if (entry === undefined || !entry.has(member)) {
      member.active = false;
      return Promise.resolve();
    }
    entry.remove(member);
    if (entry.active === 0 && this.#unpark(entry)) return Promise.resolve();
    if (entry.active === 0 && entry.phase === 'active' && delay > 0) {
      entry.changing().outlives = member.audience;
      entry.wait(delay, () => this.#advance(entry, 'changed'), { keepAlive: false });
      return Promise.resolve();
    }
    this.#advance(entry, 'changed');
    if (entry.active > 0) return Promise.resolve();
    return entry.waiting('leaving');
  }

  /** Where `member` stands in the history of the channel `name`, as far as it has one. */
  positionOf(kind: SubscriptionKind, name: string, member: Member): Position | undefined {
    return this.#branches[kind].entries.get(name)?.positionOf(member);
  }

  /** Unsubscribes now what only the delay of `audience` still holds. */
  endDelays(audience: Audience): Promise<unknown> {
    const ends: Promise<void>[] = [];
    for (const kind of SUBSCRIPTION_KINDS) {
      for (const entry of [...this.#branches[kind].entries.values()]) {
        if (entry.active > 0 || entry.transition?.outlives !== audience || !entry.cancel()) continue;
        this.#advance(entry, 'changed');
        ends.push(entry.waiting('leaving'));
      }
    }
    return Promise.all(ends);
  }

  #carries(family: Family): boolean {
    const { channel, pattern, sharded } = this.sizes;
    return family === 'sharded' ? sharded > 0 : channel + pattern > 0;
  }

  #report(error: RollcallError): void {
    for (const { reporter } of audiencesOf(this.#members())) reporter.report(error, { stage: 'probe' });
  }

  *#members(): Generator<Member> {
    for (const kind of SUBSCRIPTION_KINDS) {
      for (const entry of this.#branches[kind].entries.values()) yield* entry.members();
    }
  }

  /** Gives up the connection that carries `kind`, and subscribes on another. */
  #reset(kind: SubscriptionKind, cause: Error, name: string): void {
    this.#reason = 'unresponsive';
    this.#session.driver.reset(kind, cause, name);
    this.#reason = undefined;
  }

  #advance(entry: Entry, event: SubscriptionEvent, error?: Error): void {
    const next = step(entry.phase, event, entry.active > 0);
    entry.phase = next.phase;
    switch (next.effect) {
      case 'none':
        return;
      case 'subscribe':
        // Whoever left while UNSUBSCRIBE was under way has what he wanted.
        entry.answer('leaving');
        if (event === 'interrupted') return this.#subscribeLater(entry);
        this.#toSubscribe.push(entry);
        return this.#schedule();
      case 'unsubscribe':
        // Whoever joined has left again; nobody waits for that answer.
        entry.answer('joining');
        this.#toUnsubscribe.push(entry);
        return this.#schedule();
      case 'joined':
        this.#attempts = 0;
        return entry.confirmed();
      case 'rejected':
        for (const member of entry.members()) entry.remove(member);
        this.#branches[entry.kind].entries.delete(entry.name);
        entry.answer('leaving');
        return entry.answer('joining', error);
      case 'released':
        entry.cancel();
        this.#branches[entry.kind].entries.delete(entry.name);
        return entry.answer('leaving', event === 'refused' ? error : undefined);
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
    entries: Entry[],
    binary = false,
  ): void {
    for (let at = 0; at < entries.length; at += BATCH) {
      void this.#send(command, kind, entries.slice(at, at + BATCH), binary);
    }
  }

  async #send(
    command: 'subscribe' | 'unsubscribe',
    kind: SubscriptionKind,
    entries: Entry[],
    binary: boolean,
  ): Promise<void> {
    const names = entries.map((entry) => entry.name);
    for (const { transition } of entries) if (transition !== undefined) transition.overtaken = false;
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
          if (command === 'subscribe' && entry.established) this.#gapIn(entry, error);
          this.#advance(entry, 'interrupted');
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
      if (command === 'unsubscribe') this.#advance(entry, 'confirmed');
      else if (entry.transition?.overtaken === true) this.#advance(entry, 'interrupted');
      else this.#advance(entry, entry.binary === binary ? 'confirmed' : 'again');
    }
  }

  #refused(entry: Entry, error: RollcallError): void {
    const back = entry.phase === 'subscribing' && entry.established && entry.active > 0;
    if (!back) return this.#advance(entry, 'refused', error);
    // What was subscribed for long is not given up because a rule changed: it is said, and tried on.
    entry.report(error);
    entry.answer('joining', error);
    const delay = backoff(this.#clock, ++entry.changing().refusals, FIRST_RETRY, MAX_RETRY);
    entry.wait(delay, () => this.#advance(entry, 'again'));
  }

  #subscribeLater(entry: Entry): void {
    this.#interrupted.add(entry);
    // Only the probe is left then, and nobody to hear it; its attempts would keep the process alive.
    if (this.#session.closed) return;
    this.#retry ??= this.#clock.after(backoff(this.#clock, this.#attempts++, FIRST_RETRY, MAX_RETRY), () =>
      this.#retryNow(),
    );
  }

  /** Nobody wants what waits for another attempt any more: Redis knows nothing of it. */
  #unpark(entry: Entry): boolean {
    if (!this.#interrupted.delete(entry) && !(entry.phase === 'subscribing' && entry.cancel())) return false;
    entry.answer('joining');
    this.#advance(entry, 'interrupted');
    return true;
  }

  #retryNow(): void {
    this.#retry?.cancel();
    this.#retry = undefined;
    if (this.#session.closed) return;
    const entries = [...this.#interrupted];
    this.#interrupted.clear();
    for (const entry of entries) {
      // Left meanwhile: there is nothing at Redis to take back.
      if (entry.active === 0) this.#advance(entry, 'interrupted');
      else this.#toSubscribe.push(entry);
    }
    this.#schedule();
  }

  #dropped(kind: SubscriptionKind, names: readonly string[], cause: Error): void {
    for (const name of names) {
      const entry = this.#branches[kind].entries.get(name);
      if (entry === undefined) continue;
      if (entry.established) this.#gapIn(entry, cause);
      entry.changing().overtaken = true;
      if (entry.phase === 'active') this.#advance(entry, 'interrupted');
    }
  }

  /** From now on messages of `entry` are missing. */
  #gapIn(entry: Entry, cause: Error): void {
    const reason = this.#reason ?? (cause instanceof CommandError ? 'withdrawn' : 'reconnected');
    entry.dropped(reason, this.#branches[entry.kind].pulse.at);
  }
}

const hubs = new WeakMap<SharedClient, Hub>();

/** The hub of `session`: one per client. */
export function hubFor(session: SharedClient, clock: Clock): Hub {
  let hub = hubs.get(session);
  if (hub === undefined) {
    hub = new Hub(session, clock);
    hubs.set(session, hub);
  }
  return hub;
}
