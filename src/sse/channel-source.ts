import { assertPosition, ORIGIN, type Position } from '../history/position.js';
import { InvalidArgumentError } from '../internal/errors.js';
import { assertName, numberOption } from '../internal/validate.js';
import { CloseCode } from '../protocol/close-codes.js';
import type { ChannelRef } from '../pubsub/channel-definition.js';
import { readLastMessages } from '../pubsub/last-messages.js';
import type { MessageContext } from '../pubsub/message-context.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';
import type { Subscription } from '../pubsub/subscribe.js';
import { formatEvent } from './event-stream-format.js';
import {
  LastEventId,
  MAX_CHANNELS,
  type ResumePoint,
  StreamPositions,
  type TrackedPosition,
  toChannelKey,
} from './last-event-id.js';
import type { ChannelStreamOptions, StreamChannel } from './options.js';
import { type StreamSink, type StreamSource, sendDiscontinuity } from './stream-source.js';

/** One channel of one stream. */
interface StreamedChannel {
  readonly channel: StreamChannel['channel'];
  readonly name: string;
  readonly event: string;
  readonly place: TrackedPosition;
  readonly known: ResumePoint;
  /** Whether it has history: only a definition says so for certain. */
  readonly keeps: 'always' | 'perhaps' | 'never';
  readonly begin: StreamChannel['since'];
  readonly last: number;
  readonly sharded: boolean | undefined;
}

/** Events of one message for all who call it alike: it is made once, not once per client. */
const encodedEvents = new WeakMap<MessageContext, { readonly event: string; readonly block: Buffer }>();

/** Channels, straight from pub/sub. */
export class ChannelSource implements StreamSource {
  readonly places: StreamPositions;
  readonly isResumed: boolean;
  readonly #pubsub: PubSubService;
  readonly #maxBufferedBytes: number;
  readonly #followed: readonly StreamedChannel[];
  readonly #subscriptions: Subscription[] = [];

  constructor(options: ChannelStreamOptions, lastEventId: string | undefined) {
    const { pubsub, channels, maxBufferedBytes } = options;
    if (typeof pubsub?.subscribe !== 'function') {
      throw new InvalidArgumentError('pubsub', 'must be a PubSubService');
    }
    if (!Array.isArray(channels) || channels.length === 0 || channels.length > MAX_CHANNELS) {
      throw new InvalidArgumentError('channels', `must be a list of 1 to ${MAX_CHANNELS} channels`);
    }
    const last = new LastEventId(lastEventId);
    this.isResumed = last.isPresent;
    this.#pubsub = pubsub;
    this.#maxBufferedBytes = numberOption('maxBufferedBytes', maxBufferedBytes, 1_048_576, { min: 1 });
    this.#followed = channels.map((given, at) => toStreamedChannel(given, `channels[${at}]`, last));
    if (new Set(this.#followed.map(({ name }) => name)).size < channels.length) {
      throw new InvalidArgumentError('channels', 'must not name a channel twice');
    }
    this.places = new StreamPositions(this.#followed.map(({ place }) => place));
  }

  async start(sink: StreamSink): Promise<Record<string, never>> {
    await Promise.all(this.#followed.map((each) => this.#follow(each, sink)));
    return {};
  }

  async stop(): Promise<void> {
    await Promise.allSettled(this.#subscriptions.map(({ unsubscribe }) => unsubscribe()));
  }

  async #follow(each: StreamedChannel, sink: StreamSink): Promise<void> {
    const { channel, name, place, known, keeps, sharded } = each;
    // Where a chain has not begun, nobody can tell whether that is because nothing is ever kept.
    const untold = known.since === ORIGIN && keeps !== 'always';
    if (known.lost || untold) sendDiscontinuity(sink, { channel: name }, 'reconnected', place);
    const since = await this.#catchUp(each, sink);
    if (!sink.open) return;
    const subscription = await this.#pubsub.subscribe(
      channel,
      (payload, context) => this.#onMessage(each, sink, payload, context),
      {
        raw: true,
        signal: sink.signal,
        ...(since === undefined ? {} : { since }),
        ...(sharded === undefined ? {} : { sharded }),
        onDiscontinuity: ({ reason, since, recovered }) =>
          sink.sendControl('$discontinuity', { channel: name, reason, since: since.getTime(), recovered }),
      },
    );
    this.#subscriptions.push(subscription);
    // Messages may have come already.
    place.position = subscription.position ?? place.position;
  }

  /**
   * Sends what the client is owed of the past, page by page, as fast as it reads; resolves with where to
   * go on.
   */
  async #catchUp(each: StreamedChannel, sink: StreamSink): Promise<Position | 'latest' | undefined> {
    const { channel, name, place, known, keeps, begin, last } = each;
    if (known.since === undefined && last > 0) {
      const { messages, end } = await readLastMessages(this.#pubsub, channel, last);
      for (const { raw, position } of messages) this.#sendStored(each, sink, raw, position);
      return end;
    }
    const from = known.since ?? begin;
    if (from === undefined || from === 'latest') return keeps === 'never' ? undefined : 'latest';
    let since = from === 'earliest' ? undefined : from;
    for (;;) {
      const page = await this.#pubsub.history(channel, since === undefined ? {} : { since });
      if (page.reason !== undefined) sendDiscontinuity(sink, { channel: name }, page.reason, place);
      for (const { raw, position } of page.messages) this.#sendStored(each, sink, raw, position);
      since = page.position;
      if (!page.more || !sink.open) return since;
      await sink.drained();
    }
  }

  #sendStored(
    { event, place }: StreamedChannel,
    sink: StreamSink,
    payload: string | Buffer,
    position: Position,
  ): void {
    place.position = position;
    sink.send(encodeEvent(event, payload), true);
  }

  #onMessage(
    { event, place }: StreamedChannel,
    sink: StreamSink,
    payload: string | Buffer,
    context: MessageContext,
  ): void {
    if (sink.buffered > this.#maxBufferedBytes) {
      sink.close(CloseCode.SLOW_CONSUMER, 'reads too slowly');
      return;
    }
    const { position } = context;
    if (position !== undefined) place.position = position;
    let made = encodedEvents.get(context);
    if (made?.event !== event) {
      made = { event, block: encodeEvent(event, payload) };
      encodedEvents.set(context, made);
    }
    sink.send(made.block, position !== undefined);
  }
}

/** Bytes have no form in a stream of text but base64. */
function encodeEvent(event: string, payload: string | Buffer): Buffer {
  return Buffer.from(formatEvent(event, typeof payload === 'string' ? payload : payload.toString('base64')));
}

function toStreamedChannel(given: unknown, argument: string, lastEventId: LastEventId): StreamedChannel {
  const entry = toStreamChannel(given);
  const { channel, since, last, history, sharded } = entry;
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
    throw new InvalidArgumentError(`${argument}.last`, 'cannot go with since');
  const key = toChannelKey(`channel:${name}`);
  const known = lastEventId.of(key);
  return {
    channel,
    name,
    event: assertEventName(entry.event ?? name, argument),
    place: { key, position: known.since },
    known,
    keeps:
      ref === undefined
        ? historyHint(history)
        : ref.definition.history
          ? 'always'
          : historyHint(history === true),
    begin: since,
    last: count,
    sharded,
  };
}

function historyHint(history: boolean | undefined): 'perhaps' | 'never' {
  return history === false ? 'never' : 'perhaps';
}

function toStreamChannel(given: unknown): StreamChannel {
  // A channel of a definition has a name, and no channel.
  if (typeof given === 'object' && given !== null && 'channel' in given) return given as StreamChannel;
  return { channel: given as StreamChannel['channel'] };
}

function assertEventName(event: unknown, argument: string): string {
  assertName(`${argument}.event`, event);
  if (/[\r\n]|^\$|^(open|error)$/.test(event)) {
    throw new InvalidArgumentError(
      `${argument}.event`,
      `must be without line ends, not begin with "$", and not be "open" or "error", not ${JSON.stringify(event)}`,
    );
  }
  return event;
}
