import { formatEvent, formatId, formatRetry, KEEP_ALIVE_COMMENT } from '../http/event-stream-format.js';
import type { ResponseWriter } from '../http/response-writer.js';
import { onAbort } from '../internal/abort.js';
import { type Clock, jitter, type Timer } from '../internal/clock.js';
import type { Json } from '../internal/codec.js';
import { LimitError } from '../internal/errors.js';
import { Lifetime } from '../internal/lifetime.js';
import { CloseCode, shouldReconnect } from '../protocol/close-codes.js';
import { toRollcallError } from '../redis/replies.js';
import type { EventStreamEnd, EventStreamHandle } from './options.js';
import type { EventStreamSettings } from './settings.js';
import type { StreamSink } from './stream-source.js';

/** RFC 6455: closed without a close frame. */
const ABNORMAL_CLOSURE = 1006;
/** A factor of `retry`: the longest wait of a client whose stream the server ends. */
const MAX_RETRY_FACTOR = 5;

/** From the first byte to the last. */
export class EventStreamConnection implements StreamSink, EventStreamHandle {
  readonly closed: Promise<EventStreamEnd>;
  readonly #writer: ResponseWriter;
  readonly #settings: EventStreamSettings;
  readonly #lifetime = new Lifetime();
  readonly #removeAbortListener: () => void;
  #resolve!: (end: EventStreamEnd) => void;
  #starting: Promise<void> | undefined;
  #open = true;
  /** By the clock's `monotonic`. */
  #lastSent = 0;
  #timer: Timer | undefined;

  constructor(writer: ResponseWriter, settings: EventStreamSettings) {
    this.#writer = writer;
    this.#settings = settings;
    this.closed = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    const restart = () => void this.close();
    this.#removeAbortListener = onAbort(settings.signal, restart);
    const { clock, retry } = settings;
    this.#lastSent = clock.monotonic();
    // Some proxies hold headers back until the body begins.
    writer.begin(formatRetry(jitter(clock, retry, 0.5)) + KEEP_ALIVE_COMMENT);
    writer.onClose(() => this.#end({ code: ABNORMAL_CLOSURE, reason: 'the client has disconnected' }));
    if (settings.signal?.aborted === true) restart();
    if (!this.#open) return;
    this.#scheduleKeepAlive(settings.keepAliveInterval);
    this.#starting = this.#start().finally(() => {
      this.#starting = undefined;
    });
  }

  get open(): boolean {
    return this.#open;
  }

  get clock(): Clock {
    return this.#settings.clock;
  }

  get buffered(): number {
    return this.#writer.buffered;
  }

  get lifetime(): Lifetime {
    return this.#lifetime;
  }

  send(event: Uint8Array, moved: boolean): void {
    if (!this.#open) return;
    this.#lastSent = this.#settings.clock.monotonic();
    if (!moved) return this.#writer.write(event);
    this.#writer.write(Buffer.concat([Buffer.from(formatId(this.#settings.source.positions.id)), event]));
  }

  sendControl(event: string, data: Json): void {
    this.#write(formatEvent(event, JSON.stringify(data)));
  }

  close(code: number = CloseCode.SERVICE_RESTART, reason = ''): Promise<EventStreamEnd> {
    if (!this.#open) return this.closed;
    const again = shouldReconnect(code);
    const { clock, retry } = this.#settings;
    // After a shutdown the clients must not reconnect all at once.
    const delay = again ? formatRetry(retry * (1 + (MAX_RETRY_FACTOR - 1) * clock.random())) : '';
    this.#write(delay + formatEvent('$close', JSON.stringify({ code, reason, again })));
    this.#end({ code, reason });
    this.#writer.end();
    return this.closed;
  }

  async #start(): Promise<void> {
    const { source, reporter } = this.#settings;
    try {
      const ready = await source.start(this);
      if (!this.#open) return;
      const data = JSON.stringify({ returned: source.isResumed, ...ready });
      this.#write(formatId(source.positions.id) + formatEvent('$ready', data));
    } catch (thrown) {
      if (!this.#open) return;
      const error = toRollcallError(thrown);
      reporter.report(error, { stage: 'subscribe' });
      if (error instanceof LimitError && error.retryAfter === undefined)
        void this.close(CloseCode.TOO_MANY_SOCKETS, 'too many sockets');
      else void this.close(CloseCode.UNAVAILABLE, 'not available now');
    }
  }

  #write(text: string): void {
    if (!this.#open) return;
    this.#lastSent = this.#settings.clock.monotonic();
    this.#writer.write(text);
  }

  /** After `keepAliveInterval` of silence. */
  #scheduleKeepAlive(delay: number): void {
    const { clock, keepAliveInterval, source } = this.#settings;
    const check = () => {
      if (source.ended === true) return void this.close();
      const silence = clock.monotonic() - this.#lastSent;
      if (silence >= keepAliveInterval) this.#write(KEEP_ALIVE_COMMENT);
      this.#scheduleKeepAlive(silence >= keepAliveInterval ? keepAliveInterval : keepAliveInterval - silence);
    };
    this.#timer = clock.after(delay, check, { keepAlive: false });
  }

  #end(end: EventStreamEnd): void {
    if (!this.#open) return;
    this.#open = false;
    this.#removeAbortListener();
    this.#timer?.cancel();
    this.#lifetime.end();
    void this.#release().then(() => this.#resolve(end));
  }

  async #release(): Promise<void> {
    const { source } = this.#settings;
    const starting = this.#starting;
    await Promise.all([source.stop(), starting]);
    // Again, for subscriptions of a start that was in progress.
    if (starting !== undefined) await source.stop();
  }
}
