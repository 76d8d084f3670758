import { type Clock, systemClock } from '../internal/clock.js';
import { type ErrorListener, ErrorReporter } from '../internal/diagnostics.js';
import { ClosedError, InvalidArgumentError } from '../internal/errors.js';
import { allOrFirstError } from '../internal/promises.js';
import {
  assertFunction,
  assertName,
  assertOptions,
  assertSignal,
  numberOption,
} from '../internal/validate.js';
import type { WatchOptions } from '../presence/options.js';
import type { RoomService } from '../rooms/room-service.js';
import { TypingBroadcaster } from './typing-broadcaster.js';
import { RoomTypingWatch, type TypingHandler, type TypingWatch } from './typing-watch.js';

/** Options of a typing service. */
export interface TypingServiceOptions {
  /** The rooms in which people type. */
  rooms: RoomService;
  /**
   * For how long, in ms, a key stroke counts: who strikes no other one has stopped. From 100 to 600_000;
   * with `rollcall/client`, which tells of key strokes every 2 s, at least 4_000. @default 6_000
   */
  ttl?: number;
  /** Gets every failure that no caller waits for. @default nobody */
  onError?: ErrorListener;
  /** Where time comes from; for tests. @default the system's clock */
  clock?: Clock;
}

/** Options of `start`, `stop` and `leave`. */
export interface TypingUpdateOptions {
  /** The id of a socket that need not be told: his own. @default none */
  except?: string;
}

/**
 * Who types in which room. A user types from a key stroke until he stops, or has struck no key for `ttl` ms,
 * or the process that told of it has been gone for as long: nothing of it is kept in Redis, so
 * nothing can be left behind there. However fast somebody types, others are told at most once in
 * half a `ttl`.
 *
 * @example
 * ```ts
 * const typing = new TypingService({ rooms });
 * await typing.start('lobby', 'alice', { except: socketId }); // on every key stroke
 * await typing.stop('lobby', 'alice', { except: socketId }); // when the message is sent
 * const watch = await typing.watch('lobby', (typingUsers) => console.log(typingUsers));
 * ```
 */
export class TypingService {
  readonly #rooms: RoomService;
  readonly #ttl: number;
  readonly #clock: Clock;
  readonly #reporter: ErrorReporter;
  /** By user, then by room. */
  readonly #own = new Map<string, Map<string, TypingBroadcaster>>();
  readonly #watches = new Set<RoomTypingWatch>();
  #closing: Promise<void> | undefined;

  /** @throws {@link InvalidArgumentError} for an option out of range. */
  constructor(options: TypingServiceOptions) {
    if (typeof options?.rooms?.broadcastTyping !== 'function') {
      throw new InvalidArgumentError('rooms', 'must be a RoomService');
    }
    const { rooms, ttl, onError, clock = systemClock } = options;
    if (onError !== undefined) assertFunction('onError', onError);
    this.#ttl = numberOption('ttl', ttl, 6_000, { min: 100, max: 600_000 });
    this.#rooms = rooms;
    this.#clock = clock;
    this.#reporter = new ErrorReporter(onError);
  }

  /**
   * Somebody has struck a key in a room. Call it as often as that happens: it is said at once the first
   * time, and then at most once in half a `ttl`. Resolves when it is said, or at once when there is nothing
   * to say now.
   *
   * @throws {@link InvalidArgumentError} for a bad name or option; {@link ClosedError}; and whatever
   * `PubSubService.publish` throws. The next call tries again then.
   */
  async start(room: string, userId: string, options: TypingUpdateOptions = {}): Promise<void> {
    const except = this.#check(room, userId, options);
    let byRoom = this.#own.get(userId);
    if (byRoom === undefined) {
      byRoom = new Map();
      this.#own.set(userId, byRoom);
    }
    let own = byRoom.get(room);
    if (own === undefined) {
      own = this.#typing(room, userId);
      byRoom.set(room, own);
    }
    await own.start(except);
  }

  /**
   * He has stopped: the message is sent, or the field is empty. Says so if this process had said that he
   * types, and nothing otherwise.
   *
   * @throws as {@link TypingService.start} does; it then ends by itself.
   */
  async stop(room: string, userId: string, options: TypingUpdateOptions = {}): Promise<void> {
    const except = this.#check(room, userId, options);
    await this.#own.get(userId)?.get(room)?.stop(except);
  }

  /**
   * He has stopped everywhere: for when his connection ends. Where he types on another connection as
   * well, the next key stroke there says so again.
   *
   * @throws as {@link TypingService.stop} does, after all rooms have been tried.
   */
  async stopAll(userId: string, options: TypingUpdateOptions = {}): Promise<void> {
    const except = this.#check(undefined, userId, options);
    await allOrFirstError(Array.from(this.#own.get(userId)?.values() ?? [], (own) => own.stop(except)));
  }

  /**
   * Watches who types in a room, for servers; clients get the same by the protocol. `handler` is called on
   * every change, for the first time after the first one. Resolves when Redis has confirmed.
   *
   * @throws {@link InvalidArgumentError} for a bad name, handler or option; {@link ClosedError}; whatever
   * `PubSubService.subscribe` throws; the signal's reason when it aborts first.
   */
  async watch(room: string, handler: TypingHandler, options: WatchOptions = {}): Promise<TypingWatch> {
    this.#assertOpen();
    const channel = this.#rooms.channel(room);
    assertFunction('handler', handler);
    assertOptions('options', options);
    const { signal } = options;
    assertSignal(signal);
    const watch = new RoomTypingWatch({
      clock: this.#clock,
      reporter: this.#reporter,
      pubsub: this.#rooms.pubsub,
      channel,
      handler,
      signal,
      ended: (ended) => this.#watches.delete(ended),
    });
    this.#watches.add(watch);
    await watch.begin();
    return watch;
  }

  /**
   * Ends all watches. Of those who type nothing more is said: it ends by itself, unless they go on
   * typing on another server. Idempotent.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** The same, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    for (const byRoom of this.#own.values()) for (const own of byRoom.values()) own.close();
    this.#own.clear();
    await allOrFirstError(Array.from(this.#watches, (watch) => watch.close()));
  }

  #typing(room: string, userId: string): TypingBroadcaster {
    return new TypingBroadcaster({
      clock: this.#clock,
      ttl: this.#ttl,
      send: (ttl, except) =>
        this.#rooms.broadcastTyping(room, userId, except === undefined ? { ttl } : { ttl, except }),
      forget: () => this.#forget(room, userId),
      report: (error) => this.#reporter.report(error, { stage: 'peer' }),
    });
  }

  #forget(room: string, userId: string): void {
    const byRoom = this.#own.get(userId);
    if (byRoom?.delete(room) === true && byRoom.size === 0) this.#own.delete(userId);
  }

  /** The `except` of a call that is right. */
  #check(room: string | undefined, userId: string, options: TypingUpdateOptions): string | undefined {
    this.#assertOpen();
    // Also for what makes the name of the room's channel too long.
    if (room !== undefined) this.#rooms.channel(room);
    assertName('userId', userId);
    assertOptions('options', options);
    const { except } = options;
    if (except !== undefined) assertName('except', except);
    return except;
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw new ClosedError('this TypingService is closed');
  }
}
