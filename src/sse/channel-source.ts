import { assertPosition, isOrigin, type Position } from '../history/position.js';
import { InvalidArgumentError } from '../internal/errors.js';
import type { Lifetime } from '../internal/lifetime.js';
import { assertName, assertOptions, numberOption } from '../internal/validate.js';
import { CloseCode } from '../protocol/close-codes.js';
import type { Backpressure } from '../pubsub/backpressure.js';
import type { ChannelRef } from '../pubsub/channel-definition.js';
import type { MessageContext } from '../pubsub/message-context.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';
import { readLastMessages } from '../pubsub/read-history.js';
import type { Subscription } from '../pubsub/subscribe.js';
import { CatchUpPacer } from '../rooms/catch-up-pacer.js';
import {
  LastEventId,
  MAX_CHANNELS,
  type ResumePoint,
  StreamPositions,
  type TrackedPosition,
  toChannelKey,
} from './last-event-id.js';
import { STREAM_CHANNEL_NAMES } from './option-names.js';
import type { ChannelStreamOptions, StreamChannel } from './options.js';
import { formatStreamEvent } from './sse-encoder.js';
import { type StreamSink, type StreamSource, sendDiscontinuity } from './stream-source.js';

interface StreamedChannel {
  readonly channel: StreamChannel['channel'];
  readonly name: string;
  readonly event: string;
  readonly tracked: TrackedPosition;
  readonly resume: ResumePoint;
  /** `perhaps`: only a channel's definition is certain. */
  readonly history: 'always' | 'perhaps' | 'never';
  readonly since: StreamChannel['since'];
  readonly last: number;
  readonly sharded: boolean | undefined;
}

/** By message: streams with the same event name share one encoding. */
const encodedEvents = new WeakMap<MessageContext, { readonly event: string; readonly bytes: Buffer }>();

export class ChannelSource implements StreamSource {
  readonly positions: StreamPositions;
  readonly isResumed: boolean;
  readonly #pubsub: PubSubService;
  readonly #maxBufferedBytes: number;
  readonly #channels: readonly StreamedChannel[];
  readonly #subscriptions: Subscription[] = [];
  #backpressure: LazyPacer | undefined;

  constructor(options: ChannelStreamOptions, lastEventId: string | undefined) {
    const { pubsub, channels, maxBufferedBytes } = options;
    if (typeof pubsub?.subscribe !== 'function') {
      throw new InvalidArgumentError('pubsub', 'must be a PubSubService: pass the pubsub of createRollcall');
    }
    if (!Array.isArray(channels) || channels.length === 0 || channels.length > MAX_CHANNELS) {
      throw new InvalidArgumentError('channels', `must be a list of 1 to ${MAX_CHANNELS} channels`);
    }
    const parsed = new LastEventId(lastEventId);
    this.isResumed = parsed.isPresent;
    this.#pubsub = pubsub;
    this.#maxBufferedBytes = numberOption('maxBufferedBytes', maxBufferedBytes, 1_048_576, { min: 1 });
    this.#channels = channels.map((given, at) => toStreamedChannel(given, `channels[${at}]`, parsed));
    if (channels.length > 1 && new Set(this.#channels.map(({ name }) => name)).size < channels.length) {
      throw new InvalidArgumentError('channels', 'must not name a channel twice');
    }
    this.positions = new StreamPositions(this.#channels.map(({ tracked }) => tracked));
  }

  async start(sink: StreamSink): Promise<Record<string, never>> {
    const backpressure = new LazyPacer(sink, this.#maxBufferedBytes);
    this.#backpressure = backpressure;
    await Promise.all(this.#channels.map((each) => this.#startChannel(each, sink, backpressure)));
    return {};
  }

  async stop(): Promise<void> {
    this.#backpressure?.stop();
    await Promise.allSettled(this.#subscriptions.map(({ unsubscribe }) => unsubscribe()));
  }

  async #startChannel(each: StreamedChannel, sink: StreamSink, pacer: LazyPacer): Promise<void> {
    const { channel, name, tracked, resume, history, sharded } = each;
    // An empty history proves nothing if messages may be published without history.
    const unknown = resume.since !== undefined && isOrigin(resume.since) && history !== 'always';
    if (resume.lost || unknown) sendDiscontinuity(sink, { channel: name }, 'reconnected', tracked);
    const since = await this.#catchUp(each, sink, pacer);
    if (!sink.open) return;
    const subscription = await this.#pubsub.subscribe(
      channel,
      (payload, context) => this.#onMessage(each, sink, payload, context),
      {
        raw: true,
        ...(since === undefined ? {} : { since }),
        ...(sharded === undefined ? {} : { sharded }),
        backpressure: pacer,
        onDiscontinuity: ({ reason, since, recovered }) =>
          sink.sendControl('$discontinuity', { channel: name, reason, since: since.getTime(), recovered }),
      },
      sink.lifetime,
    );
    this.#subscriptions.push(subscription);
    // Without history there is no position; messages may have set one already.
    tracked.position = subscription.position ?? tracked.position;
  }

  /** Waits for the client to read what was sent. Resolves with the position to continue from. */
  async #catchUp(
    each: StreamedChannel,
    sink: StreamSink,
    pacer: LazyPacer,
  ): Promise<Position | 'latest' | undefined> {
    const { channel, name, tracked, resume, history } = each;
    const last = resume.since === undefined && each.last > 0;
    let from = resume.since ?? each.since;
    if (last) {
      const found = await readLastMessages(this.#pubsub, channel, each.last, pacer.pageBytes);
      for (const { raw, position } of found.messages) this.#sendStored(each, sink, raw, position);
      if (found.start === undefined) return found.end;
      from = found.start;
    }
    if (from === undefined || from === 'latest') return history === 'never' ? undefined : 'latest';
    let since = from === 'earliest' ? undefined : from;
    for (let pages = 0; ; pages++) {
      const page = await this.#pubsub.history(channel, since === undefined ? {} : { since });
      // Of the last messages, those that were trimmed since they were counted are no longer wanted.
      const unwanted = last && pages === 0 && page.reason === 'trimmed';
      if (page.reason !== undefined && !unwanted)
        sendDiscontinuity(sink, { channel: name }, page.reason, tracked);
      for (const { raw, position } of page.messages) {
        while (sink.open && pacer.full) await untilDrained(pacer, sink.lifetime);
        this.#sendStored(each, sink, raw, position);
      }
      since = page.position;
      if (!page.more || !sink.open) return since;
    }
  }

  #sendStored(
    { event, tracked }: StreamedChannel,
    sink: StreamSink,
    payload: string | Buffer,
    position: Position,
  ): void {
    tracked.position = position;
    sink.send(encodeEvent(event, payload, true), true);
  }

  #onMessage(
    { event, tracked }: StreamedChannel,
    sink: StreamSink,
    payload: string | Buffer,
    context: MessageContext,
  ): void {
    if (sink.buffered > this.#maxBufferedBytes) {
      sink.close(CloseCode.SLOW_CONSUMER, 'reads too slowly');
      return;
    }
    const { position, replayed } = context;
    if (position !== undefined) tracked.position = position;
    let encoded = encodedEvents.get(context);
    if (encoded?.event !== event) {
      encoded = { event, bytes: encodeEvent(event, payload, replayed) };
      encodedEvents.set(context, encoded);
    }
    sink.send(encoded.bytes, position !== undefined);
  }
}

/** Most streams never catch up: their pacer is not created. */
class LazyPacer implements Backpressure {
  readonly #sink: StreamSink;
  readonly #maxBufferedBytes: number;
  #created: CatchUpPacer | undefined;

  constructor(sink: StreamSink, maxBufferedBytes: number) {
    this.#sink = sink;
    this.#maxBufferedBytes = maxBufferedBytes;
  }

  get full(): boolean {
    return this.#pacer.full;
  }

  get pageBytes(): number {
    return this.#pacer.pageBytes;
  }

  drained(): Promise<void> {
    return this.#pacer.drained();
  }

  stop(): void {
    this.#created?.stop();
  }

  get #pacer(): CatchUpPacer {
    this.#created ??= createPacer(this.#sink, this.#maxBufferedBytes);
    return this.#created;
  }
}

/** The transport does not tell what the client has received. */
function createPacer(sink: StreamSink, maxBufferedBytes: number): CatchUpPacer {
  const receiver = {
    get open() {
      return sink.open;
    },
    get bufferedBytes() {
      return sink.buffered;
    },
    sentBytes: 0,
    confirm: (done: () => void) => done(),
    onStuck: () => void sink.close(CloseCode.SLOW_CONSUMER, 'reads too slowly'),
  };
  return new CatchUpPacer(receiver, sink.clock, maxBufferedBytes);
}

/** Or until the stream has ended. */
function untilDrained(pacer: Backpressure, lifetime: Lifetime): Promise<void> {
  return new Promise((resolve) => {
    const removeTask = lifetime.onEnd(resolve);
    void pacer.drained().then(() => {
      removeTask();
      resolve();
    });
  });
}

/** An event stream is text: bytes are sent as base64. */
function encodeEvent(event: string, payload: string | Buffer, replayed = false): Buffer {
  return formatStreamEvent(
    event,
    typeof payload === 'string' ? payload : payload.toString('base64'),
    replayed,
  );
}

function toStreamedChannel(given: unknown, argument: string, lastEventId: LastEventId): StreamedChannel {
  const entry = toStreamChannel(given);
  const { channel, since, last, history, sharded } = entry;
  if (entry === given) assertOptions(argument, entry, STREAM_CHANNEL_NAMES);
  const ref = typeof channel === 'object' && channel !== null ? (channel as ChannelRef) : undefined;
  const name = ref === undefined ? channel : ref.name;
  assertName(argument, name);
  if (ref !== undefined && typeof ref.definition !== 'function') {
    throw new InvalidArgumentError(argument, 'must be a string, or come from defineChannel');
  }
  if (since !== undefined && since !== 'latest' && since !== 'earliest') {
    assertPosition(`${argument}.since`, since);
  }
  const count = numberOption(`${argument}.last`, last, 0, { min: 0, max: 1_000, integer: true });
  if (count > 0 && since !== undefined)
    throw new InvalidArgumentError(`${argument}.last`, 'must not be given together with since');
  const key = toChannelKey(`channel:${name}`);
  const resume = lastEventId.resumePoint(key);
  return {
    channel,
    name,
    event: assertEventName(entry.event ?? name, argument),
    tracked: { key, position: resume.since },
    resume,
    history:
      ref === undefined
        ? historyHint(history)
        : ref.definition.history
          ? 'always'
          : historyHint(history === true),
    since,
    last: count,
    sharded,
  };
}

function historyHint(history: boolean | undefined): 'perhaps' | 'never' {
  return history === false ? 'never' : 'perhaps';
}

function toStreamChannel(given: unknown): StreamChannel {
  // A ChannelRef has `name`, a StreamChannel has `channel`.
  if (typeof given === 'object' && given !== null && 'channel' in given) return given as StreamChannel;
  return { channel: given as StreamChannel['channel'] };
}

function assertEventName(event: unknown, argument: string): string {
  assertName(`${argument}.event`, event);
  if (/[\r\n]|^\$|^(open|error)$/.test(event)) {
    throw new InvalidArgumentError(
      `${argument}.event`,
      `must have no line ends, must not begin with "$", and must not be "open" or "error"; got ${JSON.stringify(event)}`,
    );
  }
  return event;
}
