import type { Codec } from '../internal/codec.js';
import type { ErrorReporter } from '../internal/diagnostics.js';
import type { SubscriptionKind } from '../redis/driver.js';
import { escapePattern } from '../redis/pattern.js';

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
