import { type Clock, systemClock } from '../internal/clock.js';
import type { Codec } from '../internal/codec.js';
import { type ErrorReporter, messageOf } from '../internal/diagnostics.js';
import { DecodeError } from '../internal/errors.js';
import type { Payload, SubscriptionKind } from '../redis/driver.js';
import { escapePattern } from '../redis/pattern.js';
import type { Discontinuity } from './discontinuity.js';

export const DECODE_FAILED = Symbol('undecoded');

/** For error reports. */
export interface MessageOrigin {
  readonly channel: string;
  readonly pattern?: string;
}

/** Shared by all handlers of one service. */
export class ServiceContext {
  /** Asynchronous handlers in progress. */
  running = 0;
  received = 0;
  delivered = 0;
  failed = 0;
  undecodable = 0;
  readonly #decoding = new WeakMap<Codec, PayloadFormat>();
  readonly #raw = new WeakMap<Codec, PayloadFormat>();

  constructor(
    readonly reporter: ErrorReporter,
    /** Part of every name in Redis; handlers get names without it. */
    readonly prefix = '',
    /** Time a Redis subscription outlives its last handler, in ms. */
    readonly unsubscribeDelay = 0,
    readonly clock: Clock = systemClock,
  ) {}

  /** Restores the name that the caller used. */
  stripPrefix(kind: SubscriptionKind, name: string): string {
    const { prefix } = this;
    if (prefix === '') return name;
    return name.slice(kind === 'pattern' ? escapePattern(prefix).length : prefix.length);
  }

  /** Equal arguments return the same object: formats are compared by identity. */
  formatFor(codec: Codec, raw: boolean): PayloadFormat {
    const formats = raw ? this.#raw : this.#decoding;
    let format = formats.get(codec);
    if (format === undefined) {
      format = { service: this, codec, raw };
      formats.set(codec, format);
    }
    return format;
  }

  /** Reports a failure and returns {@link DECODE_FAILED}. */
  decode(codec: Codec, payload: Payload, origin: MessageOrigin): unknown {
    try {
      return (codec.decode as (payload: Payload) => unknown)(payload);
    } catch (cause) {
      this.undecodable++;
      const error = new DecodeError(
        `a message on channel ${JSON.stringify(origin.channel)} cannot be decoded: ${messageOf(cause)}`,
        { cause },
      );
      this.reporter.report(error, { stage: 'decode', ...toOrigin(origin) });
      return DECODE_FAILED;
    }
  }

  trackHandler(result: PromiseLike<unknown>, origin: MessageOrigin): void {
    this.running++;
    result.then(
      () => {
        this.running--;
      },
      (error: unknown) => {
        this.running--;
        this.reportHandlerError(error, origin);
      },
    );
  }

  reportHandlerError(error: unknown, origin: MessageOrigin): void {
    this.failed++;
    this.reporter.reportHandlerError(error, toOrigin(origin));
  }

  /** Reports what the listener throws or rejects with. */
  callDiscontinuityListener(
    listener: ((discontinuity: Discontinuity) => void) | undefined,
    discontinuity: Discontinuity,
    channel: string,
  ): void {
    if (listener === undefined) return;
    this.reporter.runHandler(() => listener(discontinuity), { channel });
  }
}

/** Handlers of one service that receive the same share one format. */
export interface PayloadFormat {
  readonly service: ServiceContext;
  readonly codec: Codec;
  readonly raw: boolean;
}

/** Omits the fields of a message context that reports must not contain. */
function toOrigin({ channel, pattern }: MessageOrigin): MessageOrigin {
  return pattern === undefined ? { channel } : { channel, pattern };
}
