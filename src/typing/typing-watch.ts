import { onAbort } from '../internal/abort.js';
import type { Clock } from '../internal/clock.js';
import { type ErrorReporter, messageOf } from '../internal/diagnostics.js';
import { ClosedError, DecodeError } from '../internal/errors.js';
import { TYPING_EVENT } from '../protocol/frames.js';
import type { ChannelRef } from '../pubsub/channel-definition.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';
import type { Subscription } from '../pubsub/subscribe.js';
import { isEvent, parseRoomMessage, type RoomEvent } from '../rooms/room-message.js';
import { ExpiringSet } from './expiring-set.js';

/** Gets the ids of all who type in a room, in the order in which they began, whenever that changes. */
export type TypingHandler = (typingUsers: string[]) => unknown;

/** A running watch of who types in a room. */
export interface TypingWatch {
  /** Who types now, in the order in which they began. */
  current(): string[];
  /** Ends the watch: the handler is not called again from this moment on. Idempotent. */
  close(): Promise<void>;
  /** The same, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** What a {@link RoomTypingWatch} is given. */
export interface RoomTypingWatchOptions {
  readonly clock: Clock;
  readonly reporter: ErrorReporter;
  readonly pubsub: PubSubService;
  readonly channel: ChannelRef<RoomEvent>;
  readonly handler: TypingHandler;
  readonly signal: AbortSignal | undefined;
  /** Called once when it is over. */
  readonly ended: (watch: RoomTypingWatch) => void;
}

/** Longer than `broadcastTyping` lets anybody type, in ms. */
const MAX_TTL = 3_600_000;

/** Who types in one room, as far as this process has heard. */
export class RoomTypingWatch implements TypingWatch {
  readonly #ear: RoomTypingWatchOptions;
  readonly #typingUsers: ExpiringSet<string>;
  readonly #forget: () => void;
  #subscribed: Promise<Subscription> | undefined;
  #over = false;

  constructor(ear: RoomTypingWatchOptions) {
    this.#ear = ear;
    this.#typingUsers = new ExpiringSet(ear.clock, () => this.#changed());
    this.#forget = onAbort(ear.signal, () => this.#end());
  }

  /** Resolves when Redis has confirmed. */
  async begin(): Promise<void> {
    const { pubsub, channel, signal } = this.#ear;
    const hear = (payload: string | Buffer) => this.#hear(String(payload));
    const options = signal === undefined ? {} : { signal };
    this.#subscribed = pubsub.subscribe(channel, hear, { raw: true, ...options });
    try {
      await this.#subscribed;
    } catch (error) {
      this.#end();
      throw error;
    }
    if (this.#over) throw new ClosedError('the watch was closed before it began');
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
    if (this.#over) return;
    this.#over = true;
    this.#forget();
    this.#typingUsers.clear();
    this.#ear.ended(this);
  }

  #hear(payload: string): void {
    if (this.#over) return;
    const { reporter, channel } = this.#ear;
    try {
      const heard = parseTypingEvent(payload);
      if (heard !== undefined) this.#typingUsers.set(heard.user, heard.ttl);
    } catch (cause) {
      const error = new DecodeError(`a typing event cannot be read: ${messageOf(cause)}`, { cause });
      reporter.report(error, { stage: 'decode', channel: channel.name });
    }
  }

  #changed(): void {
    const { reporter, channel, handler } = this.#ear;
    reporter.runHandler(() => handler(this.current()), { channel: channel.name });
  }
}

/** What a payload says of somebody's typing; throws when it says so in the wrong way. */
function parseTypingEvent(payload: string): { user: string; ttl: number } | undefined {
  const message = parseRoomMessage(undefined, undefined, payload);
  if (message === undefined || !isEvent(message.json, TYPING_EVENT)) return undefined;
  const { from, data } = message as { from?: unknown; data?: unknown };
  const ttl = (data as { ttl?: unknown } | null | undefined)?.ttl;
  if (typeof from !== 'string' || typeof ttl !== 'number' || !(ttl >= 0)) {
    throw new TypeError('it needs a user in "from", and a number of ms in "data.ttl"');
  }
  return { user: from, ttl: Math.min(ttl, MAX_TTL) };
}
