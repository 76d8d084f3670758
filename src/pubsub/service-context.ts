import type { Codec } from '../internal/codec.js';
import { type ErrorReporter, messageOf } from '../internal/diagnostics.js';
import { DecodeError } from '../internal/errors.js';
import type { Payload, SubscriptionKind } from '../redis/driver.js';
import { escapePattern } from '../redis/pattern.js';
import type { Discontinuity } from './discontinuity.js';

/** Returned by {@link ServiceContext.decode} instead of a message. */
export const DECODE_FAILED = Symbol('undecoded');

/** Where a message comes from, for error reports. */
export interface MessageOrigin {
  readonly channel: string;
  readonly pattern?: string;
}

/** The prefix, counters and error reporting that all handlers of one service share. */
export class ServiceContext {
  /** Promises of asynchronous handlers that have not settled. */
  running = 0;
  received = 0;
  delivered = 0;
  failed = 0;
  undecodable = 0;
  readonly #decoding = new WeakMap<Codec, PayloadFormat>();
  readonly #raw = new WeakMap<Codec, PayloadFormat>();

  constructor(
    readonly reporter: ErrorReporter,
    /** Added to every channel in Redis; removed from the names that handlers get. */
    readonly prefix = '',
    /** Milliseconds that a Redis subscription outlives its last handler. */
    readonly unsubscribeDelay = 0,
  ) {}

  /** Converts the name of a Redis subscription to the name that the service's caller used. */
  stripPrefix(kind: SubscriptionKind, name: string): string {
    const { prefix } = this;
    if (prefix === '') return name;
    return name.slice(kind === 'pattern' ? escapePattern(prefix).length : prefix.length);
  }

  /** Equal arguments return the same object, so that formats can be compared by identity. */
  formatFor(codec: Codec, raw: boolean): PayloadFormat {
    const formats = raw ? this.#raw : this.#decoding;
    let format = formats.get(codec);
    if (format === undefined) {
      format = { service: this, codec, raw };
      formats.set(codec, format);
    }
    return format;
  }

  /** Decodes `payload`. Reports a failure and returns {@link DECODE_FAILED}. */
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

  /** Counts an asynchronous handler until it settles, and reports its rejection. */
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

  /** Reports what a handler threw or rejected with. */
  reportHandlerError(error: unknown, origin: MessageOrigin): void {
    this.failed++;
    this.reporter.reportHandlerError(error, toOrigin(origin));
  }

  /** Calls a discontinuity listener; reports what it throws or rejects with. */
  callDiscontinuityListener(
    listener: ((discontinuity: Discontinuity) => void) | undefined,
    discontinuity: Discontinuity,
    channel: string,
  ): void {
    if (listener === undefined) return;
    this.reporter.runHandler(() => listener(discontinuity), { channel });
  }
}

/** What a handler receives, decoded or raw, and for which service. Handlers that receive the same share one. */
export interface PayloadFormat {
  readonly service: ServiceContext;
  readonly codec: Codec;
  /** The payload is passed on undecoded. */
  readonly raw: boolean;
}

/** Leaves out the other fields of a message context, which do not belong into a report. */
function toOrigin({ channel, pattern }: MessageOrigin): MessageOrigin {
  return pattern === undefined ? { channel } : { channel, pattern };
}
