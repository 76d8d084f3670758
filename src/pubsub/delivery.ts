import type { Codec } from '../codec.js';
import { isThenable, messageOf, type Reporter } from '../diagnostics.js';
import { DecodeError } from '../errors.js';
import { escapePattern } from '../keys.js';
import type { SubscriptionKind } from '../redis/driver.js';

/** What comes with a message. */
export interface MessageContext {
  /** The channel it was published to. */
  readonly channel: string;
  /** The pattern that matched, for handlers of a pattern. */
  readonly pattern?: string;
  /** The payload as it came, before decoding. */
  readonly raw: string;
}

/** A stretch in which messages may have been missed. */
export interface Discontinuity {
  /** `reconnected`: the connection broke and is back. `overflow`: a local queue was full. */
  readonly reason: 'reconnected' | 'overflow';
  /** Since when messages may be missing, by this process's clock. */
  readonly since: Date;
  /** True when everything missed was delivered after all; always false without history. */
  readonly recovered: boolean;
}

/** Gets a message; a rejected promise counts as a failure, and nobody waits for it. */
export type RawHandler = (message: unknown, context: MessageContext) => unknown;

/** What handlers of one service have in common. */
export class Audience {
  /** Promises of asynchronous handlers that are still running. */
  running = 0;
  received = 0;
  delivered = 0;
  failed = 0;
  undecodable = 0;

  constructor(
    readonly codec: Codec,
    readonly reporter: Reporter,
    /** What the service puts before every channel; taken off again for handlers. */
    readonly prefix = '',
  ) {}
}

/** One handler's place in a subscription. */
export class Member {
  /** False from the moment its owner let go: it is never called again. */
  active = true;

  constructor(
    readonly audience: Audience,
    readonly handler: RawHandler,
    /** Gets payloads as they came, undecoded. */
    readonly raw: boolean,
    readonly onDiscontinuity?: (discontinuity: Discontinuity) => void,
  ) {}
}

/** Neighbours in a subscription that get the same thing, and so can be called in one tight loop. */
export interface Stretch {
  readonly audience: Audience;
  readonly raw: boolean;
  readonly members: readonly Member[];
  /** The members' own, side by side in memory. */
  readonly handlers: readonly RawHandler[];
}

/** `members` in their order, divided into stretches. */
export function stretchesOf(members: Iterable<Member>): Stretch[] {
  const stretches: { audience: Audience; raw: boolean; members: Member[]; handlers: RawHandler[] }[] = [];
  for (const member of members) {
    const { audience, raw, handler } = member;
    let last = stretches.at(-1);
    if (last === undefined || last.audience !== audience || last.raw !== raw) {
      last = { audience, raw, members: [], handlers: [] };
      stretches.push(last);
    }
    last.members.push(member);
    last.handlers.push(handler);
  }
  return stretches;
}

const UNDECODED = Symbol('undecoded');

/** One message on its way through a subscription's members; decoded at most once per codec. */
export class Delivery {
  #codec: Codec | undefined;
  #value: unknown = UNDECODED;
  #audience: Audience | undefined;
  #context: MessageContext | undefined;

  constructor(
    readonly kind: SubscriptionKind,
    readonly name: string,
    readonly channel: string,
    readonly payload: string,
  ) {}

  /**
   * Calls the handlers of a stretch. Never throws: this runs inside a client library's read loop. With
   * a thousand handlers this loop is all that counts: it looks at members only once one has left.
   */
  through(stretch: Stretch, presence: { readonly departures: number }, departures: number): void {
    const { audience, raw, members, handlers } = stretch;
    if (audience !== this.#audience) this.#meet(audience);
    if (!raw && this.#codec !== audience.codec) this.#decode(audience);
    const message = raw ? this.payload : this.#value;
    if (message === UNDECODED) return;
    const context = this.#context as MessageContext;
    let skipped = 0;
    for (let at = 0; at < handlers.length; at++) {
      if (presence.departures !== departures && !(members[at] as Member).active) {
        skipped++;
        continue;
      }
      try {
        const result = (handlers[at] as RawHandler)(message, context);
        if (result !== undefined && isThenable(result)) this.#follow(audience, result);
      } catch (error) {
        this.#failed(audience, error);
      }
    }
    audience.delivered += handlers.length - skipped;
  }

  #meet(audience: Audience): void {
    this.#audience = audience;
    audience.received++;
    const strip = audience.prefix.length;
    const channel = strip === 0 ? this.channel : this.channel.slice(strip);
    this.#context =
      this.kind === 'pattern'
        ? {
            channel,
            pattern: strip === 0 ? this.name : patternWithout(audience.prefix, this.name),
            raw: this.payload,
          }
        : { channel, raw: this.payload };
  }

  #decode(audience: Audience): void {
    this.#codec = audience.codec;
    this.#value = UNDECODED;
    try {
      this.#value = audience.codec.decode(this.payload);
    } catch (cause) {
      audience.undecodable++;
      const error = new DecodeError(
        `a message on channel ${JSON.stringify(this.channel)} cannot be decoded: ${messageOf(cause)}`,
        { cause },
      );
      audience.reporter.report(error, { stage: 'decode', ...this.#where() });
    }
  }

  #follow(audience: Audience, result: PromiseLike<unknown>): void {
    audience.running++;
    result.then(
      () => {
        audience.running--;
      },
      (error: unknown) => {
        audience.running--;
        this.#failed(audience, error);
      },
    );
  }

  #failed(audience: Audience, error: unknown): void {
    audience.failed++;
    audience.reporter.handlerFailed(error, this.#where());
  }

  #where(): { channel: string; pattern?: string } {
    const { channel, pattern } = this.#context as MessageContext;
    return pattern === undefined ? { channel } : { channel, pattern };
  }
}

function patternWithout(prefix: string, pattern: string): string {
  return pattern.slice(escapePattern(prefix).length);
}

/** Tells `listener` of a gap; what it throws or rejects with goes to its service's `onError`. */
export function tell(
  { reporter }: Audience,
  listener: ((discontinuity: Discontinuity) => unknown) | undefined,
  discontinuity: Discontinuity,
  channel: string,
): void {
  const failed = (error: unknown) => reporter.handlerFailed(error, { channel });
  try {
    const result = listener?.(discontinuity);
    if (isThenable(result)) result.then(undefined, failed);
  } catch (error) {
    failed(error);
  }
}
