import type { Position } from '../history/position.js';
import { telemetry } from '../internal/telemetry.js';
import type { Payload, SubscriptionKind } from '../redis/driver.js';
import { type Audience, type Delivery, type Form, type Member, type RawHandler, tell } from './delivery.js';
import type { Discontinuity } from './discontinuity.js';

/** Neighbours in a crowd that get the same thing, and so can be called in one tight loop. */
interface Stretch {
  readonly form: Form;
  readonly members: readonly Member[];
  /** The members' own, side by side in memory. */
  readonly handlers: RawHandler[];
}

/** Members who get the same messages, in the order in which they came. */
export class Crowd {
  readonly #members: Set<Member>;
  #stretches: readonly Stretch[] | undefined;
  /** What the message on its way goes through. */
  #onTheWay: readonly Stretch[] | undefined;

  constructor(members: Iterable<Member> = []) {
    this.#members = new Set(members);
  }

  get size(): number {
    return this.#members.size;
  }

  [Symbol.iterator](): Iterator<Member> {
    return this.#members[Symbol.iterator]();
  }

  has(member: Member): boolean {
    return this.#members.has(member);
  }

  add(member: Member): void {
    this.#members.add(member);
    this.#stretches = undefined;
  }

  /** False when it was not there. A message on its way does not reach it any more. */
  delete(member: Member): boolean {
    if (!this.#members.delete(member)) return false;
    if (this.#onTheWay !== undefined) withdraw(this.#onTheWay, member);
    this.#stretches = undefined;
    return true;
  }

  /** Takes over all of `other`. */
  absorb(other: Crowd): void {
    for (const member of other.#members) this.add(member);
    other.#members.clear();
    other.#stretches = undefined;
  }

  /** Hands a message to everybody who is there, and to nobody who joins meanwhile. */
  hear(delivery: Delivery): void {
    reportDelivery(this.size, delivery.kind, delivery.channel, delivery.payload, delivery.position);
    this.#stretches ??= stretchesOf(this.#members);
    const before = this.#onTheWay;
    this.#onTheWay = this.#stretches;
    for (const { form, handlers } of this.#stretches) delivery.through(form, handlers);
    this.#onTheWay = before;
  }
}

/** `members` in their order, divided into stretches. */
function stretchesOf(members: Iterable<Member>): Stretch[] {
  const stretches: (Stretch & { members: Member[] })[] = [];
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
function withdraw(stretches: readonly Stretch[], member: Member): void {
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
export function reportDelivery(
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
export function audiencesOf(members: Iterable<Member>): Set<Audience> {
  const audiences = new Set<Audience>();
  for (const { audience } of members) audiences.add(audience);
  return audiences;
}

/** Tells all `members` of a subscription that messages may be missing, or were. */
export function tellAll(
  members: readonly Member[],
  discontinuity: Discontinuity,
  { kind, name }: { readonly kind: SubscriptionKind; readonly name: string },
): void {
  if (telemetry.discontinuity.hasSubscribers) {
    const { reason, since, recovered } = discontinuity;
    const told = { reason, since: since.getTime(), recovered, handlers: members.length };
    telemetry.discontinuity.emit({ kind, channel: name, ...told });
  }
  for (const member of members) {
    if (member.active) tell(member, discontinuity, member.audience.shown(kind, name));
  }
}
