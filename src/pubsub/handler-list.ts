import type { Position } from '../history/position.js';
import { telemetry } from '../internal/telemetry.js';
import type { Payload, SubscriptionKind } from '../redis/driver.js';
import { callDiscontinuityListener, type Delivery } from './delivery.js';
import type { Discontinuity } from './discontinuity.js';
import type { HandlerSubscription } from './handler-subscription.js';
import type { RawHandler } from './message-context.js';
import type { PayloadFormat, ServiceContext } from './service-context.js';

/** Neighbours in a crowd that get the same thing, and so can be called in one tight loop. */
interface HandlerRun {
  readonly form: PayloadFormat;
  readonly members: readonly HandlerSubscription[];
  /** The members' own, side by side in memory. */
  readonly handlers: RawHandler[];
}

/** Members who get the same messages, in the order in which they came. */
export class HandlerList {
  readonly #members: Set<HandlerSubscription>;
  #stretches: readonly HandlerRun[] | undefined;
  /** What the message on its way goes through. */
  #dispatching: readonly HandlerRun[] | undefined;

  constructor(members: Iterable<HandlerSubscription> = []) {
    this.#members = new Set(members);
  }

  get size(): number {
    return this.#members.size;
  }

  [Symbol.iterator](): Iterator<HandlerSubscription> {
    return this.#members[Symbol.iterator]();
  }

  has(member: HandlerSubscription): boolean {
    return this.#members.has(member);
  }

  add(member: HandlerSubscription): void {
    this.#members.add(member);
    this.#stretches = undefined;
  }

  /** False when it was not there. A message on its way does not reach it any more. */
  delete(member: HandlerSubscription): boolean {
    if (!this.#members.delete(member)) return false;
    if (this.#dispatching !== undefined) skipInRuns(this.#dispatching, member);
    this.#stretches = undefined;
    return true;
  }

  /** Takes over all of `other`. */
  absorb(other: HandlerList): void {
    for (const member of other.#members) this.add(member);
    other.#members.clear();
    other.#stretches = undefined;
  }

  /** Hands a message to everybody who is there, and to nobody who joins meanwhile. */
  dispatch(delivery: Delivery): void {
    emitDeliverEvent(this.size, delivery.kind, delivery.channel, delivery.payload, delivery.position);
    this.#stretches ??= groupIntoRuns(this.#members);
    const before = this.#dispatching;
    this.#dispatching = this.#stretches;
    for (const { form, handlers } of this.#stretches) delivery.dispatchTo(form, handlers);
    this.#dispatching = before;
  }
}

/** `members` in their order, divided into stretches. */
function groupIntoRuns(members: Iterable<HandlerSubscription>): HandlerRun[] {
  const stretches: (HandlerRun & { members: HandlerSubscription[] })[] = [];
  for (const member of members) {
    const { form, handler } = member;
    let last = stretches.at(-1);
    if (last?.form !== form) {
      last = { form, members: [], handlers: [] };
      stretches.push(last);
    }
    last.members.push(member);
    last.handlers.push(handler);
  }
  return stretches;
}

/** Takes `member` out of stretches that a message may be on its way through. */
function skipInRuns(stretches: readonly HandlerRun[], member: HandlerSubscription): void {
  for (const { form, members, handlers } of stretches) {
    const at = members.indexOf(member);
    if (at < 0) continue;
    // Called in the member's place, if its turn has not come yet.
    handlers[at] = () => {
      form.audience.delivered--;
    };
  }
}

/** Tells whoever listens to telemetry that `handlers` get a message. */
export function emitDeliverEvent(
  handlers: number,
  kind: SubscriptionKind,
  channel: string,
  payload: Payload,
  position: Position | undefined,
): void {
  if (!telemetry.deliver.hasSubscribers) return;
  const common = { kind, channel, size: payload.length, handlers };
  telemetry.deliver.emit(position === undefined ? common : { ...common, position });
}

/** The services that `members` belong to. */
export function servicesOf(members: Iterable<HandlerSubscription>): Set<ServiceContext> {
  const audiences = new Set<ServiceContext>();
  for (const { audience } of members) audiences.add(audience);
  return audiences;
}

/** Tells all `members` of a subscription that messages may be missing, or were. */
export function notifyDiscontinuity(
  members: readonly HandlerSubscription[],
  discontinuity: Discontinuity,
  { kind, name }: { readonly kind: SubscriptionKind; readonly name: string },
): void {
  if (telemetry.discontinuity.hasSubscribers) {
    const { reason, since, recovered } = discontinuity;
    const told = { reason, since: since.getTime(), recovered, handlers: members.length };
    telemetry.discontinuity.emit({ kind, channel: name, ...told });
  }
  for (const member of members) {
    if (member.active)
      callDiscontinuityListener(member, discontinuity, member.audience.stripPrefix(kind, name));
  }
}
