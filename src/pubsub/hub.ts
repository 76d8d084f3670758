import { type Clock, jittered, type Timer } from '../clock.js';
import { ConnectionError } from '../errors.js';
import type { ConnectionRole, SubscriptionKind } from '../redis/driver.js';
import type { Session } from '../redis/session.js';
import { Delivery, type Discontinuity, type Member, type Stretch, stretchesOf, tell } from './delivery.js';
import { type Phase, type SubscriptionEvent, step } from './subscriptions.js';

interface Waiter {
  resolve(): void;
  reject(error: Error): void;
}

/** One (kind, name) and everybody who listens to it. */
class Entry {
  phase: Phase = 'idle';
  readonly members = new Set<Member>();
  /** How many have left so far: a message on its way looks for them when this has grown. */
  departures = 0;
  /** Since when messages may be missing, while it is subscribed anew. */
  gapSince: Date | undefined;
  joining: Waiter[] | undefined;
  leaving: Waiter[] | undefined;
  #stretches: readonly Stretch[] | undefined;

  constructor(
    readonly kind: SubscriptionKind,
    readonly name: string,
  ) {}

  get active(): number {
    return this.members.size;
  }

  /** The members as they are now; never changed, only replaced, for a message may be on its way. */
  get stretches(): readonly Stretch[] {
    this.#stretches ??= stretchesOf(this.members);
    return this.#stretches;
  }

  add(member: Member): void {
    this.members.add(member);
    this.#stretches = undefined;
  }

  remove(member: Member): void {
    member.active = false;
    if (!this.members.delete(member)) return;
    this.departures++;
    this.#stretches = undefined;
  }
}

/** Between attempts to subscribe while the connection is away, unless it says `ready` first; doubled each time. */
const RETRY_DELAY = 250;
const MAX_RETRY_DELAY = 10_000;

/**
 * All subscriptions of one Redis client, shared by the services built on it: counts who listens to
 * what, carries out what {@link step} decides, and hands each message to everybody concerned.
 */
export class Hub {
  readonly #session: Session;
  readonly #clock: Clock;
  readonly #entries: Record<SubscriptionKind, Map<string, Entry>> = {
    channel: new Map(),
    pattern: new Map(),
    sharded: new Map(),
  };
  #toSubscribe: Entry[] = [];
  #toUnsubscribe: Entry[] = [];
  #interrupted: Entry[] = [];
  #flushing = false;
  #retry: Timer | undefined;
  #attempts = 0;
  /** Sharded subscriptions have a connection of their own. */
  #shardedApart = false;
  readonly #lostSince = new Map<ConnectionRole, Date>();

  constructor(session: Session, clock: Clock) {
    this.#session = session;
    this.#clock = clock;
    session.listen({
      message: (kind, name, channel, payload) => this.#dispatch(kind, name, channel, payload),
      connection: (role, state) => this.#connectionChanged(role, state),
    });
  }

  /** How many subscriptions of each kind there are. */
  get sizes(): Record<SubscriptionKind, number> {
    const { channel, pattern, sharded } = this.#entries;
    return { channel: channel.size, pattern: pattern.size, sharded: sharded.size };
  }

  /** Adds `member`; resolves when Redis has confirmed the subscription. On rejection it is gone again. */
  join(kind: SubscriptionKind, name: string, member: Member): Promise<void> {
    const entries = this.#entries[kind];
    let entry = entries.get(name);
    if (entry === undefined) {
      entry = new Entry(kind, name);
      entries.set(name, entry);
    }
    entry.add(member);
    this.#advance(entry, 'changed');
    if (entry.phase === 'active') return Promise.resolve();
    return waiting(entry, 'joining');
  }

  /**
   * Takes `member` out: it is never called again. Resolves when Redis has confirmed, where it was
   * the last one.
   */
  leave(kind: SubscriptionKind, name: string, member: Member): Promise<void> {
    const entry = this.#entries[kind].get(name);
    if (entry === undefined || !entry.members.has(member)) {
      member.active = false;
      return Promise.resolve();
    }
    entry.remove(member);
    if (entry.active === 0 && this.#unpark(entry)) return Promise.resolve();
    this.#advance(entry, 'changed');
    if (entry.active > 0) return Promise.resolve();
    return waiting(entry, 'leaving');
  }

  #advance(entry: Entry, event: SubscriptionEvent, error?: Error): void {
    const next = step(entry.phase, event, entry.active > 0);
    entry.phase = next.phase;
    switch (next.effect) {
      case 'none':
        return;
      case 'subscribe':
        // Whoever left while UNSUBSCRIBE was under way has what he wanted.
        settle(entry, 'leaving');
        if (event === 'interrupted') return this.#subscribeLater(entry);
        this.#toSubscribe.push(entry);
        return this.#schedule();
      case 'unsubscribe':
        // Whoever joined has left again; nobody waits for that answer.
        settle(entry, 'joining');
        this.#toUnsubscribe.push(entry);
        return this.#schedule();
      case 'joined':
        this.#attempts = 0;
        settle(entry, 'leaving');
        settle(entry, 'joining');
        return this.#announceOwnGap(entry);
      case 'rejected':
        for (const member of [...entry.members]) entry.remove(member);
        this.#entries[entry.kind].delete(entry.name);
        settle(entry, 'leaving');
        return settle(entry, 'joining', error);
      case 'released':
        this.#entries[entry.kind].delete(entry.name);
        return settle(entry, 'leaving', event === 'refused' ? error : undefined);
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
      for (const kind of ['channel', 'pattern', 'sharded'] as const) {
        const kindJoining = joining.filter((entry) => entry.kind === kind);
        const kindLeaving = leaving.filter((entry) => entry.kind === kind);
        if (kindJoining.length > 0) void this.#send('subscribe', kind, kindJoining);
        if (kindLeaving.length > 0) void this.#send('unsubscribe', kind, kindLeaving);
      }
    });
  }

  async #send(command: 'subscribe' | 'unsubscribe', kind: SubscriptionKind, entries: Entry[]): Promise<void> {
    try {
      await this.#session.driver[command](
        kind,
        entries.map((entry) => entry.name),
      );
    } catch (error) {
      if (error instanceof ConnectionError) {
        for (const entry of entries) this.#advance(entry, 'interrupted');
      } else if (entries.length > 1) {
        // One refused name (an ACL rule, say) must not take the others with it.
        for (const entry of entries) void this.#send(command, kind, [entry]);
      } else {
        for (const entry of entries) this.#advance(entry, 'refused', error as Error);
      }
      return;
    }
    for (const entry of entries) this.#advance(entry, 'confirmed');
  }

  #subscribeLater(entry: Entry): void {
    this.#interrupted.push(entry);
    if (this.#retry !== undefined) return;
    const delay = Math.min(RETRY_DELAY * 2 ** this.#attempts++, MAX_RETRY_DELAY);
    this.#retry = this.#clock.after(jittered(this.#clock, delay, 0.5), () => this.#retryNow());
  }

  /** Nobody wants what waits for another attempt any more: Redis knows nothing of it. */
  #unpark(entry: Entry): boolean {
    const at = this.#interrupted.indexOf(entry);
    if (at < 0) return false;
    this.#interrupted.splice(at, 1);
    settle(entry, 'joining');
    this.#advance(entry, 'interrupted');
    return true;
  }

  #retryNow(): void {
    this.#retry?.cancel();
    this.#retry = undefined;
    const entries = this.#interrupted;
    this.#interrupted = [];
    for (const entry of entries) {
      // Left meanwhile: there is nothing at Redis to take back.
      if (entry.active === 0) this.#advance(entry, 'interrupted');
      else this.#toSubscribe.push(entry);
    }
    this.#schedule();
  }

  #connectionChanged(role: ConnectionRole, state: 'ready' | 'lost' | 'ended'): void {
    if (role === 'commands') return;
    if (role === 'sharded') this.#shardedApart = true;
    if (state !== 'ready') {
      if (!this.#lostSince.has(role)) this.#lostSince.set(role, new Date(this.#clock.now()));
      if (state === 'ended') this.#resubscribe(role);
      return;
    }
    const since = this.#lostSince.get(role);
    this.#lostSince.delete(role);
    if (since !== undefined) this.#announceGap(role, { reason: 'reconnected', since, recovered: false });
    if (this.#interrupted.length > 0) this.#retryNow();
  }

  /** The client has given up this connection: the driver opens another one when it is asked to subscribe. */
  #resubscribe(role: ConnectionRole): void {
    const since = this.#lostSince.get(role);
    this.#lostSince.delete(role);
    for (const entry of this.#carriedBy(role)) {
      entry.gapSince ??= since;
      this.#advance(entry, 'interrupted');
    }
  }

  #announceGap(role: ConnectionRole, discontinuity: Discontinuity): void {
    for (const entry of this.#carriedBy(role)) announce(entry, discontinuity);
  }

  #announceOwnGap(entry: Entry): void {
    const since = entry.gapSince;
    if (since === undefined) return;
    entry.gapSince = undefined;
    announce(entry, { reason: 'reconnected', since, recovered: false });
  }

  /** The active subscriptions of one connection. */
  #carriedBy(role: ConnectionRole): Entry[] {
    const all = (kind: SubscriptionKind) => [...this.#entries[kind].values()];
    const sharded = role === 'sharded' || !this.#shardedApart ? all('sharded') : [];
    const carried = role === 'sharded' ? sharded : [...all('channel'), ...all('pattern'), ...sharded];
    return carried.filter((entry) => entry.phase === 'active');
  }

  #dispatch(kind: SubscriptionKind, name: string, channel: string, payload: string): void {
    const entry = this.#entries[kind].get(name);
    // A message on its way when the last handler left.
    if (entry === undefined || entry.active === 0) return;
    const delivery = new Delivery(kind, name, channel, payload);
    const { departures, stretches } = entry;
    for (const stretch of stretches) delivery.through(stretch, entry, departures);
  }
}

function announce(entry: Entry, discontinuity: Discontinuity): void {
  for (const member of [...entry.members]) {
    if (member.active) tell(member.audience, member.onDiscontinuity, discontinuity, entry.name);
  }
}

function waiting(entry: Entry, list: 'joining' | 'leaving'): Promise<void> {
  return new Promise((resolve, reject) => {
    entry[list] ??= [];
    entry[list].push({ resolve, reject });
  });
}

function settle(entry: Entry, list: 'joining' | 'leaving', error?: Error): void {
  const waiters = entry[list];
  if (waiters === undefined) return;
  entry[list] = undefined;
  for (const waiter of waiters) {
    if (error === undefined) waiter.resolve();
    else waiter.reject(error);
  }
}

const hubs = new WeakMap<Session, Hub>();

/** The hub of `session`: one per client. */
export function hubFor(session: Session, clock: Clock): Hub {
  let hub = hubs.get(session);
  if (hub === undefined) {
    hub = new Hub(session, clock);
    hubs.set(session, hub);
  }
  return hub;
}
