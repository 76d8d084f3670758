import {
  type BufferedMessage,
  type ChainLink,
  type ChainResult,
  follows,
  mergeIntoChain,
  type Page,
} from '../history/chain.js';
import type { ReadRequest, RetryingReader, StoredMessage } from '../history/history-reader.js';
import { ORIGIN, type Position, positionTime } from '../history/position.js';
import { type HistoryServer, isSameServer } from '../history/server-identity.js';
import type { RollcallError } from '../internal/errors.js';
import { Stopwatch, telemetry } from '../internal/telemetry.js';
import type { Payload } from '../redis/driver.js';
import type { Discontinuity, DiscontinuityReason } from './discontinuity.js';

/** Where in a channel's history a handler begins. */
export type StartPosition =
  /** After this message. */
  | { readonly after: Position }
  /** With the next message, or with the oldest one that is kept. */
  | 'latest'
  | 'earliest';

/** The queue of a handler that reads at its own pace. */
export interface Backpressure {
  /** There is no room for another message. */
  readonly full: boolean;
  /** Resolves when there is room again, or when the reader has stopped. */
  drained(): Promise<void>;
}

/** A period without a Redis subscription. */
export interface Gap {
  readonly reason: DiscontinuityReason;
  readonly since: Date;
}

/** The handlers that a {@link HistoryCursor} delivers to. */
export interface CursorOwner {
  /** The channel. */
  readonly name: string;
  /** Payloads must be read as bytes. */
  readonly binary: boolean;
  /** Delivers a message that was read from history, or buffered while history was read. */
  deliver(cursor: HistoryCursor, payload: Payload, position: Position): void;
  announce(cursor: HistoryCursor, discontinuity: Discontinuity): void;
  report(cursor: HistoryCursor, error: RollcallError): void;
  /** Every message has been delivered; the cursor may be merged with others at its position. */
  onCaughtUp(cursor: HistoryCursor): void;
}

/** Options of a {@link HistoryCursor}. */
export interface HistoryCursorOptions {
  readonly start?: StartPosition | undefined;
  /** For a cursor with one handler. While its queue is full, messages are left in the history and read later. */
  readonly backpressure?: Backpressure | undefined;
  /** Its handlers have received messages without history. */
  readonly unchained?: boolean;
}

/** Messages per read: more than a short network failure loses, few enough not to block the event loop. */
const PAGE = 100;
/** Limit of live messages that are buffered while history is read. Those beyond are read from history. */
const MAX_BUFFERED = 1_000;

/** The outcome of one recovery, for telemetry. */
interface RecoveryStats {
  pages: number;
  /** Messages that had not arrived live. */
  messages: number;
  /** At least one message is lost. */
  incomplete: boolean;
}

/**
 * Position of some handlers in a channel's history. It checks that each live message follows the one
 * before. On a gap it reads history, buffers live messages in the meantime, and delivers both in order.
 */
export class HistoryCursor {
  readonly #owner: CursorOwner;
  readonly #reader: RetryingReader;
  readonly #now: () => number;
  readonly #backpressure: Backpressure | undefined;
  #handlerCount = 0;

  /** The last message delivered; undefined before the first. */
  #position: Position | undefined;
  /** Time of the latest message ever delivered. After a fork it can be later than `#position`. */
  #highWaterMark = -1;
  #start: StartPosition | undefined;
  /** History is being read, or has to be; live messages are buffered. */
  #catchingUp = false;
  #reading = false;
  #readCount = 0;
  /** The result of the read in progress is already out of date. */
  #rereadNeeded = false;
  #subscribed = false;
  #liveBuffer: { readonly message: StoredMessage; readonly readCount: number }[] = [];
  #gap: Gap | undefined;
  /** A message arrived before its predecessor. */
  #pendingGap: Gap | undefined;
  /** Messages without history arrive here too, so that no gap is ever known to be recovered. */
  #hasUnchainedMessages: boolean;
  /** The Redis subscription is lost and not yet back. */
  #lost = false;
  /** The server that had the last message; undefined until it is known. */
  #server: HistoryServer | undefined;
  /** When `#server` was read from. */
  #serverSeenAt = 0;
  #positionWaiters: (() => void)[] = [];

  constructor(
    owner: CursorOwner,
    reader: RetryingReader,
    now: () => number,
    { start, backpressure, unchained = false }: HistoryCursorOptions = {},
  ) {
    this.#owner = owner;
    this.#reader = reader;
    this.#now = now;
    this.#backpressure = backpressure;
    this.#hasUnchainedMessages = unchained;
    this.#start = start;
    this.#catchingUp = start !== undefined;
    if (typeof start === 'object') this.#setPosition(start.after);
  }

  /** A handler that joined now would receive messages, or a gap, from before it subscribed. */
  get isIncomplete(): boolean {
    return this.#catchingUp || this.#lost;
  }

  get hasBackpressure(): boolean {
    return this.#backpressure !== undefined;
  }

  /** The last message delivered, or the start position; undefined until it is known. */
  get position(): Position | undefined {
    return this.#position;
  }

  /** A handler that begins after `position` would receive exactly what this cursor's handlers receive. */
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
    // Without handlers, the start position is of no interest.
    if (--this.#handlerCount === 0) this.#resolvePositioned();
  }

  /** Both cursors have caught up, to the same position. */
  canMergeInto(other: HistoryCursor): boolean {
    const settled = (cursor: HistoryCursor) => !cursor.#catchingUp && !cursor.hasBackpressure;
    return other !== this && settled(this) && settled(other) && this.#position === other.#position;
  }

  /** Resolves when the start position is known; no later message is missed. */
  whenPositioned(): Promise<void> {
    if (this.#start !== 'latest') return Promise.resolve();
    return new Promise((resolve) => this.#positionWaiters.push(resolve));
  }

  /** The Redis subscription is active: for the first time or, with `gap`, again. */
  subscribed(gap?: Gap): void {
    // A handler that joins while history is being read shares the result of that read.
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

  /** The Redis subscription is lost. The read in progress stays valid, but another must follow it. */
  dropped(): void {
    this.#subscribed = false;
    this.#lost = true;
    // Another server may be read from now on. Buffered messages are in the history; if that server has
    // lost them, they must not be taken for the beginning of its own history.
    this.#liveBuffer = [];
    this.#rereadNeeded = true;
    if (this.#position !== undefined) this.#catchingUp = true;
  }

  /** A message without history was delivered, and could have been missed. */
  onUnchainedMessage(): void {
    this.#hasUnchainedMessages = true;
  }

  /** True if a live message is to be delivered now. Otherwise it is buffered, or read from history later. */
  accept(link: ChainLink, payload: Payload): boolean {
    if (this.#catchingUp) {
      this.#buffer(link, payload);
      return false;
    }
    const ahead = positionTime(link.position) > this.#highWaterMark;
    const next = ahead && (this.#position === undefined || follows(this.#position, link.previous));
    if (next && this.#backpressure?.full !== true) {
      this.#advanceTo(link.position);
      return true;
    }
    this.#catchingUp = true;
    this.#position ??= link.previous;
    // If only the queue is full, the message is left in the history.
    if (!next) {
      // An older message is a duplicate, or belongs to a fork, which the read will show.
      if (ahead) this.#pendingGap = { reason: 'missed', since: this.#lastDeliveredAt() };
      this.#buffer(link, payload);
    }
    this.#catchUp();
    return false;
  }

  #advanceTo(position: Position): void {
    const isFirst = this.#position === undefined;
    this.#setPosition(position);
    if (!isFirst || this.#server !== undefined) return;
    // The server must be known before another one can take its place.
    this.#reader.identify(this.#owner.name).then(
      (server) => {
        if (this.#subscribed && this.#server === undefined) this.#setServer(server);
      },
      () => {},
    );
  }

  #setServer(server: HistoryServer): void {
    this.#server = server;
    this.#serverSeenAt = this.#now();
  }

  #setPosition(position: Position): void {
    this.#position = position;
    this.#highWaterMark = Math.max(this.#highWaterMark, positionTime(position));
  }

  #buffer({ position, previous }: ChainLink, payload: Payload): void {
    if (this.#liveBuffer.length >= MAX_BUFFERED) {
      this.#liveBuffer = [];
      this.#rereadNeeded = true;
    }
    this.#liveBuffer.push({ message: { position, previous, payload }, readCount: this.#readCount });
  }

  #catchUp(): void {
    this.#rereadNeeded = true;
    if (this.#reading) return;
    this.#reading = true;
    this.#readUntilCaughtUp().finally(() => {
      this.#reading = false;
      // Requested again after the last check in `#readUntilCaughtUp`.
      if (this.#catchingUp && this.#subscribed && this.#rereadNeeded && this.#handlerCount > 0)
        this.#catchUp();
    });
  }

  /** Reads pages until history and the live messages meet. Never rejects. */
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
      if (this.#backpressure?.full === true) {
        await this.#backpressure.drained();
        continue;
      }
      this.#rereadNeeded = false;
      this.#readCount++;
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

  #finishCatchUp({ messages, incomplete }: RecoveryStats): void {
    this.#catchingUp = false;
    // Duplicates look like a gap until history is read.
    const gap = this.#gap ?? (messages > 0 && !incomplete ? this.#pendingGap : undefined);
    this.#gap = undefined;
    this.#pendingGap = undefined;
    this.#start = undefined;
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
      limit: this.#startsAtLatest() ? 0 : PAGE,
      binary,
      // A connection that was lost says nothing about the server that is there now.
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

  /** Delivers the messages of a page and those buffered that follow it; true when both have met. */
  #deliverPage(page: Page<StoredMessage>, stats: RecoveryStats): boolean {
    let usable = page;
    if (this.#startsAtLatest()) {
      this.#setPosition(page.last);
      usable = { ...page, more: false, messages: [] };
    }
    // The start position is known now, even if the queue has no room yet.
    this.#resolvePositioned();
    if (typeof this.#start === 'object' && this.#start.after === this.#position) {
      // A start position that the server has not reached must not make every later message look old.
      this.#highWaterMark = Math.min(this.#highWaterMark, positionTime(page.last));
    }
    this.#checkContinuity(page);
    const live = new Set(this.#liveBuffer.map(({ message }) => message.position));
    const result = mergeIntoChain<StoredMessage>(
      this.#position,
      usable,
      this.#bufferedMessages(),
      this.#highWaterMark,
    );
    for (const step of result.steps) {
      // What does not fit is read again when there is room.
      if (this.#backpressure?.full === true) {
        this.#liveBuffer = [];
        return false;
      }
      if (step.type === 'break') {
        stats.incomplete = true;
        this.#emitUnrecovered(step.reason);
        continue;
      }
      const { position, payload } = step.message;
      this.#setPosition(position);
      if (!live.has(position)) stats.messages++;
      this.#owner.deliver(this, payload, position);
    }
    this.#position = result.position;
    this.#keepBuffered(result);
    return !result.readAgain;
  }

  /** Losses that leave no trace in the chain are announced before what can be recovered. */
  #checkContinuity({ server, moved }: Page<StoredMessage>): void {
    const before = this.#server;
    if (server !== undefined) this.#setServer(server);
    if (before !== undefined && server !== undefined && moved !== true && !isSameServer(before, server)) {
      return this.#emitUnrecovered('failover');
    }
    const gap = this.#gap;
    if (gap === undefined) return;
    // Without a position, a wipe leaves the chain as it was.
    if (before === undefined || this.#hasUnchainedMessages || this.#position === ORIGIN)
      this.#emitUnrecovered(gap.reason);
  }

  #bufferedMessages(): BufferedMessage<StoredMessage>[] {
    return this.#liveBuffer.map(({ message, readCount }) => ({
      link: message,
      beforeRead: readCount < this.#readCount,
    }));
  }

  #keepBuffered({ buffered }: ChainResult<StoredMessage>): void {
    const kept = new Set(buffered.map(({ link }) => link));
    this.#liveBuffer = this.#liveBuffer.filter(({ message }) => kept.has(message));
  }

  /** History cannot be read: live messages are delivered from here on, whatever precedes them. */
  #continueWithoutHistory(): void {
    this.#emitUnrecovered('unavailable');
    this.#position = undefined;
    this.#catchingUp = false;
    const buffered = this.#liveBuffer;
    this.#liveBuffer = [];
    this.#start = undefined;
    this.#resolvePositioned();
    for (const { message } of buffered) {
      if (this.accept(message, message.payload)) this.#owner.deliver(this, message.payload, message.position);
    }
  }

  #emitUnrecovered(reason: DiscontinuityReason): void {
    const since = this.#unbrokenUntil();
    this.#gap = undefined;
    this.#announce({ reason, since, recovered: false });
  }

  /** The last time at which no message was missing. */
  #unbrokenUntil(): Date {
    return this.#gap?.since ?? this.#lastDeliveredAt();
  }

  /** When the last message delivered was published. */
  #lastDeliveredAt(): Date {
    return new Date(this.#position === undefined ? this.#now() : positionTime(this.#position) / 1_000);
  }

  #resolvePositioned(): void {
    for (const resolve of this.#positionWaiters.splice(0)) resolve();
  }

  #announce(discontinuity: Discontinuity): void {
    this.#owner.announce(this, discontinuity);
  }
}
