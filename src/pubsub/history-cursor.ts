import {
  type BufferedMessage,
  type ChainLink,
  type ChainResult,
  mergeIntoChain,
  type Page,
} from '../history/chain.js';
import type { RetryingReader, StoredMessage } from '../history/history-reader.js';
import { ORIGIN, type Position, positionTime } from '../history/position.js';
import type { RollcallError } from '../internal/errors.js';
import { Stopwatch, telemetry } from '../internal/telemetry.js';
import type { SubscriptionKind } from '../redis/driver.js';
import { type Backpressure, Delivery } from './delivery.js';
import type { Discontinuity, DiscontinuityReason } from './discontinuity.js';
import { HandlerList, notifyDiscontinuity, servicesOf } from './handler-list.js';
import type { HandlerSubscription } from './handler-subscription.js';

/** Where in a channel's history a handler begins. */
export type StartPosition =
  /** After this message. */
  | { readonly after: Position }
  /** With the next one to be published, or with the oldest that is kept. */
  | 'latest'
  | 'earliest';

/** A stretch in which the subscription was not there. */
export interface Gap {
  readonly reason: DiscontinuityReason;
  readonly since: Date;
}

/** The subscription that cohorts belong to. */
export interface CursorOwner {
  readonly kind: SubscriptionKind;
  readonly name: string;
  /** Payloads come as bytes. */
  readonly binary: boolean;
  /** `cohort` has nothing to catch up with any more. */
  onCaughtUp(cohort: HistoryCursor): void;
}

/** What a cohort begins with. */
export interface HistoryCursorOptions {
  readonly start?: StartPosition | undefined;
  /** For a cohort of one, whose queue can run full without harm: what is not taken is read again. */
  readonly gate?: Backpressure | undefined;
  /** Those who have listened before there was anything to follow. */
  readonly crowd?: HandlerList;
  /** They have got messages without a place in the chain. */
  readonly mixed?: boolean;
}

/** Messages per reading: more than a hiccup loses, fewer than a stall would notice. */
const PAGE = 100;
/** Live messages that wait while history is read. Those beyond are in the history as well. */
const MAX_BUFFERED = 1_000;

/** What one recovery came to. */
interface RecoveryStats {
  pages: number;
  /** Messages that had not come live. */
  messages: number;
  /** Something is lost. */
  broken: boolean;
}

/** A message on its way through a cohort, and its place in the chain. */
interface LiveMessage extends ChainLink {
  readonly delivery: Delivery;
}

/**
 * Handlers of one subscription that stand at the same place in the channel's history, so that one of
 * them following the chain is all of them doing so. A channel without history has one cohort, with
 * nothing to follow; with the first message that has a place in a chain it begins to.
 */
export class HistoryCursor {
  readonly #home: CursorOwner;
  readonly #reader: RetryingReader;
  readonly #now: () => number;
  readonly #crowd: HandlerList;
  readonly #gate: Backpressure | undefined;

  /** The last message delivered; undefined before the first. */
  #position: Position | undefined;
  /** The time of the latest message delivered, on whichever branch. */
  #highWaterMark = -1;
  #start: StartPosition | undefined;
  /** History is being read, or has to be; live messages wait. */
  #catchingUp = false;
  #reading = false;
  #readings = 0;
  /** Something happened under way that makes the reading in progress too old. */
  #rereadNeeded = false;
  #subscribed = false;
  #liveBuffer: { readonly arrived: LiveMessage; readonly reading: number }[] = [];
  #gap: Gap | undefined;
  /** A message came whose predecessor had not. */
  #pendingGap: Gap | undefined;
  /** Messages without a place in the chain come here too, so no gap is ever known to be closed. */
  #hasUnchainedMessages: boolean;
  /** The subscription has gone, and is not back yet. */
  #lost = false;
  /** The server that had the last message; undefined before that is known. */
  #server: string | undefined;
  #started: (() => void)[] = [];

  constructor(
    home: CursorOwner,
    reader: RetryingReader,
    now: () => number,
    { start, gate, crowd = new HandlerList(), mixed = false }: HistoryCursorOptions = {},
  ) {
    this.#home = home;
    this.#reader = reader;
    this.#now = now;
    this.#gate = gate;
    this.#crowd = crowd;
    this.#hasUnchainedMessages = mixed;
    this.#start = start;
    this.#catchingUp = start !== undefined;
    if (typeof start === 'object') this.#setPosition(start.after);
  }

  /** Messages are missing here that are none of the business of whoever joins now. */
  get isIncomplete(): boolean {
    return this.#catchingUp || this.#lost;
  }

  /** Reads at its own pace, and so stays apart. */
  get hasBackpressure(): boolean {
    return this.#gate !== undefined;
  }

  /** The last message delivered, or where it begins; undefined before that is known. */
  get position(): Position | undefined {
    return this.#position;
  }

  /** Whoever wants to begin after `position` gets here what he wants, and nothing else. */
  isAt(position: Position): boolean {
    return this.#position === position && !this.hasBackpressure && !this.#lost && this.#gap === undefined;
  }

  get size(): number {
    return this.#crowd.size;
  }

  get members(): Iterable<HandlerSubscription> {
    return this.#crowd;
  }

  has(member: HandlerSubscription): boolean {
    return this.#crowd.has(member);
  }

  add(member: HandlerSubscription): void {
    this.#crowd.add(member);
  }

  remove(member: HandlerSubscription): void {
    // Nobody waits for a place in a history that nobody follows.
    if (this.#crowd.delete(member) && this.size === 0) this.#resolvePositioned();
  }

  /** Takes over all of `other`, if both stand at the same place. */
  merge(other: HistoryCursor): boolean {
    const settled = (cohort: HistoryCursor) => !cohort.#catchingUp && !cohort.hasBackpressure;
    if (!settled(this) || !settled(other) || this.#position !== other.#position) return false;
    this.#crowd.absorb(other.#crowd);
    return true;
  }

  /** Resolves when it is known where its members begin; from then on nothing is missed. */
  whenPositioned(): Promise<void> {
    if (this.#start !== 'latest') return Promise.resolve();
    return new Promise((resolve) => this.#started.push(resolve));
  }

  /** The subscription is there, for the first time or, after `gap`, again. */
  subscribed(gap?: Gap): void {
    // Whoever joins those who are being read for already gets what they get.
    const known = this.#subscribed && gap === undefined;
    this.#subscribed = true;
    const concerned = this.#lost;
    this.#lost = false;
    // Whoever has yet to begin misses nothing.
    if (gap !== undefined && concerned && this.#start === undefined) {
      if (this.#position === undefined) return this.#announce({ ...gap, recovered: false });
      this.#gap ??= gap;
      this.#catchingUp = true;
    }
    if (this.#catchingUp && !(known && this.#reading)) this.#catchUp();
  }

  /** The subscription is gone, for the time being: what history has still holds, but does not end it. */
  dropped(): void {
    this.#subscribed = false;
    this.#lost = true;
    // Another server may answer now. What is held is in the history; if it is lost there, then it must
    // not be mistaken for the beginning of what the other one has.
    this.#liveBuffer = [];
    this.#rereadNeeded = true;
    if (this.#position !== undefined) this.#catchingUp = true;
  }

  /** A message came in. */
  receive(delivery: Delivery, link: ChainLink | undefined): void {
    if (link === undefined) {
      if (!delivery.transient) this.#hasUnchainedMessages = true;
      return this.#crowd.dispatch(delivery);
    }
    if (this.#catchingUp) return this.#buffer(delivery, link);
    const ahead = positionTime(link.position) > this.#highWaterMark;
    const next = ahead && (this.#position === undefined || link.previous === this.#position);
    if (next && this.#gate?.full !== true) {
      this.#advanceTo(link.position);
      return this.#crowd.dispatch(delivery);
    }
    this.#catchingUp = true;
    // With a full gate the history is as good a place to wait as any.
    this.#position ??= link.previous;
    if (!next) {
      // One from before is a duplicate, or of a fork, which the reading will show.
      if (ahead) this.#pendingGap = { reason: 'missed', since: this.#lastDeliveredAt() };
      this.#buffer(delivery, link);
    }
    this.#catchUp();
  }

  #advanceTo(position: Position): void {
    const begins = this.#position === undefined;
    this.#setPosition(position);
    if (!begins || this.#server !== undefined) return;
    // Which server that was has to be known before it is replaced by another.
    const { name } = this.#home;
    this.#reader.read({ channel: name, limit: 0 }).then(
      ({ server }) => {
        if (this.#subscribed) this.#server ??= server;
      },
      () => {},
    );
  }

  #setPosition(position: Position): void {
    this.#position = position;
    this.#highWaterMark = Math.max(this.#highWaterMark, positionTime(position));
  }

  #buffer(delivery: Delivery, { position, previous }: ChainLink): void {
    if (this.#liveBuffer.length >= MAX_BUFFERED) {
      this.#liveBuffer = [];
      this.#rereadNeeded = true;
    }
    this.#liveBuffer.push({ arrived: { position, previous, delivery }, reading: this.#readings });
  }

  #catchUp(): void {
    this.#rereadNeeded = true;
    if (this.#reading) return;
    this.#reading = true;
    this.#readUntilCaughtUp().finally(() => {
      this.#reading = false;
      // Asked for again between the last look and now.
      if (this.#catchingUp && this.#subscribed && this.#rereadNeeded && this.size > 0) this.#catchUp();
    });
  }

  /** Reads history and takes in what is held, until both meet. Never rejects. */
  async #readUntilCaughtUp(): Promise<void> {
    const tally: RecoveryStats = { pages: 0, messages: 0, broken: false };
    const watch = telemetry.recovery.hasSubscribers ? new Stopwatch() : undefined;
    const gone = () => this.size === 0;
    const told = (error?: Error) => {
      if (watch === undefined || tally.pages === 0) return;
      const { pages, messages, broken } = tally;
      const recovered = error === undefined && !broken;
      telemetry.recovery.emit({
        channel: this.#home.name,
        pages,
        messages,
        recovered,
        ...watch.stop(error),
      });
    };
    while (!gone()) {
      if (this.#gate?.full === true) {
        await this.#gate.drained();
        continue;
      }
      this.#rereadNeeded = false;
      this.#readings++;
      const request = this.#request();
      let page: Page<StoredMessage>;
      try {
        page = await this.#reader.readWithRetry(request, gone);
      } catch (error) {
        if (gone()) return;
        told(error as Error);
        this.#report(error as RollcallError);
        return this.#giveUp();
      }
      if (gone()) return;
      // Somebody wants bytes now, and this is text.
      if (request.binary !== this.#home.binary) continue;
      tally.pages++;
      const done = this.#deliverPage(page, tally);
      // What history had is taken; whether that was all, only a subscription can tell.
      if (!this.#subscribed) return told();
      if (done && !this.#rereadNeeded) break;
    }
    told();
    if (!gone()) this.#onCaughtUp(tally);
  }

  #onCaughtUp({ messages, broken }: RecoveryStats): void {
    this.#catchingUp = false;
    // Messages that came twice look like a hole at first.
    const gap = this.#gap ?? (messages > 0 && !broken ? this.#pendingGap : undefined);
    this.#gap = undefined;
    this.#pendingGap = undefined;
    this.#start = undefined;
    this.#resolvePositioned();
    if (gap !== undefined) this.#announce({ ...gap, recovered: true });
    this.#home.onCaughtUp(this);
  }

  #request() {
    const { name, binary } = this.#home;
    return {
      channel: name,
      after: this.#position,
      // To begin with the next message, only the place of the last one matters.
      limit: this.#fromLatest() ? 0 : PAGE,
      binary,
    };
  }

  #fromLatest(): boolean {
    return this.#start === 'latest' && this.#position === undefined;
  }

  /** Delivers what a page and the held messages have to give; true when both have met. */
  #deliverPage(page: Page<StoredMessage>, tally: RecoveryStats): boolean {
    let arrivals = this.#arrivals(page);
    if (this.#fromLatest()) {
      this.#setPosition(page.last);
      arrivals = { ...arrivals, more: false, messages: [] };
    }
    // Where to begin is known, also when there is no room yet.
    this.#resolvePositioned();
    this.#checkContinuity(page.server);
    const live = new Set(this.#liveBuffer.map(({ arrived }) => arrived.position));
    const result = mergeIntoChain<LiveMessage>(
      this.#position,
      arrivals,
      this.#waiting(),
      this.#highWaterMark,
    );
    for (const step of result.steps) {
      // What does not fit is read again when there is room.
      if (this.#gate?.full === true) {
        this.#liveBuffer = [];
        return false;
      }
      if (step.type === 'break') {
        tally.broken = true;
        this.#emitUnrecovered(step.reason);
        continue;
      }
      this.#setPosition(step.message.position);
      if (!live.has(step.message.position)) tally.messages++;
      this.#crowd.dispatch(step.message.delivery);
    }
    this.#position = result.position;
    this.#keep(result);
    return !result.readAgain;
  }

  /** What leaves no trace in the chain cannot be recovered for certain; that is told before what can. */
  #checkContinuity(server: string): void {
    const before = this.#server;
    this.#server = server;
    if (before !== undefined && before !== server) return this.#emitUnrecovered('failover');
    const gap = this.#gap;
    if (gap === undefined) return;
    // Before the first message, a wipe leaves the chain as it was.
    if (before === undefined || this.#hasUnchainedMessages || this.#position === ORIGIN)
      this.#emitUnrecovered(gap.reason);
  }

  #arrivals(page: Page<StoredMessage>): Page<LiveMessage> {
    const { kind, name } = this.#home;
    const messages = page.messages.map(({ position, previous, payload }) => ({
      position,
      previous,
      delivery: new Delivery(kind, name, name, payload, position),
    }));
    return { ...page, messages };
  }

  #waiting(): BufferedMessage<LiveMessage>[] {
    return this.#liveBuffer.map(({ arrived, reading }) => ({
      link: arrived,
      beforeRead: reading < this.#readings,
    }));
  }

  #keep({ held }: ChainResult<LiveMessage>): void {
    const kept = new Set(held.map(({ link }) => link));
    this.#liveBuffer = this.#liveBuffer.filter(({ arrived }) => kept.has(arrived));
  }

  /** History cannot be had: on with what comes, wherever that is. */
  #giveUp(): void {
    this.#emitUnrecovered('unavailable');
    this.#position = undefined;
    this.#catchingUp = false;
    const held = this.#liveBuffer;
    this.#liveBuffer = [];
    this.#start = undefined;
    this.#resolvePositioned();
    for (const { arrived } of held) this.receive(arrived.delivery, arrived);
  }

  #emitUnrecovered(reason: DiscontinuityReason): void {
    const since = this.#gap?.since ?? this.#lastDeliveredAt();
    this.#gap = undefined;
    this.#announce({ reason, since, recovered: false });
  }

  /** When the last message delivered was published. */
  #lastDeliveredAt(): Date {
    return new Date(this.#position === undefined ? this.#now() : positionTime(this.#position) / 1_000);
  }

  #resolvePositioned(): void {
    for (const resolve of this.#started.splice(0)) resolve();
  }

  #report(error: RollcallError): void {
    const { kind, name } = this.#home;
    for (const audience of servicesOf(this.#crowd)) {
      audience.reporter.report(error, { stage: 'recovery', channel: audience.stripPrefix(kind, name) });
    }
  }

  #announce(discontinuity: Discontinuity): void {
    notifyDiscontinuity([...this.#crowd], discontinuity, this.#home);
  }
}
