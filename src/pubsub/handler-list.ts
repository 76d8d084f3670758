import type { RetryingReader } from '../history/history-reader.js';
import type { ChainLink } from '../history/merge-into-chain.js';
import type { Position } from '../history/position.js';
import type { Clock } from '../internal/clock.js';
import type { RollcallError } from '../internal/errors.js';
import { telemetry } from '../internal/telemetry.js';
import type { Payload } from '../redis/driver.js';
import type { Backpressure } from './backpressure.js';
import { CatchUpCursor, type CursorOwner, type Gap, type StartPosition } from './catch-up-cursor.js';
import { Delivery, deliverToOne, emitDeliverEvent, type MessageSource } from './delivery.js';
import type { Discontinuity } from './discontinuity.js';
import type { HandlerSubscription } from './handler-subscription.js';
import type { RawHandler } from './message-context.js';
import type { PayloadFormat, ServiceContext } from './service-context.js';

export interface HistorySource {
  readonly reader: RetryingReader;
  readonly clock: Clock;
}

/** Consecutive handlers of one format. */
interface HandlerRun {
  readonly format: PayloadFormat;
  readonly handlers: readonly HandlerSubscription[];
  /** Adjacent in memory. */
  readonly callbacks: RawHandler[];
}

/**
 * Handlers of one Redis subscription, called in the order they subscribed. With history each has a {@link
 * CatchUpCursor}; handlers at the same position share one, so that catching up costs one read.
 */
export class HandlerList implements CursorOwner {
  readonly #source: MessageSource;
  readonly #history: HistorySource;
  readonly #handlers = new Map<HandlerSubscription, CatchUpCursor | undefined>();
  #runs: readonly HandlerRun[] | undefined;
  /** Cached, because the next message usually has the same cursors. */
  #partial: { readonly cursors: readonly CatchUpCursor[]; readonly runs: readonly HandlerRun[] } | undefined;
  /** The innermost dispatch is last. */
  #dispatching: (readonly HandlerRun[])[] | undefined;
  #followsHistory = false;
  #cursors: readonly CatchUpCursor[] = [];
  /** For handlers that begin with the next message. */
  #main: CatchUpCursor | undefined;

  constructor(source: MessageSource, history: HistorySource) {
    this.#source = source;
    this.#history = history;
  }

  get name(): string {
    return this.#source.name;
  }

  get binary(): boolean {
    return this.#source.binary;
  }

  get followsHistory(): boolean {
    return this.#followsHistory;
  }

  get size(): number {
    return this.#handlers.size;
  }

  [Symbol.iterator](): Iterator<HandlerSubscription> {
    return this.#handlers.keys();
  }

  has(handler: HandlerSubscription): boolean {
    return this.#handlers.has(handler);
  }

  positionOf(handler: HandlerSubscription): Position | undefined {
    return this.#handlers.get(handler)?.position;
  }

  /** Of the only cursor. The next message most likely follows it. */
  get lastPosition(): Position | undefined {
    return this.#cursors.length === 1 ? this.#cursors[0]?.position : undefined;
  }

  /** `unchained`: the present handlers have received messages without history. */
  followHistory(unchained: boolean): void {
    this.#followsHistory = true;
    if (this.size === 0) return;
    this.#main = this.#createCursor({ unchained });
    for (const handler of this.#handlers.keys()) this.#handlers.set(handler, this.#main);
    this.#main.join(this.size);
  }

  /** Without `start`, begins with the next message. */
  add(
    handler: HandlerSubscription,
    start?: StartPosition,
    backpressure?: Backpressure,
  ): CatchUpCursor | undefined {
    let cursor: CatchUpCursor | undefined;
    if (this.#followsHistory) {
      cursor = backpressure === undefined ? this.#findReusableCursor(start) : undefined;
      cursor ??= this.#createCursor({ start, backpressure });
      cursor.join(1);
    }
    this.#handlers.set(handler, cursor);
    this.#resetRuns();
    return cursor;
  }

  /** A dispatch in progress skips the handler. */
  delete(handler: HandlerSubscription): void {
    const cursor = this.#handlers.get(handler);
    if (!this.#handlers.delete(handler)) return;
    for (const runs of this.#dispatching ?? []) skipInRuns(runs, handler);
    this.#resetRuns();
    cursor?.leave();
    if (cursor?.handlerCount === 0) this.#removeEmptyCursors();
  }

  /** Handlers added meanwhile do not receive the message. */
  receive(channel: string, payload: Payload, link: ChainLink | undefined, transient: boolean): void {
    const cursors = this.#cursors;
    if (link !== undefined && cursors.length === 1 && this.size === 1) {
      return this.#receiveAlone(cursors[0] as CatchUpCursor, channel, payload, link);
    }
    let ready = cursors;
    if (link !== undefined) ready = this.#acceptedBy(link, payload);
    else if (!transient) for (const cursor of cursors) cursor.onUnchainedMessage();
    if (cursors.length > 0 && ready.length === 0) return;
    const delivery = new Delivery(this.#source, channel, payload, link?.position);
    this.#dispatch(delivery, ready.length === cursors.length ? this.#allRuns() : this.#runsAt(ready));
    if (link !== undefined && cursors.length > 1) this.#mergeCursors();
  }

  /** Most channels with history have one handler in a process. */
  #receiveAlone(cursor: CatchUpCursor, channel: string, payload: Payload, link: ChainLink): void {
    if (!cursor.accept(link, payload)) return;
    for (const handler of this.#handlers.keys()) {
      return deliverToOne(handler, this.#source, channel, payload, link.position);
    }
  }

  subscribed(gap: Gap | undefined): void {
    for (const cursor of this.#cursors) cursor.subscribed(gap);
  }

  dropped(): void {
    for (const cursor of this.#cursors) cursor.dropped();
  }

  deliver(cursor: CatchUpCursor, payload: Payload, position: Position, replayed: boolean): void {
    const delivery = new Delivery(this.#source, this.name, payload, position, replayed);
    this.#dispatch(delivery, this.#runsOf(cursor));
  }

  /** A slow receiver does not delay the others: it gets a cursor of its own. */
  splitFull(cursor: CatchUpCursor): void {
    const full: HandlerSubscription[] = [];
    for (const { handlers } of this.#runsOf(cursor)) {
      for (const handler of handlers) if (handler.backpressure?.full === true) full.push(handler);
    }
    if (full.length === 0) return;
    const [only] = full;
    if (cursor.handlerCount === 1) return cursor.pace(only?.backpressure as Backpressure);
    for (const handler of full) {
      const own = cursor.split(handler.backpressure as Backpressure);
      this.#cursors = this.#cursors.concat(own);
      this.#handlers.set(handler, own);
      cursor.leave();
    }
    this.#partial = undefined;
    if (cursor.handlerCount === 0) this.#removeEmptyCursors();
  }

  announce(cursor: CatchUpCursor, discontinuity: Discontinuity): void {
    notifyDiscontinuity(this.#handlersAt([cursor]), discontinuity, this.#source);
  }

  report(cursor: CatchUpCursor, error: RollcallError): void {
    const { kind, name } = this.#source;
    for (const service of servicesOf(this.#handlersAt([cursor]))) {
      service.reporter.report(error, { stage: 'recovery', channel: service.stripPrefix(kind, name) });
    }
  }

  onCaughtUp(cursor: CatchUpCursor): void {
    if (this.#main === undefined && !cursor.hasBackpressure) this.#main = cursor;
    this.#mergeCursors();
  }

  #acceptedBy(link: ChainLink, payload: Payload): readonly CatchUpCursor[] {
    const cursors = this.#cursors;
    const ready = cursors.filter((cursor) => cursor.accept(link, payload));
    return ready.length === cursors.length ? cursors : ready;
  }

  #createCursor(options: ConstructorParameters<typeof CatchUpCursor>[3]): CatchUpCursor {
    const { reader, clock } = this.#history;
    const cursor = new CatchUpCursor(this, reader, clock, options);
    this.#cursors = this.#cursors.concat(cursor);
    return cursor;
  }

  /** 1,000 handlers that resume after one message cost one read. */
  #findReusableCursor(start: StartPosition | undefined): CatchUpCursor | undefined {
    if (typeof start === 'object') return this.#cursors.find((cursor) => cursor.isAt(start.after));
    if (start !== undefined || this.#main?.isIncomplete === true) return undefined;
    this.#main ??= this.#createCursor({});
    return this.#main;
  }

  /** Moves handlers at the main cursor's position to it. */
  #mergeCursors(): void {
    const main = this.#main;
    if (main === undefined) return;
    const merged = new Set(this.#cursors.filter((cursor) => cursor.canMergeInto(main)));
    if (merged.size === 0) return;
    for (const [handler, cursor] of this.#handlers) {
      if (cursor === undefined || !merged.has(cursor)) continue;
      this.#handlers.set(handler, main);
      cursor.leave();
      main.join(1);
    }
    this.#partial = undefined;
    this.#removeEmptyCursors();
  }

  /** Without handlers, a cursor would continue the chain in the wrong place. */
  #removeEmptyCursors(): void {
    // A copy without the spare room that `filter` leaves.
    this.#cursors = this.#cursors.filter(({ handlerCount }) => handlerCount > 0).slice();
    if (this.#main?.handlerCount === 0) this.#main = undefined;
  }

  #handlersAt(cursors: readonly CatchUpCursor[]): HandlerSubscription[] {
    const handlers: HandlerSubscription[] = [];
    for (const [handler, cursor] of this.#handlers) {
      if (cursor !== undefined && cursors.includes(cursor)) handlers.push(handler);
    }
    return handlers;
  }

  #allRuns(): readonly HandlerRun[] {
    this.#runs ??= groupIntoRuns(this.#handlers.keys());
    return this.#runs;
  }

  #runsOf(cursor: CatchUpCursor): readonly HandlerRun[] {
    return this.#cursors.length === 1 ? this.#allRuns() : this.#runsAt([cursor]);
  }

  #runsAt(cursors: readonly CatchUpCursor[]): readonly HandlerRun[] {
    const last = this.#partial;
    const same =
      last?.cursors.length === cursors.length && last.cursors.every((cursor, at) => cursor === cursors[at]);
    if (last !== undefined && same) return last.runs;
    const runs = groupIntoRuns(this.#handlersAt(cursors));
    this.#partial = { cursors, runs };
    return runs;
  }

  #resetRuns(): void {
    this.#runs = undefined;
    this.#partial = undefined;
  }

  #dispatch(delivery: Delivery, runs: readonly HandlerRun[]): void {
    if (telemetry.deliver.hasSubscribers) {
      const count = runs.reduce((sum, { handlers }) => sum + handlers.length, 0);
      emitDeliverEvent(count, this.#source.kind, delivery.channel, delivery.payload, delivery.position);
    }
    this.#dispatching ??= [];
    this.#dispatching.push(runs);
    for (const { format, callbacks } of runs) delivery.callAll(format, callbacks);
    this.#dispatching.pop();
  }
}

function groupIntoRuns(handlers: Iterable<HandlerSubscription>): HandlerRun[] {
  const runs: (HandlerRun & { handlers: HandlerSubscription[] })[] = [];
  for (const handler of handlers) {
    const { format, callback } = handler;
    let run = runs.at(-1);
    if (run?.format !== format) {
      run = { format, handlers: [], callbacks: [] };
      runs.push(run);
    }
    run.handlers.push(handler);
    run.callbacks.push(callback);
  }
  return runs;
}

/** Only a dispatch in progress is affected. */
function skipInRuns(runs: readonly HandlerRun[], handler: HandlerSubscription): void {
  for (const { format, handlers, callbacks } of runs) {
    const at = handlers.indexOf(handler);
    if (at < 0) continue;
    // Replaces the handler, unless its turn has passed.
    callbacks[at] = () => {
      format.service.delivered--;
    };
  }
}

export function servicesOf(handlers: Iterable<HandlerSubscription>): Set<ServiceContext> {
  const services = new Set<ServiceContext>();
  for (const { service } of handlers) services.add(service);
  return services;
}

export function notifyDiscontinuity(
  handlers: readonly HandlerSubscription[],
  discontinuity: Discontinuity,
  { kind, name }: Pick<MessageSource, 'kind' | 'name'>,
): void {
  if (telemetry.discontinuity.hasSubscribers) {
    const { reason, since, recovered } = discontinuity;
    const details = { reason, since: since.getTime(), recovered, handlers: handlers.length };
    telemetry.discontinuity.emit({ kind, channel: name, ...details });
  }
  for (const { active, service, onDiscontinuity } of handlers) {
    // An earlier listener may have unsubscribed this handler.
    if (active)
      service.callDiscontinuityListener(onDiscontinuity, discontinuity, service.stripPrefix(kind, name));
  }
}
