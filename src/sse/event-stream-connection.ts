import { onAbort } from '../internal/abort.js';
import { jitter, type Timer } from '../internal/clock.js';
import type { Json } from '../internal/codec.js';
import { LimitError } from '../internal/errors.js';
import { CloseCode, shouldReconnect } from '../protocol/close-codes.js';
import { toRollcallError } from '../redis/replies.js';
import { formatEvent, formatId, formatRetry, KEEP_ALIVE_COMMENT } from './event-stream-format.js';
import type { EventStreamEnd, EventStreamHandle } from './options.js';
import type { ResponseWriter } from './response-writer.js';
import type { EventStreamSettings } from './settings.js';
import type { StreamSink } from './stream-source.js';

/** A client that went without a word; standard. */
const ABNORMAL_CLOSURE = 1006;
/** One whom the server ends is told to take up to so many times as long. */
const MAX_RETRY_FACTOR = 5;

/** One client's stream, from its first byte to its last. */
export class EventStreamConnection implements StreamSink, EventStreamHandle {
  readonly closed: Promise<EventStreamEnd>;
  readonly #wire: ResponseWriter;
  readonly #settings: EventStreamSettings;
  readonly #ended = new AbortController();
  readonly #forget: () => void;
  #resolve!: (end: EventStreamEnd) => void;
  #starting: Promise<void> = Promise.resolve();
  #open = true;
  /** Something was sent since the last look. */
  #active = true;
  #timer: Timer | undefined;

  constructor(wire: ResponseWriter, settings: EventStreamSettings) {
    this.#wire = wire;
    this.#settings = settings;
    this.closed = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    const restart = () => void this.close();
    this.#forget = onAbort(settings.signal, restart);
    const { clock, retry } = settings;
    // First bytes at once: proxies pass on the headers with them.
    this.#write(formatRetry(jitter(clock, retry, 0.5)) + KEEP_ALIVE_COMMENT);
    wire.onClose(() => this.#end({ code: ABNORMAL_CLOSURE, reason: 'the client has gone' }));
    if (settings.signal?.aborted === true) restart();
    if (!this.#open) return;
    this.#scheduleKeepAlive();
    this.#starting = this.#start();
  }

  get open(): boolean {
    return this.#open;
  }

  get buffered(): number {
    return this.#wire.buffered;
  }

  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  send(block: Uint8Array, moved: boolean): void {
    if (!this.#open) return;
    this.#active = true;
    if (!moved) return this.#wire.write(block);
    this.#wire.write(Buffer.concat([Buffer.from(formatId(this.#settings.source.places.id)), block]));
  }

  sendControl(event: string, data: Json): void {
    this.#write(formatEvent(event, JSON.stringify(data)));
  }

  drained(): Promise<void> {
    return this.#open ? this.#wire.drained() : Promise.resolve();
  }

  close(code: number = CloseCode.SERVICE_RESTART, reason = ''): Promise<EventStreamEnd> {
    if (!this.#open) return this.closed;
    const again = shouldReconnect(code);
    const { clock, retry } = this.#settings;
    // All who are sent away at one moment must not come back at one moment.
    const later = again ? formatRetry(retry * (1 + (MAX_RETRY_FACTOR - 1) * clock.random())) : '';
    this.#write(later + formatEvent('$close', JSON.stringify({ code, reason, again })));
    this.#end({ code, reason });
    this.#wire.end();
    return this.closed;
  }

  async #start(): Promise<void> {
    const { source, reporter } = this.#settings;
    try {
      const ready = await source.start(this);
      if (!this.#open) return;
      const data = JSON.stringify({ returned: source.isResumed, ...ready });
      this.send(Buffer.from(formatEvent('$ready', data)), true);
    } catch (thrown) {
      // Whoever has gone misses nothing.
      if (!this.#open) return;
      const error = toRollcallError(thrown);
      reporter.report(error, { stage: 'subscribe' });
      if (error instanceof LimitError) void this.close(CloseCode.TOO_MANY_SOCKETS, 'too many sockets');
      else void this.close(CloseCode.UNAVAILABLE, 'not available now');
    }
  }

  #write(text: string): void {
    if (!this.#open) return;
    this.#active = true;
    this.#wire.write(Buffer.from(text));
  }

  #scheduleKeepAlive(): void {
    const { clock, keepAliveInterval: keepAlive, source } = this.#settings;
    this.#active = false;
    const look = () => {
      if (source.ended === true) return void this.close();
      if (!this.#active) this.#write(KEEP_ALIVE_COMMENT);
      this.#scheduleKeepAlive();
    };
    this.#timer = clock.after(keepAlive, look, { keepAlive: false });
  }

  #end(end: EventStreamEnd): void {
    if (!this.#open) return;
    this.#open = false;
    this.#forget();
    this.#timer?.cancel();
    this.#ended.abort();
    // What is being started has to be there before it can be undone.
    const { source } = this.#settings;
    void Promise.all([source.stop(), this.#starting.then(() => source.stop())]).then(() =>
      this.#resolve(end),
    );
  }
}
