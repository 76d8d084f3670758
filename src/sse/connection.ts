import { onAbort } from '../internal/abort.js';
import { jitter, type Timer } from '../internal/clock.js';
import type { Json } from '../internal/codec.js';
import { LimitError } from '../internal/errors.js';
import { CloseCode, mayReturn } from '../protocol/close-codes.js';
import { toRollcallError } from '../redis/replies.js';
import { COMMENT, eventBlock, idLine, retryLine } from './encode.js';
import type { EventStreamEnd, EventStreamHandle } from './options.js';
import type { Settings } from './settings.js';
import type { Sink } from './source.js';
import type { Wire } from './wire.js';

/** A client that went without a word; standard. */
const GONE = 1006;
/** One whom the server ends is told to take up to so many times as long. */
const SPREAD = 5;

/** One client's stream, from its first byte to its last. */
export class Connection implements Sink, EventStreamHandle {
  readonly closed: Promise<EventStreamEnd>;
  readonly #wire: Wire;
  readonly #settings: Settings;
  readonly #ended = new AbortController();
  readonly #forget: () => void;
  #resolve!: (end: EventStreamEnd) => void;
  #starting: Promise<void> = Promise.resolve();
  #open = true;
  /** Something was sent since the last look. */
  #active = true;
  #timer: Timer | undefined;

  constructor(wire: Wire, settings: Settings) {
    this.#wire = wire;
    this.#settings = settings;
    this.closed = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    const restart = () => void this.close();
    this.#forget = onAbort(settings.signal, restart);
    const { clock, retry } = settings;
    // First bytes at once: proxies pass on the headers with them.
    this.#write(retryLine(jitter(clock, retry, 0.5)) + COMMENT);
    wire.watch(() => this.#end({ code: GONE, reason: 'the client has gone' }));
    if (settings.signal?.aborted === true) restart();
    if (!this.#open) return;
    this.#watchSilence();
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
    this.#wire.write(Buffer.concat([Buffer.from(idLine(this.#settings.source.places.id)), block]));
  }

  tell(event: string, data: Json): void {
    this.#write(eventBlock(event, JSON.stringify(data)));
  }

  drained(): Promise<void> {
    return this.#open ? this.#wire.drained() : Promise.resolve();
  }

  close(code: number = CloseCode.RESTART, reason = ''): Promise<EventStreamEnd> {
    if (!this.#open) return this.closed;
    const again = mayReturn(code);
    const { clock, retry } = this.#settings;
    // All who are sent away at one moment must not come back at one moment.
    const later = again ? retryLine(retry * (1 + (SPREAD - 1) * clock.random())) : '';
    this.#write(later + eventBlock('$close', JSON.stringify({ code, reason, again })));
    this.#end({ code, reason });
    this.#wire.end();
    return this.closed;
  }

  async #start(): Promise<void> {
    const { source, reporter } = this.#settings;
    try {
      const ready = await source.start(this);
      if (!this.#open) return;
      const data = JSON.stringify({ returned: source.returns, ...ready });
      this.send(Buffer.from(eventBlock('$ready', data)), true);
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

  #watchSilence(): void {
    const { clock, keepAlive, source } = this.#settings;
    this.#active = false;
    const look = () => {
      if (source.over === true) return void this.close();
      if (!this.#active) this.#write(COMMENT);
      this.#watchSilence();
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
