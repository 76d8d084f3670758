import type { Position } from '../history/position.js';
import type { Codec } from '../internal/codec.js';
import { isThenable } from '../internal/diagnostics.js';
import { telemetry } from '../internal/telemetry.js';
import type { Payload, SubscriptionKind } from '../redis/driver.js';
import type { HandlerSubscription } from './handler-subscription.js';
import type { MessageContext, RawHandler } from './message-context.js';
import { DECODE_FAILED, type PayloadFormat, type ServiceContext } from './service-context.js';

export interface MessageSource {
  readonly kind: SubscriptionKind;
  readonly name: string;
  readonly binary: boolean;
}

interface DecodeResult {
  readonly codec: Codec;
  readonly value: unknown;
  /** Services that have a report of the failure. */
  readonly reportedTo: ServiceContext[];
}

interface CachedContext {
  readonly service: ServiceContext;
  readonly binary: boolean | undefined;
  readonly context: MessageContext;
}

/** Decoded at most once per codec. */
export class Delivery {
  // The latest entry is first: consecutive runs nearly always share it.
  readonly #decoded: DecodeResult[] = [];
  readonly #contexts: CachedContext[] = [];

  constructor(
    readonly source: MessageSource,
    readonly channel: string,
    readonly payload: Payload,
    readonly position?: Position | undefined,
    /** Read from the history. */
    readonly replayed = false,
  ) {}

  /**
   * Never throws, because it runs inside a client's read loop. With 1,000 handlers this loop dominates, so it
   * checks nothing per handler: the handler list replaces the callback of a handler that leaves.
   */
  callAll({ service, codec, raw }: PayloadFormat, callbacks: readonly RawHandler[]): void {
    const context = this.#contextFor(service, codec);
    const message = raw ? context.raw : this.#decodeOnce(codec, service, context);
    if (message === DECODE_FAILED) return;
    service.delivered += callbacks.length;
    let at = 0;
    while (at < callbacks.length) {
      try {
        for (; at < callbacks.length; at++) {
          // A local variable, so that `this` in the callback is not the array.
          const callback = callbacks[at] as RawHandler;
          const result = callback(message, context);
          if (result !== undefined && isThenable(result)) service.trackHandler(result, context);
        }
      } catch (error) {
        service.reportHandlerError(error, context);
        at++;
      }
    }
  }

  #contextFor(service: ServiceContext, codec: Codec): MessageContext {
    let counted = false;
    for (const cached of this.#contexts) {
      if (cached.service !== service) continue;
      if (cached.binary === codec.binary) return cached.context;
      counted = true;
    }
    if (!counted) service.received++;
    const live = createContext(service, codec, this.source, this.channel, this.payload, this.position);
    const context: MessageContext = this.replayed ? { ...live, replayed: true } : live;
    this.#contexts.unshift({ service, binary: codec.binary, context });
    return context;
  }

  #decodeOnce(codec: Codec, service: ServiceContext, context: MessageContext): unknown {
    const known = this.#decoded.find((result) => result.codec === codec);
    if (known === undefined) {
      const value = service.decode(codec, context.raw, context);
      this.#decoded.unshift({ codec, value, reportedTo: [service] });
      return value;
    }
    if (known.value === DECODE_FAILED && !known.reportedTo.includes(service)) {
      known.reportedTo.push(service);
      service.decode(codec, context.raw, context);
    }
    return known.value;
  }
}

/** Cheaper than a {@link Delivery}. */
export function deliverToOne(
  { format: { service, codec, raw }, callback }: HandlerSubscription,
  source: MessageSource,
  channel: string,
  payload: Payload,
  position: Position | undefined,
): void {
  emitDeliverEvent(1, source.kind, channel, payload, position);
  const context = createContext(service, codec, source, channel, payload, position);
  service.received++;
  const message = raw ? context.raw : service.decode(codec, context.raw, context);
  if (message === DECODE_FAILED) return;
  service.delivered++;
  try {
    const result = callback(message, context);
    if (result !== undefined && isThenable(result)) service.trackHandler(result, context);
  } catch (error) {
    service.reportHandlerError(error, context);
  }
}

function createContext(
  service: ServiceContext,
  codec: Codec,
  { kind, name }: MessageSource,
  nameInRedis: string,
  payload: Payload,
  position: Position | undefined,
): MessageContext {
  const channel = service.stripPrefix('channel', nameInRedis);
  const raw = codec.binary === true ? toBytes(payload) : toText(payload);
  if (kind === 'pattern') {
    const pattern = service.stripPrefix(kind, name);
    return position === undefined ? { channel, pattern, raw } : { channel, pattern, position, raw };
  }
  return position === undefined ? { channel, raw } : { channel, position, raw };
}

function toText(payload: Payload): string {
  return typeof payload === 'string' ? payload : payload.toString();
}

function toBytes(payload: Payload): Buffer {
  return typeof payload === 'string' ? Buffer.from(payload) : payload;
}

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
