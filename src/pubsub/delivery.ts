import type { Codec } from '../codec.js';
import { isThenable, messageOf, type Reporter } from '../diagnostics.js';
import { DecodeError } from '../errors.js';
import type { Position } from '../history/position.js';
import { escapePattern } from '../keys.js';
import type { Payload, SubscriptionKind } from '../redis/driver.js';
import type { Discontinuity } from './discontinuity.js';

/** What comes with a message. */
export interface MessageContext {
  /** The channel it was published to. */
  readonly channel: string;
  /** The pattern that matched, for handlers of a pattern. */
  readonly pattern?: string;
  /** Its place in the channel's history, where it was published with one. */
  readonly position?: Position;
  /** The payload as it came, before decoding: text, or a Buffer where the codec is a binary one. */
  readonly raw: string | Buffer;
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
    readonly reporter: Reporter,
    /** What the service puts before every channel; taken off again for handlers. */
    readonly prefix = '',
    /** For how long, in ms, a subscription outlives its last handler. */
    readonly unsubscribeDelay = 0,
  ) {}

  /** `name` of a subscription as handlers know it. */
  shown(kind: SubscriptionKind, name: string): string {
    const { prefix } = this;
    if (prefix === '') return name;
    return name.slice(kind === 'pattern' ? escapePattern(prefix).length : prefix.length);
  }
}

/** One handler's place in a subscription. */
export class Member {
  /** False from the moment its owner let go: it is never called again. */
  active = true;

  readonly codec: Codec;
  readonly raw: boolean;
  readonly onDiscontinuity: ((discontinuity: Discontinuity) => void) | undefined;
  readonly gate: Gate | undefined;

  constructor(
    readonly audience: Audience,
    readonly handler: RawHandler,
    { codec, raw = false, onDiscontinuity, gate }: MemberOptions,
  ) {
    this.codec = codec;
    this.raw = raw;
    this.onDiscontinuity = onDiscontinuity;
    this.gate = gate;
  }
}

/** What a {@link Member} is told beside. */
export interface MemberOptions {
  readonly codec: Codec;
  /** Gets payloads as they came, undecoded. */
  readonly raw?: boolean | undefined;
  readonly onDiscontinuity?: ((discontinuity: Discontinuity) => void) | undefined;
  /** Where its messages wait, when that can run full. */
  readonly gate?: Gate | undefined;
}

/** A queue behind a handler. */
export interface Gate {
  /** One message more would be one too many. */
  readonly full: boolean;
  /** Resolves when there is room again, or nobody reads any more. */
  drained(): Promise<void>;
}

/** Neighbours in a subscription that get the same thing, and so can be called in one tight loop. */
export interface Stretch {
  readonly audience: Audience;
  readonly codec: Codec;
  readonly raw: boolean;
  readonly members: readonly Member[];
  /** The members' own, side by side in memory. */
  readonly handlers: RawHandler[];
}

/** Takes `member` out of stretches that a message may be on its way through. */
export function withdraw(stretches: readonly Stretch[], member: Member): void {
  for (const { audience, members, handlers } of stretches) {
    const at = members.indexOf(member);
    if (at < 0) continue;
    // Called in the member's place, if its turn has not come yet.
    handlers[at] = () => {
      audience.delivered--;
    };
  }
}

/** `members` in their order, divided into stretches. */
export function stretchesOf(members: Iterable<Member>): Stretch[] {
  type Growing = {
    audience: Audience;
    codec: Codec;
    raw: boolean;
    members: Member[];
    handlers: RawHandler[];
  };
  const stretches: Growing[] = [];
  for (const member of members) {
    const { audience, codec, raw, handler } = member;
    let last = stretches.at(-1);
    if (last?.audience !== audience || last.codec !== codec || last.raw !== raw) {
      last = { audience, codec, raw, members: [], handlers: [] };
      stretches.push(last);
    }
    last.members.push(member);
    last.handlers.push(handler);
  }
  return stretches;
}

/** Stands for what a payload did not hold. */
export const UNDECODED = Symbol('undecoded');

/** One message on its way through a subscription's members; decoded at most once per codec. */
export class Delivery {
  #codec: Codec | undefined;
  #value: unknown = UNDECODED;
  #audience: Audience | undefined;
  #binary: boolean | undefined;
  #context: MessageContext | undefined;

  constructor(
    readonly kind: SubscriptionKind,
    readonly name: string,
    readonly channel: string,
    readonly payload: Payload,
    readonly position?: Position | undefined,
  ) {}

  /**
   * Calls the handlers of a stretch. Never throws: this runs inside a client library's read loop. With
   * a thousand handlers this loop is all that counts, so it looks at nothing but them; who leaves
   * meanwhile is taken out by {@link withdraw}.
   */
  through({ audience, codec, raw, handlers }: Stretch): void {
    if (audience !== this.#audience || codec.binary !== this.#binary) this.#meet(audience, codec);
    const context = this.#context as MessageContext;
    if (!raw && this.#codec !== codec) this.#decode(audience, codec, context.raw);
    const message = raw ? context.raw : this.#value;
    if (message === UNDECODED) return;
    audience.delivered += handlers.length;
    let at = 0;
    while (at < handlers.length) {
      try {
        for (; at < handlers.length; at++) {
          const result = (handlers[at] as RawHandler)(message, context);
          if (result !== undefined && isThenable(result)) this.#follow(audience, result);
        }
      } catch (error) {
        this.#failed(audience, error);
        at++;
      }
    }
  }

  #meet(audience: Audience, codec: Codec): void {
    if (audience !== this.#audience) audience.received++;
    this.#audience = audience;
    this.#binary = codec.binary;
    const { kind, payload, position } = this;
    const channel = audience.shown('channel', this.channel);
    const raw = codec.binary === true ? bytesOf(payload) : textOf(payload);
    const pattern = kind === 'pattern' ? { pattern: audience.shown(kind, this.name) } : undefined;
    if (position === undefined) this.#context = pattern ? { channel, ...pattern, raw } : { channel, raw };
    else this.#context = { channel, ...pattern, position, raw };
  }

  #decode(audience: Audience, codec: Codec, raw: Payload): void {
    this.#codec = codec;
    this.#value = decodedBy(codec, raw, audience, this.#where());
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

/** What `codec` reads in `payload`, or {@link UNDECODED} once that has been reported. */
export function decodedBy(
  codec: Codec,
  payload: Payload,
  audience: Audience,
  where: { channel: string; pattern?: string },
): unknown {
  try {
    return (codec.decode as (payload: Payload) => unknown)(payload);
  } catch (cause) {
    audience.undecodable++;
    const error = new DecodeError(
      `a message on channel ${JSON.stringify(where.channel)} cannot be decoded: ${messageOf(cause)}`,
      { cause },
    );
    audience.reporter.report(error, { stage: 'decode', ...where });
    return UNDECODED;
  }
}

function textOf(payload: Payload): string {
  return typeof payload === 'string' ? payload : payload.toString();
}

function bytesOf(payload: Payload): Buffer {
  return typeof payload === 'string' ? Buffer.from(payload) : payload;
}

/** Tells a handler's owner of `channel`; what the listener throws or rejects with goes to the service's `onError`. */
export function tell(
  { audience, onDiscontinuity }: Pick<Member, 'audience' | 'onDiscontinuity'>,
  discontinuity: Discontinuity,
  channel: string,
): void {
  const failed = (error: unknown) => audience.reporter.handlerFailed(error, { channel });
  try {
    const result: unknown = onDiscontinuity?.(discontinuity);
    if (isThenable(result)) result.then(undefined, failed);
  } catch (error) {
    failed(error);
  }
}
