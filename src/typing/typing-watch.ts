import { onAbort } from '../internal/abort.js';
import { bindAsyncContext } from '../internal/async-context.js';
import type { Clock } from '../internal/clock.js';
import { type ErrorReporter, messageOf } from '../internal/diagnostics.js';
import { ClosedError, DecodeError } from '../internal/errors.js';
import { TYPING_EVENT } from '../protocol/frames.js';
import type { ChannelRef } from '../pubsub/channel-definition.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';
import type { Subscription } from '../pubsub/subscribe.js';
import { isEvent, parseRoomMessage, type RoomEvent } from '../rooms/room-message.js';
import { ExpiringSet } from './expiring-set.js';

/** Receives the ids of all users who type in a room, in the order in which they started, on every change. */
export type TypingHandler = (typingUsers: string[]) => unknown;

/** A running watch of the users who type in a room. */
export interface TypingWatch {
  /** Ids of the users who type now, in the order in which they started. */
  current(): string[];
  /** Ends the watch: the handler does not run after this call. Repeated calls do nothing. */
  close(): Promise<void>;
  /** Calls `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

export interface RoomTypingWatchOptions {
  readonly clock: Clock;
  readonly reporter: ErrorReporter;
  readonly pubsub: PubSubService;
  readonly channel: ChannelRef<RoomEvent>;
  readonly handler: TypingHandler;
  readonly signal: AbortSignal | undefined;
  /** Called once. */
  readonly onEnd: (watch: RoomTypingWatch) => void;
}

/** In ms, as in `broadcastTyping`. */
const MAX_TTL = 3_600_000;

/** In one room, from the messages that this process has received. */
export class RoomTypingWatch implements TypingWatch {
  readonly #options: RoomTypingWatchOptions;
  readonly #typingUsers: ExpiringSet<string>;
  readonly #removeAbortListener: () => void;
  #subscribed: Promise<Subscription> | undefined;
  #ended = false;

  constructor(options: RoomTypingWatchOptions) {
    this.#options = { ...options, handler: bindAsyncContext(options.handler) };
    this.#typingUsers = new ExpiringSet(options.clock, () => this.#onChange());
    this.#removeAbortListener = onAbort(options.signal, () => this.#end());
  }

  /** Resolves when Redis has confirmed the subscription. */
  async start(): Promise<void> {
    const { pubsub, channel, signal } = this.#options;
    const handler = (payload: string | Buffer) => this.#onPayload(String(payload));
    const signalOption = signal === undefined ? {} : { signal };
    this.#subscribed = pubsub.subscribe(channel, handler, { raw: true, ...signalOption });
    try {
      await this.#subscribed;
    } catch (error) {
      this.#end();
      throw error;
    }
    if (this.#ended) throw new ClosedError('the watch was closed before it was subscribed');
  }

  current(): string[] {
    return this.#typingUsers.keys;
  }

  async close(): Promise<void> {
    this.#end();
    await (await this.#subscribed?.catch(() => undefined))?.unsubscribe();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#removeAbortListener();
    this.#typingUsers.clear();
    this.#options.onEnd(this);
  }

  #onPayload(payload: string): void {
    if (this.#ended) return;
    const { reporter, channel } = this.#options;
    try {
      const event = parseTypingEvent(payload);
      if (event !== undefined) this.#typingUsers.set(event.user, event.ttl);
    } catch (cause) {
      const error = new DecodeError(`a typing event is invalid: ${messageOf(cause)}`, { cause });
      reporter.report(error, { stage: 'decode', channel: channel.name });
    }
  }

  #onChange(): void {
    const { reporter, channel, handler } = this.#options;
    reporter.runHandler(() => handler(this.current()), { channel: channel.name });
  }
}

/** `undefined` for other events. Throws for an invalid typing event. */
function parseTypingEvent(payload: string): { user: string; ttl: number } | undefined {
  const message = parseRoomMessage(undefined, undefined, payload);
  if (message === undefined || !isEvent(message.json, TYPING_EVENT)) return undefined;
  const { from, data } = message as { from?: unknown; data?: unknown };
  const ttl = (data as { ttl?: unknown } | null | undefined)?.ttl;
  if (typeof from !== 'string' || typeof ttl !== 'number' || !(ttl >= 0)) {
    throw new TypeError('it needs a user id in "from" and a number of ms in "data.ttl"');
  }
  return { user: from, ttl: Math.min(ttl, MAX_TTL) };
}
