import type { Position } from '../history/position.js';
import type { Codec } from '../internal/codec.js';
import { isThenable, messageOf } from '../internal/diagnostics.js';
import { DecodeError } from '../internal/errors.js';
import type { Payload, SubscriptionKind } from '../redis/driver.js';
import type { Discontinuity } from './discontinuity.js';
import type { HandlerSubscription } from './handler-subscription.js';
import type { MessageContext, RawHandler } from './message-context.js';
import type { PayloadFormat, ServiceContext } from './service-context.js';

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
