import type { Position } from '../history/position.js';
import type { Codec } from '../internal/codec.js';
import { type ErrorReporter, isThenable, messageOf } from '../internal/diagnostics.js';
import { DecodeError } from '../internal/errors.js';
import type { Payload, SubscriptionKind } from '../redis/driver.js';
import { escapePattern } from '../redis/pattern.js';
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
  readonly #decoding = new WeakMap<Codec, Form>();
  readonly #raw = new WeakMap<Codec, Form>();

  constructor(
    readonly reporter: ErrorReporter,
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

  /** The form for handlers that get what `codec` reads, or payloads as they came: always the same one. */
  form(codec: Codec, raw: boolean): Form {
    const forms = raw ? this.#raw : this.#decoding;
    let form = forms.get(codec);
    if (form === undefined) {
      form = { audience: this, codec, raw };
      forms.set(codec, form);
    }
    return form;
  }
}

/** What handlers get, and whose they are; those who get the same share one. */
export interface Form {
  readonly audience: Audience;
  readonly codec: Codec;
  /** Payloads as they came, undecoded. */
  readonly raw: boolean;
}

/** How a {@link Member} leaves what it has joined. */
export interface Exit {
  leave(member: Member, names: Names): Promise<void>;
  positionOf(member: Member, names: Names): Position | undefined;
}

/** One name, as almost always, or some. */
export type Names = string | readonly string[];

/**
 * One handler's place in a subscription; also what its owner holds of it. There may be a hundred
 * thousand of them, so whatever some have in common is not in here.
 */
export class Member {
  // What every message needs comes first, where one look into memory finds it.
  readonly form: Form;
  readonly handler: RawHandler;
  /** False from the moment its owner let go: it is never called again. */
  active = true;
  readonly onDiscontinuity: ((discontinuity: Discontinuity) => void) | undefined;
  #exit: Exit | undefined = undefined;
  #names: Names = '';
  #left: Promise<void> | undefined = undefined;

  constructor(
    audience: Audience,
    handler: RawHandler,
    { codec, raw = false, onDiscontinuity }: MemberOptions,
  ) {
    this.handler = handler;
    this.form = audience.form(codec, raw);
    this.onDiscontinuity = onDiscontinuity;
  }

  get audience(): Audience {
    return this.form.audience;
  }

  get codec(): Codec {
    return this.form.codec;
  }

  /** It has joined under `names`, and leaves by `exit`. */
  joined(names: Names, exit: Exit): void {
    this.#names = names;
    this.#exit = exit;
  }

  get position(): Position | undefined {
    return this.#exit?.positionOf(this, this.#names);
  }

  /** Leaves, the first time. */
  leave(): Promise<void> {
    this.#left ??= this.#exit?.leave(this, this.#names) ?? Promise.resolve();
    return this.#left;
  }

  /** Made when it is asked for: it works without the member, and takes no room in it. */
  get unsubscribe(): () => Promise<void> {
    return () => this.leave();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.leave();
  }
}

/** What a {@link Member} is told beside. */
export interface MemberOptions {
  readonly codec: Codec;
  /** Gets payloads as they came, undecoded. */
  readonly raw?: boolean | undefined;
  readonly onDiscontinuity?: ((discontinuity: Discontinuity) => void) | undefined;
}

/** A queue behind a handler. */
export interface Gate {
  /** One message more would be one too many. */
  readonly full: boolean;
  /** Resolves when there is room again, or nobody reads any more. */
  drained(): Promise<void>;
}

/** Stands for what a payload did not hold. */
export const UNDECODED = Symbol('undecoded');

/** The subscription that a message came by. */
interface Source {
  readonly kind: SubscriptionKind;
  readonly name: string;
}

/** What one codec made of a message. */
interface Reading {
  readonly codec: Codec;
  readonly value: unknown;
  /** Those who know already that it could not be read. */
  readonly told: Audience[];
}

/** What one service's handlers are told of a message. */
interface Telling {
  readonly audience: Audience;
  readonly binary: boolean | undefined;
  readonly context: MessageContext;
}

/** One message on its way through a subscription's members; decoded at most once per codec. */
export class Delivery implements Source {
  // The latest comes first in either list, for neighbours nearly always have it in common.
  readonly #readings: Reading[] = [];
  readonly #tellings: Telling[] = [];

  constructor(
    readonly kind: SubscriptionKind,
    readonly name: string,
    readonly channel: string,
    readonly payload: Payload,
    readonly position?: Position | undefined,
    /** Without a place in the history, and its loss is none. */
    readonly transient = false,
  ) {}

  /**
   * Calls handlers who get one form. Never throws: this runs inside a client library's read loop. With
   * a thousand handlers this loop is all that counts, so it looks at nothing but them; who leaves
   * meanwhile is taken out of the list.
   */
  through({ audience, codec, raw }: Form, handlers: readonly RawHandler[]): void {
    const context = this.#contextFor(audience, codec);
    const message = raw ? context.raw : this.#read(codec, audience, context);
    if (message === UNDECODED) return;
    audience.delivered += handlers.length;
    let at = 0;
    while (at < handlers.length) {
      try {
        for (; at < handlers.length; at++) {
          // Not as a method of the list.
          const handler = handlers[at] as RawHandler;
          const result = handler(message, context);
          if (result !== undefined && isThenable(result)) follow(result, audience, context);
        }
      } catch (error) {
        failed(error, audience, context);
        at++;
      }
    }
  }

  #contextFor(audience: Audience, codec: Codec): MessageContext {
    let met = false;
    for (const telling of this.#tellings) {
      if (telling.audience !== audience) continue;
      if (telling.binary === codec.binary) return telling.context;
      met = true;
    }
    if (!met) audience.received++;
    const context = contextOf(audience, codec, this, this.channel, this.payload, this.position);
    this.#tellings.unshift({ audience, binary: codec.binary, context });
    return context;
  }

  #read(codec: Codec, audience: Audience, context: MessageContext): unknown {
    const known = this.#readings.find((reading) => reading.codec === codec);
    if (known === undefined) {
      const value = decodedBy(codec, context.raw, audience, context);
      this.#readings.unshift({ codec, value, told: [audience] });
      return value;
    }
    if (known.value === UNDECODED && !known.told.includes(audience)) {
      known.told.push(audience);
      decodedBy(codec, context.raw, audience, context);
    }
    return known.value;
  }
}

/** The same for a handler that is alone in its subscription, as most are. */
export function deliver(
  { form: { audience, codec, raw }, handler }: Member,
  source: Source,
  channel: string,
  payload: Payload,
  position: Position | undefined,
): void {
  const context = contextOf(audience, codec, source, channel, payload, position);
  audience.received++;
  const message = raw ? context.raw : decodedBy(codec, context.raw, audience, context);
  if (message === UNDECODED) return;
  audience.delivered++;
  try {
    const result = handler(message, context);
    if (result !== undefined && isThenable(result)) follow(result, audience, context);
  } catch (error) {
    failed(error, audience, context);
  }
}

function contextOf(
  audience: Audience,
  codec: Codec,
  { kind, name }: Source,
  sentTo: string,
  payload: Payload,
  position: Position | undefined,
): MessageContext {
  const channel = audience.shown('channel', sentTo);
  const raw = codec.binary === true ? bytesOf(payload) : textOf(payload);
  if (kind === 'pattern') {
    const pattern = audience.shown(kind, name);
    return position === undefined ? { channel, pattern, raw } : { channel, pattern, position, raw };
  }
  return position === undefined ? { channel, raw } : { channel, position, raw };
}

/** Counts a handler that is still running, and reports its failure. */
function follow(result: PromiseLike<unknown>, audience: Audience, context: MessageContext): void {
  audience.running++;
  result.then(
    () => {
      audience.running--;
    },
    (error: unknown) => {
      audience.running--;
      failed(error, audience, context);
    },
  );
}

function failed(error: unknown, audience: Audience, context: MessageContext): void {
  audience.failed++;
  audience.reporter.reportHandlerError(error, whereOf(context));
}

/** A message's origin, for reports. */
interface Where {
  readonly channel: string;
  readonly pattern?: string;
}

function whereOf({ channel, pattern }: Where): Where {
  return pattern === undefined ? { channel } : { channel, pattern };
}

/** What `codec` reads in `payload`, or {@link UNDECODED} once that has been reported. */
export function decodedBy(codec: Codec, payload: Payload, audience: Audience, where: Where): unknown {
  try {
    return (codec.decode as (payload: Payload) => unknown)(payload);
  } catch (cause) {
    audience.undecodable++;
    const error = new DecodeError(
      `a message on channel ${JSON.stringify(where.channel)} cannot be decoded: ${messageOf(cause)}`,
      { cause },
    );
    audience.reporter.report(error, { stage: 'decode', ...whereOf(where) });
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
  const failed = (error: unknown) => audience.reporter.reportHandlerError(error, { channel });
  try {
    const result: unknown = onDiscontinuity?.(discontinuity);
    if (isThenable(result)) result.then(undefined, failed);
  } catch (error) {
    failed(error);
  }
}
