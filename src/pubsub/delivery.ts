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
export class ServiceContext {
  /** Promises of asynchronous handlers that are still running. */
  running = 0;
  received = 0;
  delivered = 0;
  failed = 0;
  undecodable = 0;
  readonly #decoding = new WeakMap<Codec, PayloadFormat>();
  readonly #raw = new WeakMap<Codec, PayloadFormat>();

  constructor(
    readonly reporter: ErrorReporter,
    /** What the service puts before every channel; taken off again for handlers. */
    readonly prefix = '',
    /** For how long, in ms, a subscription outlives its last handler. */
    readonly unsubscribeDelay = 0,
  ) {}

  /** `name` of a subscription as handlers know it. */
  stripPrefix(kind: SubscriptionKind, name: string): string {
    const { prefix } = this;
    if (prefix === '') return name;
    return name.slice(kind === 'pattern' ? escapePattern(prefix).length : prefix.length);
  }

  /** The form for handlers that get what `codec` reads, or payloads as they came: always the same one. */
  formatFor(codec: Codec, raw: boolean): PayloadFormat {
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
export interface PayloadFormat {
  readonly audience: ServiceContext;
  readonly codec: Codec;
  /** Payloads as they came, undecoded. */
  readonly raw: boolean;
}

/** How a {@link HandlerSubscription} leaves what it has joined. */
export interface SubscriptionOwner {
  remove(member: HandlerSubscription, names: ChannelNames): Promise<void>;
  positionOf(member: HandlerSubscription, names: ChannelNames): Position | undefined;
}

/** One name, as almost always, or some. */
export type ChannelNames = string | readonly string[];

/**
 * One handler's place in a subscription; also what its owner holds of it. There may be a hundred
 * thousand of them, so whatever some have in common is not in here.
 */
export class HandlerSubscription {
  // What every message needs comes first, where one look into memory finds it.
  readonly form: PayloadFormat;
  readonly handler: RawHandler;
  /** False from the moment its owner let go: it is never called again. */
  active = true;
  readonly onDiscontinuity: ((discontinuity: Discontinuity) => void) | undefined;
  #exit: SubscriptionOwner | undefined = undefined;
  #names: ChannelNames = '';
  #left: Promise<void> | undefined = undefined;

  constructor(
    audience: ServiceContext,
    handler: RawHandler,
    { codec, raw = false, onDiscontinuity }: HandlerSubscriptionOptions,
  ) {
    this.handler = handler;
    this.form = audience.formatFor(codec, raw);
    this.onDiscontinuity = onDiscontinuity;
  }

  get audience(): ServiceContext {
    return this.form.audience;
  }

  get codec(): Codec {
    return this.form.codec;
  }

  /** It has joined under `names`, and leaves by `exit`. */
  attachedTo(names: ChannelNames, exit: SubscriptionOwner): void {
    this.#names = names;
    this.#exit = exit;
  }

  get position(): Position | undefined {
    return this.#exit?.positionOf(this, this.#names);
  }

  /** Repeated calls return the same promise. */
  #remove(): Promise<void> {
    this.#left ??= this.#exit?.remove(this, this.#names) ?? Promise.resolve();
    return this.#left;
  }

  /** A getter, so that it works detached from the subscription and takes no memory in it. */
  get unsubscribe(): () => Promise<void> {
    return () => this.#remove();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#remove();
  }
}

/** What a {@link HandlerSubscription} is told beside. */
export interface HandlerSubscriptionOptions {
  readonly codec: Codec;
  /** Gets payloads as they came, undecoded. */
  readonly raw?: boolean | undefined;
  readonly onDiscontinuity?: ((discontinuity: Discontinuity) => void) | undefined;
}

/** A queue behind a handler. */
export interface Backpressure {
  /** One message more would be one too many. */
  readonly full: boolean;
  /** Resolves when there is room again, or nobody reads any more. */
  drained(): Promise<void>;
}

/** Stands for what a payload did not hold. */
export const DECODE_FAILED = Symbol('undecoded');

/** The subscription that a message came by. */
interface SubscriptionKey {
  readonly kind: SubscriptionKind;
  readonly name: string;
}

/** What one codec made of a message. */
interface DecodeResult {
  readonly codec: Codec;
  readonly value: unknown;
  /** Those who know already that it could not be read. */
  readonly told: ServiceContext[];
}

/** What one service's handlers are told of a message. */
interface CachedContext {
  readonly audience: ServiceContext;
  readonly binary: boolean | undefined;
  readonly context: MessageContext;
}

/** One message on its way through a subscription's members; decoded at most once per codec. */
export class Delivery implements SubscriptionKey {
  // The latest comes first in either list, for neighbours nearly always have it in common.
  readonly #readings: DecodeResult[] = [];
  readonly #tellings: CachedContext[] = [];

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
  dispatchTo({ audience, codec, raw }: PayloadFormat, handlers: readonly RawHandler[]): void {
    const context = this.#contextFor(audience, codec);
    const message = raw ? context.raw : this.#decodeOnce(codec, audience, context);
    if (message === DECODE_FAILED) return;
    audience.delivered += handlers.length;
    let at = 0;
    while (at < handlers.length) {
      try {
        for (; at < handlers.length; at++) {
          // Not as a method of the list.
          const handler = handlers[at] as RawHandler;
          const result = handler(message, context);
          if (result !== undefined && isThenable(result)) trackAsyncHandler(result, audience, context);
        }
      } catch (error) {
        reportHandlerError(error, audience, context);
        at++;
      }
    }
  }

  #contextFor(audience: ServiceContext, codec: Codec): MessageContext {
    let met = false;
    for (const telling of this.#tellings) {
      if (telling.audience !== audience) continue;
      if (telling.binary === codec.binary) return telling.context;
      met = true;
    }
    if (!met) audience.received++;
    const context = createContext(audience, codec, this, this.channel, this.payload, this.position);
    this.#tellings.unshift({ audience, binary: codec.binary, context });
    return context;
  }

  #decodeOnce(codec: Codec, audience: ServiceContext, context: MessageContext): unknown {
    const known = this.#readings.find((reading) => reading.codec === codec);
    if (known === undefined) {
      const value = decodePayload(codec, context.raw, audience, context);
      this.#readings.unshift({ codec, value, told: [audience] });
      return value;
    }
    if (known.value === DECODE_FAILED && !known.told.includes(audience)) {
      known.told.push(audience);
      decodePayload(codec, context.raw, audience, context);
    }
    return known.value;
  }
}

/** The same for a handler that is alone in its subscription, as most are. */
export function deliver(
  { form: { audience, codec, raw }, handler }: HandlerSubscription,
  source: SubscriptionKey,
  channel: string,
  payload: Payload,
  position: Position | undefined,
): void {
  const context = createContext(audience, codec, source, channel, payload, position);
  audience.received++;
  const message = raw ? context.raw : decodePayload(codec, context.raw, audience, context);
  if (message === DECODE_FAILED) return;
  audience.delivered++;
  try {
    const result = handler(message, context);
    if (result !== undefined && isThenable(result)) trackAsyncHandler(result, audience, context);
  } catch (error) {
    reportHandlerError(error, audience, context);
  }
}

function createContext(
  audience: ServiceContext,
  codec: Codec,
  { kind, name }: SubscriptionKey,
  sentTo: string,
  payload: Payload,
  position: Position | undefined,
): MessageContext {
  const channel = audience.stripPrefix('channel', sentTo);
  const raw = codec.binary === true ? bytesOf(payload) : textOf(payload);
  if (kind === 'pattern') {
    const pattern = audience.stripPrefix(kind, name);
    return position === undefined ? { channel, pattern, raw } : { channel, pattern, position, raw };
  }
  return position === undefined ? { channel, raw } : { channel, position, raw };
}

/** Counts a handler that is still running, and reports its failure. */
function trackAsyncHandler(
  result: PromiseLike<unknown>,
  audience: ServiceContext,
  context: MessageContext,
): void {
  audience.running++;
  result.then(
    () => {
      audience.running--;
    },
    (error: unknown) => {
      audience.running--;
      reportHandlerError(error, audience, context);
    },
  );
}

function reportHandlerError(error: unknown, audience: ServiceContext, context: MessageContext): void {
  audience.failed++;
  audience.reporter.reportHandlerError(error, originOf(context));
}

/** A message's origin, for reports. */
interface MessageOrigin {
  readonly channel: string;
  readonly pattern?: string;
}

function originOf({ channel, pattern }: MessageOrigin): MessageOrigin {
  return pattern === undefined ? { channel } : { channel, pattern };
}

/** What `codec` reads in `payload`, or {@link DECODE_FAILED} once that has been reported. */
export function decodePayload(
  codec: Codec,
  payload: Payload,
  audience: ServiceContext,
  where: MessageOrigin,
): unknown {
  try {
    return (codec.decode as (payload: Payload) => unknown)(payload);
  } catch (cause) {
    audience.undecodable++;
    const error = new DecodeError(
      `a message on channel ${JSON.stringify(where.channel)} cannot be decoded: ${messageOf(cause)}`,
      { cause },
    );
    audience.reporter.report(error, { stage: 'decode', ...originOf(where) });
    return DECODE_FAILED;
  }
}

function textOf(payload: Payload): string {
  return typeof payload === 'string' ? payload : payload.toString();
}

function bytesOf(payload: Payload): Buffer {
  return typeof payload === 'string' ? Buffer.from(payload) : payload;
}

/** Tells a handler's owner of `channel`; what the listener throws or rejects with goes to the service's `onError`. */
export function callDiscontinuityListener(
  { audience, onDiscontinuity }: Pick<HandlerSubscription, 'audience' | 'onDiscontinuity'>,
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
