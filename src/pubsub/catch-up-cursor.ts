import type { ReadRequest, RetryingReader, StoredMessage } from '../history/history-reader.js';
import { type ChainLink, follows, mergeIntoChain, type Page } from '../history/merge-into-chain.js';
import { ORIGIN, type Position, positionTime } from '../history/position.js';
import { type HistoryServer, isSameServer } from '../history/server-identity.js';
import { runWithoutAsyncContext } from '../internal/async-context.js';
import type { Clock } from '../internal/clock.js';
import type { RollcallError } from '../internal/errors.js';
import { Stopwatch, telemetry } from '../internal/telemetry.js';
import type { Payload } from '../redis/driver.js';
import type { Backpressure } from './backpressure.js';
import type { Discontinuity, DiscontinuityReason } from './discontinuity.js';
import { LiveBuffer } from './live-buffer.js';

/** The position of a handler's first message. */
export type StartPosition =
  | { readonly after: Position }
  /** The next message, or the oldest one kept. */
  | 'latest'
  | 'earliest';

/** A period without a Redis subscription. */
export interface Gap {
  readonly reason: DiscontinuityReason;
  readonly since: Date;
}

export interface CursorOwner {
  readonly name: string;
  readonly binary: boolean;
  /** A message read from history (`replayed`), or buffered meanwhile. */
  deliver(cursor: CatchUpCursor, payload: Payload, position: Position, replayed: boolean): void;
  announce(cursor: CatchUpCursor, discontinuity: Discontinuity): void;
  /** Moves handlers whose receivers are full to cursors of their own, before a message is delivered. */
  splitFull(cursor: CatchUpCursor): void;
  report(cursor: CatchUpCursor, error: RollcallError): void;
  /** The cursor may now be merged with others at its position. */
  onCaughtUp(cursor: CatchUpCursor): void;
}

export interface CatchUpCursorOptions {
  readonly start?: StartPosition | undefined;
  /** Only with one handler; of live messages, too. While it is full, messages stay in the history. */
  readonly backpressure?: Backpressure | undefined;
  /** Its handlers have received messages without history. */
  readonly unchained?: boolean;
}

/** Messages per read: more than a short network failure loses, few enough not to block the event loop. */
const PAGE = 100;

const NO_POSITIONS: ReadonlySet<Position> = new Set();

interface RecoveryStats {
  pages: number;
  messages: number;
  /** At least one message is lost. */
  incomplete: boolean;
}

/**
 * Position of some handlers in a channel's history. On a gap it reads history, buffers live messages
 * meanwhile, and delivers both in order.
 */
export class CatchUpCursor {
  readonly #owner: CursorOwner;
  readonly #reader: RetryingReader;
  readonly #clock: Clock;
  #backpressure: Backpressure | undefined;
  /** `#backpressure` ends with the catch-up. */
  #paced = false;
  /** Ends a wait for `#backpressure`. */
  #stopWaiting: (() => void) | undefined;
  #handlerCount = 0;

  /** Undefined before the first message. */
  #position: Position | undefined;
  /** After a fork it can be later than `#position`. */
  #highWaterMark = -1;
  #start: StartPosition | undefined;
  /** Live messages are buffered. */
  #catchingUp = false;
  #reading = false;
  /** The read in progress is out of date. */
  #rereadNeeded = false;
  #subscribed = false;
  /** Created by the first message that must wait. */
  #live: LiveBuffer | undefined;
  #gap: Gap | undefined;
  /** A message arrived before its predecessor. */
  #pendingGap: Gap | undefined;
  /** With messages without history, a gap never counts as recovered. */
  #hasUnchainedMessages: boolean;
  #lost = false;
  /** The server that had the last message. */
  #server: HistoryServer | undefined;
  #serverSeenAt = 0;
  /** The first read is done, or none is needed. */
  #positioned: boolean;
  #positionWaiters: (() => void)[] | undefined;

  constructor(
    owner: CursorOwner,
    reader: RetryingReader,
    clock: Clock,
    { start, backpressure, unchained = false }: CatchUpCursorOptions = {},
  ) {
    this.#owner = owner;
    this.#reader = reader;
    this.#clock = clock;
    this.#backpressure = backpressure;
    this.#hasUnchainedMessages = unchained;
    this.#start = start;
    this.#catchingUp = start !== undefined;
    this.#positioned = start === undefined;
    if (typeof start === 'object') this.#setPosition(start.after);
  }

  /** A handler that joined now would receive messages, or a gap, from before it subscribed. */
  get isIncomplete(): boolean {
    return this.#catchingUp || this.#lost;
  }

  get hasBackpressure(): boolean {
    return this.#backpressure !== undefined;
  }

  get position(): Position | undefined {
    return this.#position;
  }

  /** A handler that begins after `position` would receive the same messages. */
  isAt(position: Position): boolean {
    return this.#position === position && !this.hasBackpressure && !this.#lost && this.#gap === undefined;
  }

  get handlerCount(): number {
    return this.#handlerCount;
  }

  join(handlers: number): void {
    this.#handlerCount += handlers;
  }

  leave(): void {
    if (--this.#handlerCount > 0) return;
    // Without handlers, the start position is not needed.
    this.#resolvePositioned();
    this.#stopWaiting?.();
  }

  /** Until this cursor, with one handler, has caught up. */
  pace(backpressure: Backpressure): void {
    this.#backpressure = backpressure;
    this.#paced = true;
  }

  /** Continues the catch-up from this position, for one handler, which must leave this cursor. */
  split(backpressure: Backpressure): CatchUpCursor {
    const cursor = new CatchUpCursor(this.#owner, this.#reader, this.#clock, {
      unchained: this.#hasUnchainedMessages,
    });
    cursor.pace(backpressure);
    cursor.#handlerCount = 1;
    cursor.#position = this.#position;
    cursor.#highWaterMark = this.#highWaterMark;
    cursor.#start = this.#start;
    cursor.#catchingUp = true;
    cursor.#subscribed = this.#subscribed;
    cursor.#lost = this.#lost;
    cursor.#gap = this.#gap;
    cursor.#pendingGap = this.#pendingGap;
    cursor.#server = this.#server;
    cursor.#serverSeenAt = this.#serverSeenAt;
    cursor.#catchUp();
    return cursor;
  }

  canMergeInto(other: CatchUpCursor): boolean {
    const settled = (cursor: CatchUpCursor) => !cursor.#catchingUp && !cursor.hasBackpressure;
    return other !== this && settled(this) && settled(other) && this.#position === other.#position;
  }

  /** Resolves when no message after the start position can be missed: with the first read. */
  whenPositioned(): Promise<void> {
    if (this.#positioned) return Promise.resolve();
    this.#positionWaiters ??= [];
    const waiters = this.#positionWaiters;
    return new Promise((resolve) => waiters.push(resolve));
  }

  /** With `gap`, the Redis subscription is active again. */
  subscribed(gap?: Gap): void {
    // A handler that joins during a read shares the result.
    const known = this.#subscribed && gap === undefined;
    this.#subscribed = true;
    const concerned = this.#lost;
    this.#lost = false;
    // A handler without a position has missed nothing yet.
    if (gap !== undefined && concerned && this.#start === undefined) {
      if (this.#position === undefined) return this.#announce({ ...gap, recovered: false });
      this.#gap ??= gap;
      this.#catchingUp = true;
    }
    if (this.#catchingUp && !(known && this.#reading)) this.#catchUp();
  }

  /** The read in progress stays valid, but another must follow it. */
  dropped(): void {
    this.#subscribed = false;
    this.#lost = true;
    // The next server may differ. Buffered messages are in the history; if that server has lost them, they
    // must not pass as the beginning of its own history.
    this.#live = undefined;
    this.#rereadNeeded = true;
    if (this.#position !== undefined) this.#catchingUp = true;
  }

  /** Such a message could have been missed. */
  onUnchainedMessage(): void {
    this.#hasUnchainedMessages = true;
  }

  /** False: the message is buffered, or read from history later. */
  accept(link: ChainLink, payload: Payload): boolean {
    if (this.#catchingUp) {
      this.#buffer(link, payload);
      return false;
    }
    const time = positionTime(link.position);
    const ahead = time > this.#highWaterMark;
    const next = ahead && (this.#position === undefined || follows(this.#position, link.previous));
    if (next && this.#backpressure?.full !== true) {
      this.#advanceTo(link.position, time);
      return true;
    }
    this.#catchingUp = true;
    this.#position ??= link.previous;
    // If only the queue is full, the message stays in the history.
    if (!next) {
      // An older message is a duplicate, or belongs to a fork, which the read will show.
      if (ahead) this.#pendingGap = { reason: 'missed', since: this.#lastDeliveredAt() };
      this.#buffer(link, payload);
    }
    this.#catchUp();
    return false;
  }

  #advanceTo(position: Position, time: number): void {
    const isFirst = this.#position === undefined;
    this.#position = position;
    this.#highWaterMark = time;
    if (!isFirst || this.#server !== undefined) return;
    // The server must be known before another one can replace it.
    this.#reader.identify(this.#owner.name).then(
      (server) => {
        if (this.#subscribed && this.#server === undefined) this.#setServer(server);
      },
      () => {},
    );
  }

  #setServer(server: HistoryServer): void {
    this.#server = server;
    this.#serverSeenAt = this.#clock.now();
  }

  #setPosition(position: Position): void {
    this.#position = position;
    this.#highWaterMark = Math.max(this.#highWaterMark, positionTime(position));
  }

  #buffer(link: ChainLink, payload: Payload): void {
    // The next read begins after the wait.
    if (this.#stopWaiting !== undefined) return;
    this.#live ??= new LiveBuffer();
    if (!this.#live.add(link, payload)) this.#rereadNeeded = true;
  }

  #catchUp(): void {
    this.#rereadNeeded = true;
    if (this.#reading) return;
    this.#reading = true;
    // Other handlers may join the cursor.
    runWithoutAsyncContext(() => this.#readUntilCaughtUp()).finally(() => {
      this.#reading = false;
      // Requested again after the last check in `#readUntilCaughtUp`.
      if (this.#catchingUp && this.#subscribed && this.#rereadNeeded && this.#handlerCount > 0)
        this.#catchUp();
    });
  }

  /** Reads pages until history and live messages meet. Never rejects. */
  async #readUntilCaughtUp(): Promise<void> {
    const stats: RecoveryStats = { pages: 0, messages: 0, incomplete: false };
    const stopwatch = telemetry.recovery.hasSubscribers ? new Stopwatch() : undefined;
    const abandoned = () => this.#handlerCount === 0;
    const emitRecovery = (error?: Error) => {
      if (stopwatch === undefined || stats.pages === 0) return;
      const { pages, messages, incomplete } = stats;
      const recovered = error === undefined && !incomplete;
      const channel = this.#owner.name;
      telemetry.recovery.emit({ channel, pages, messages, recovered, ...stopwatch.stop(error) });
    };
    while (!abandoned()) {
      // A caller that waits for the start position may be the one that empties the queue.
      if (this.#positioned && this.#isFull()) {
        await this.#untilDrained();
        continue;
      }
      this.#rereadNeeded = false;
      this.#live?.beginRead();
      const request = this.#createRequest();
      let page: Page<StoredMessage>;
      try {
        page = await this.#reader.readWithRetry(request, abandoned);
      } catch (error) {
        if (abandoned()) return;
        emitRecovery(error as Error);
        this.#owner.report(this, error as RollcallError);
        return this.#continueWithoutHistory();
      }
      if (abandoned()) return;
      if (this.#positionWaiters !== undefined && !this.#startsAtLatest()) {
        // Callers get their subscriptions before the first message.
        this.#resolvePositioned();
        await new Promise<void>((resolve) => setImmediate(resolve));
        if (abandoned()) return;
      }
      // A handler with a binary codec joined during the read, and this page is text.
      if (request.binary !== this.#owner.binary) continue;
      stats.pages++;
      const done = this.#deliverPage(page, stats);
      // Only an active subscription can show that the page was the last one.
      if (!this.#subscribed) return emitRecovery();
      if (done && !this.#rereadNeeded) break;
    }
    emitRecovery();
    if (!abandoned()) this.#finishCatchUp(stats);
  }

  #isFull(): boolean {
    return this.#backpressure?.full === true;
  }

  /** Or until the last handler has left. */
  async #untilDrained(): Promise<void> {
    // Dropped live messages are read later.
    this.#live = undefined;
    await new Promise<void>((resolve) => {
      this.#stopWaiting = resolve;
      void this.#backpressure?.drained().then(resolve);
    });
    this.#stopWaiting = undefined;
  }

  #endPacing(): void {
    if (!this.#paced) return;
    this.#paced = false;
    this.#backpressure = undefined;
  }

  #finishCatchUp({ messages, incomplete }: RecoveryStats): void {
    this.#catchingUp = false;
    this.#endPacing();
    // Duplicates look like a gap until history is read.
    const gap = this.#gap ?? (messages > 0 && !incomplete ? this.#pendingGap : undefined);
    this.#gap = undefined;
    this.#pendingGap = undefined;
    this.#start = undefined;
    if (this.#live?.isEmpty === true) this.#live = undefined;
    this.#resolvePositioned();
    if (gap !== undefined) this.#announce({ ...gap, recovered: true });
    this.#owner.onCaughtUp(this);
  }

  #createRequest(): ReadRequest & { binary: boolean } {
    const { name, binary } = this.#owner;
    return {
      channel: name,
      after: this.#position,
      // To begin with the next message, only the last position is needed.
      limit: this.#startsAtLatest() || this.#isFull() ? 0 : PAGE,
      ...(this.#backpressure?.pageBytes === undefined ? {} : { maxBytes: this.#backpressure.pageBytes }),
      binary,
      // The server may differ after a lost connection.
      identify: this.#gap !== undefined || this.#lost ? 'now' : 'cached',
      previous:
        this.#server === undefined
          ? undefined
          : { server: this.#server, since: Math.max(this.#serverSeenAt, this.#unbrokenUntil().getTime()) },
      createOrigin: this.#position === undefined || this.#position === ORIGIN,
    };
  }

  #startsAtLatest(): boolean {
    return this.#start === 'latest' && this.#position === undefined;
  }

  /** Returns true when the page and the buffered messages have met. */
  #deliverPage(page: Page<StoredMessage>, stats: RecoveryStats): boolean {
    let usable = page;
    if (this.#startsAtLatest()) {
      this.#setPosition(page.last);
      usable = { ...page, more: false, messages: [] };
    }
    // The start position is known, even if the queue is full.
    this.#resolvePositioned();
    if (typeof this.#start === 'object' && this.#start.after === this.#position) {
      // A start position that the server has not reached must not make every later message look old.
      this.#highWaterMark = Math.min(this.#highWaterMark, positionTime(page.last));
    }
    const live = this.#live?.positions() ?? NO_POSITIONS;
    const result = mergeIntoChain<StoredMessage>(
      this.#position,
      usable,
      this.#live?.links() ?? [],
      this.#highWaterMark,
    );
    const [first] = result.steps;
    if (first !== undefined && !this.#hasRoom()) return false;
    const reported = this.#checkContinuity(page);
    if (reported) stats.incomplete = true;
    // No message may be left for later between a gap and its report.
    let checked = true;
    for (const step of result.steps) {
      if (!checked && !this.#hasRoom()) return false;
      checked = step.type === 'break';
      if (step.type === 'break') {
        stats.incomplete = true;
        // The gap that a failover has caused is one gap.
        if (!reported || step !== first) this.#emitUnrecovered(step.reason);
        continue;
      }
      const { position, payload } = step.message;
      this.#setPosition(position);
      const replayed = !live.has(position);
      if (replayed) stats.messages++;
      this.#owner.deliver(this, payload, position, replayed);
    }
    this.#position = result.position;
    this.#live?.keep(result.buffered);
    return !result.readAgain;
  }

  /** Handlers that are full continue by themselves. False: no other is left, and messages are read again later. */
  #hasRoom(): boolean {
    this.#owner.splitFull(this);
    return this.#handlerCount > 0 && !this.#isFull();
  }

  /**
   * Losses without a trace in the chain are reported before recovered messages. Returns true if one was
   * reported.
   */
  #checkContinuity({ server, moved }: Page<StoredMessage>): boolean {
    const before = this.#server;
    if (server !== undefined) this.#setServer(server);
    if (before !== undefined && server !== undefined && moved !== true && !isSameServer(before, server)) {
      this.#emitUnrecovered('failover');
      return true;
    }
    const gap = this.#gap;
    if (gap === undefined) return false;
    // Without a position, a wipe leaves the chain as it was.
    const doubtful = before === undefined || this.#hasUnchainedMessages || this.#position === ORIGIN;
    if (doubtful) this.#emitUnrecovered(gap.reason);
    return doubtful;
  }

  /** Live messages are delivered from here on, even with a gap before them. */
  #continueWithoutHistory(): void {
    this.#emitUnrecovered('unavailable');
    this.#position = undefined;
    this.#catchingUp = false;
    this.#endPacing();
    const buffered = this.#live?.take() ?? [];
    this.#start = undefined;
    this.#resolvePositioned();
    for (const message of buffered) {
      const { payload, position } = message;
      if (this.accept(message, payload)) this.#owner.deliver(this, payload, position, false);
    }
  }

  #emitUnrecovered(reason: DiscontinuityReason): void {
    const since = this.#unbrokenUntil();
    this.#gap = undefined;
    this.#pendingGap = undefined;
    this.#announce({ reason, since, recovered: false });
  }

  #unbrokenUntil(): Date {
    return this.#gap?.since ?? this.#lastDeliveredAt();
  }

  /** When the last delivered message was published. */
  #lastDeliveredAt(): Date {
    return new Date(this.#position === undefined ? this.#clock.now() : positionTime(this.#position) / 1_000);
  }

  #resolvePositioned(): void {
    this.#positioned = true;
    const waiters = this.#positionWaiters ?? [];
    this.#positionWaiters = undefined;
    for (const resolve of waiters) resolve();
  }

  #announce(discontinuity: Discontinuity): void {
    this.#owner.announce(this, discontinuity);
  }
}
