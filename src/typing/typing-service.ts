import { type Clock, clockOption } from '../internal/clock.js';
import { assertErrorListener, type ErrorListener, ErrorReporter } from '../internal/diagnostics.js';
import { ClosedError, InvalidArgumentError } from '../internal/errors.js';
import { allOrFirstError } from '../internal/promises.js';
import {
  assertFunction,
  assertName,
  assertOptions,
  assertSignal,
  numberOption,
  type OptionNames,
} from '../internal/validate.js';
import type { WatchOptions } from '../presence/options.js';
import type { RoomService } from '../rooms/room-service.js';
import { TypingBroadcaster } from './typing-broadcaster.js';
import { RoomTypingWatch, type TypingHandler, type TypingWatch } from './typing-watch.js';

/** Options of a typing service. */
export interface TypingServiceOptions {
  /** Room service that carries the messages. */
  rooms: RoomService;
  /**
   * Duration of a keystroke, in ms, from 100 to 600_000: without another one, the user has stopped. At least
   * 4_000 with `rollcall/client`, which reports keystrokes every 2 s. @default 6_000
   */
  ttl?: number;
  /** Receives every failure that no caller awaits; `null` silences them. @default warns with `process.emitWarning` */
  onError?: ErrorListener | null;
  /** Source of time; for tests. @default the system's */
  clock?: Clock;
}

const NAMES: OptionNames<TypingServiceOptions> = { rooms: true, ttl: true, onError: true, clock: true };

/** Options of `start`, `stop` and `stopAll`. */
export interface TypingUpdateOptions {
  /** Id of the user's own socket, which must not receive it. @default none */
  except?: string;
}

/**
 * Typing indicators. A user types from a keystroke until `stop`, or until `ttl` ms after the last keystroke, also if
 * the process dies: nothing is stored in Redis.
 *
 * @example
 * ```ts
 * const typing = new TypingService({ rooms });
 * await typing.start('lobby', 'alice', { except: socketId }); // on every keystroke
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
  readonly #broadcasters = new Map<string, Map<string, TypingBroadcaster>>();
  readonly #watches = new Set<RoomTypingWatch>();
  #closing: Promise<void> | undefined;

  /** @throws {@link InvalidArgumentError} for an option out of range. */
  constructor(options: TypingServiceOptions) {
    if (typeof options?.rooms?.broadcastTyping !== 'function') {
      throw new InvalidArgumentError('rooms', 'must be a RoomService: pass the rooms of createRollcall');
    }
    assertOptions('options', options, NAMES);
    const { rooms, ttl, onError } = options;
    const clock = clockOption(options.clock);
    assertErrorListener(onError);
    this.#ttl = numberOption('ttl', ttl, 6_000, { unit: 'ms', min: 100, max: 600_000 });
    this.#rooms = rooms;
    this.#clock = clock;
    this.#reporter = new ErrorReporter(onError);
  }

  /**
   * Reports a keystroke; call it on every one. The first is published at once, later ones at most once in half
   * a `ttl`. Resolves when the message is published, or at once if none is due.
   *
   * @throws {@link InvalidArgumentError} for a bad name or option; {@link ClosedError}; all errors of
   * `PubSubService.publish`, after which the next call tries again.
   */
  async start(room: string, userId: string, options: TypingUpdateOptions = {}): Promise<void> {
    const except = this.#validate(room, userId, options);
    let byRoom = this.#broadcasters.get(userId);
    if (byRoom === undefined) {
      byRoom = new Map();
      this.#broadcasters.set(userId, byRoom);
    }
    let broadcaster = byRoom.get(room);
    if (broadcaster === undefined) {
      broadcaster = this.#createBroadcaster(room, userId);
      byRoom.set(room, broadcaster);
    }
    await broadcaster.start(except);
  }

  /**
   * Reports that a user has stopped. Publishes it only if this process had published that the user types.
   *
   * @throws the errors of {@link TypingService.start}; the indicator then expires by its `ttl`.
   */
  async stop(room: string, userId: string, options: TypingUpdateOptions = {}): Promise<void> {
    const except = this.#validate(room, userId, options);
    await this.#broadcasters.get(userId)?.get(room)?.stop(except);
  }

  /**
   * Stops a user in all rooms, for the end of a connection. The next keystroke on another connection of the user
   * publishes it again.
   *
   * @throws the errors of {@link TypingService.stop}, after all rooms were tried.
   */
  async stopAll(userId: string, options: TypingUpdateOptions = {}): Promise<void> {
    const except = this.#validate(undefined, userId, options);
    const broadcasters = this.#broadcasters.get(userId)?.values() ?? [];
    await allOrFirstError(Array.from(broadcasters, (broadcaster) => broadcaster.stop(except)));
  }

  /**
   * Watches which users type in a room; `handler` runs on every change. Clients receive the same through the
   * protocol. Resolves when Redis has confirmed the subscription.
   *
   * @throws {@link InvalidArgumentError} for a bad name, handler or option; {@link ClosedError}; all errors of
   * `PubSubService.subscribe`; the signal's reason if it aborts first.
   */
  async watch(room: string, handler: TypingHandler, options: WatchOptions = {}): Promise<TypingWatch> {
    this.#assertOpen();
    const channel = this.#rooms.channel(room);
    assertFunction('handler', handler);
    assertOptions('options', options, { signal: true });
    const { signal } = options;
    assertSignal(signal);
    const watch = new RoomTypingWatch({
      clock: this.#clock,
      reporter: this.#reporter,
      pubsub: this.#rooms.pubsub,
      channel,
      handler,
      signal,
      onEnd: (ended) => this.#watches.delete(ended),
    });
    this.#watches.add(watch);
    await watch.start();
    return watch;
  }

  /**
   * Ends all watches and publishes nothing more: indicators expire by their `ttl`, unless the users continue on
   * another server. Repeated calls return the same promise.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Calls `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    for (const byRoom of this.#broadcasters.values()) {
      for (const broadcaster of byRoom.values()) broadcaster.close();
    }
    this.#broadcasters.clear();
    await allOrFirstError(Array.from(this.#watches, (watch) => watch.close()));
  }

  #createBroadcaster(room: string, userId: string): TypingBroadcaster {
    return new TypingBroadcaster({
      clock: this.#clock,
      ttl: this.#ttl,
      send: (ttl, except) =>
        this.#rooms.broadcastTyping(room, userId, except === undefined ? { ttl } : { ttl, except }),
      onIdle: () => this.#removeBroadcaster(room, userId),
      report: (error) => this.#reporter.report(error, { stage: 'peer' }),
    });
  }

  #removeBroadcaster(room: string, userId: string): void {
    const byRoom = this.#broadcasters.get(userId);
    if (byRoom?.delete(room) === true && byRoom.size === 0) this.#broadcasters.delete(userId);
  }

  /** Returns `except`. */
  #validate(room: string | undefined, userId: string, options: TypingUpdateOptions): string | undefined {
    this.#assertOpen();
    // Also rejects a name that makes the channel name too long.
    if (room !== undefined) this.#rooms.channel(room);
    assertName('userId', userId);
    assertOptions('options', options, { except: true });
    const { except } = options;
    if (except !== undefined) assertName('except', except);
    return except;
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw new ClosedError('this TypingService is closed');
  }
}
