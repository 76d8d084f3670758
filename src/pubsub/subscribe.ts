import type { Position } from '../history/position.js';
import { onAbort } from '../internal/abort.js';
import { ClosedError } from '../internal/errors.js';
import { assertSignal } from '../internal/validate.js';
import type { ClientHandle } from '../redis/client-handle.js';
import type { SubscriptionKind } from '../redis/driver.js';
import type { Start } from './cohort.js';
import type { Exit, Gate, Member, Names } from './delivery.js';
import type { Hub } from './hub.js';

/** A handler's place in a subscription. */
export interface Subscription {
  /**
   * Where the handler stands in the channel's history: the last message it got, or after which it
   * begins. `undefined` for channels without history, patterns, and what is unsubscribed.
   */
  readonly position: Position | undefined;
  /**
   * Takes the handler out; from this moment it is not called again. Resolves when Redis has
   * confirmed, where it was the last one; with `unsubscribeDelay` at once. Idempotent, and works
   * detached from the object.
   */
  unsubscribe(): Promise<void>;
  /** The same, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** Functions that undo what a service has begun; it calls them all when it closes. */
export class Leaving {
  /** The service is closing: nothing is to outlive its last handler. */
  ending = false;
  /** How its handlers come and go. */
  readonly doors = new Map<SubscriptionKind, Door>();
  readonly #functions = new Set<() => Promise<void>>();
  readonly #members = new Set<Member>();

  get size(): number {
    return this.#functions.size + this.#members.size;
  }

  add(leaving: Member | (() => Promise<void>)): void {
    if (typeof leaving === 'function') this.#functions.add(leaving);
    else this.#members.add(leaving);
  }

  delete(leaving: Member | (() => Promise<void>)): void {
    if (typeof leaving === 'function') this.#functions.delete(leaving);
    else this.#members.delete(leaving);
  }

  *[Symbol.iterator](): Generator<() => Promise<void>> {
    yield* this.#functions;
    for (const member of this.#members) yield member.unsubscribe;
  }
}

/** Where a handler is to be added, and by whom. */
export interface SubscribeRequest {
  readonly link: ClientHandle;
  readonly hub: Hub;
  readonly leaving: Leaving;
  readonly kind: SubscriptionKind;
  readonly names: Names;
  readonly member: Member;
  /** Where in the channel's history to begin; without it, with what comes. */
  readonly start?: Start | undefined;
  /** Where its messages wait, when that can run full. */
  readonly gate?: Gate | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Adds a handler under some names, for as long as its subscription and its signal last. When it
 * rejects, the handler is gone.
 */
export async function subscribe(request: SubscribeRequest): Promise<Subscription> {
  const { link, hub, leaving, kind, member, signal } = request;
  assertSignal(signal);
  let door = leaving.doors.get(kind);
  if (door === undefined) {
    door = new Door(link, hub, leaving, kind);
    leaving.doors.set(kind, door);
  }
  try {
    await door.enter(request);
  } catch (error) {
    member.leave().catch(() => {});
    throw error;
  }
  return member;
}

/** The way in and out of one kind of subscriptions, for all handlers of a service. */
class Door implements Exit {
  readonly #link: ClientHandle;
  readonly #hub: Hub;
  readonly #leaving: Leaving;
  readonly #kind: SubscriptionKind;
  /** For those who have a signal: ends their interest in it. */
  readonly #forget = new Map<Member, () => void>();

  constructor(link: ClientHandle, hub: Hub, leaving: Leaving, kind: SubscriptionKind) {
    this.#link = link;
    this.#hub = hub;
    this.#leaving = leaving;
    this.#kind = kind;
  }

  enter({ names, member, start, gate, signal }: SubscribeRequest): Promise<unknown> {
    member.joined(names, this);
    this.#leaving.add(member);
    const join = (name: string) => this.#hub.join(this.#kind, name, member, start, gate);
    const joined = this.#link.withDeadline('subscribe', () => forEach(names, join));
    return signal === undefined ? joined : Promise.race([joined, this.#aborted(member, signal)]);
  }

  positionOf(member: Member, names: Names): Position | undefined {
    return typeof names === 'string' ? this.#hub.positionOf(this.#kind, names, member) : undefined;
  }

  leave(member: Member, names: Names): Promise<void> {
    this.#forget.get(member)?.();
    this.#forget.delete(member);
    this.#leaving.delete(member);
    const delay = this.#link.closed || this.#leaving.ending ? 0 : member.audience.unsubscribeDelay;
    const leave = (name: string) => this.#hub.leave(this.#kind, name, member, delay);
    return this.#link
      .withDeadline('unsubscribe', () => forEach(names, leave))
      .then(undefined, (error: unknown) => {
        // The service's end takes everything out; there is nothing to fail.
        if (!(error instanceof ClosedError)) throw error;
      });
  }

  /** Rejects when `signal` aborts; the member leaves then, also later. */
  #aborted(member: Member, signal: AbortSignal): Promise<never> {
    return new Promise((_, reject) => {
      const forget = onAbort(signal, (reason) => {
        member.leave().catch((error) => member.audience.reporter.report(error, { stage: 'unsubscribe' }));
        reject(reason);
      });
      this.#forget.set(member, forget);
    });
  }
}

/** Done when `task` is, for every one of `names`. */
async function forEach(names: Names, task: (name: string) => Promise<void>): Promise<void> {
  if (typeof names === 'string') return task(names);
  await Promise.all(names.map(task));
}
