import type { Position } from '../history/position.js';
import { allOrFirstError } from '../internal/promises.js';
import { TYPING_EVENT } from '../protocol/frames.js';
import type { ChannelRef } from '../pubsub/channel-definition.js';
import type { Discontinuity } from '../pubsub/discontinuity.js';
import type { MessageContext } from '../pubsub/message-context.js';
import type { SubscribeOptions } from '../pubsub/options.js';
import { readLastMessages } from '../pubsub/read-history.js';
import type { Subscription } from '../pubsub/subscribe.js';
import type { ChannelAnchors } from './channel-anchors.js';
import type { MemberSocket, RoomContext } from './room-context.js';
import { EncodedFrame, isEvent, parseRoomMessage, type RoomEvent, type RoomMessage } from './room-message.js';

/**
 * One socket's subscription of a room's channel or, without a room, of its user's. Each socket has its own handler,
 * because it may be at another position.
 */
export class ChannelListener {
  readonly #context: RoomContext;
  readonly #socket: MemberSocket;
  readonly #room: string | undefined;
  #channel: ChannelRef<RoomEvent>;
  readonly #anchors: ChannelAnchors;
  #anchored = false;
  #subscription: Subscription | undefined;
  #muted: boolean;
  /**
   * The peer asked for the last messages, and has received none since: those that were trimmed in the meantime are no longer
   * among them.
   */
  #ignoresTrimmed = false;

  /** `muted`: skips messages until `unmute`. */
  constructor(context: RoomContext, socket: MemberSocket, room?: string, muted = false) {
    this.#context = context;
    this.#socket = socket;
    this.#room = room;
    this.#muted = muted;
    this.#channel = room === undefined ? context.userChannel(socket.userId) : context.roomChannel(room);
    this.#anchors = room === undefined ? context.userAnchors : context.roomAnchors;
  }

  get open(): boolean {
    return this.#subscription !== undefined;
  }

  get position(): Position | undefined {
    return this.#subscription?.position;
  }

  /** Skips messages from now on, for good. */
  mute(): void {
    this.#muted = true;
    this.#socket.writer.clearDropped(this.#room);
  }

  /** Sends messages from now on, without the skipped ones. */
  unmute(): void {
    this.#muted = false;
  }

  /** After `since` or, without it, after the last stored messages, of which `last` are sent. */
  async start(since: SubscribeOptions['since'] | undefined, last = 0): Promise<void> {
    const end = await this.#anchors.acquire(this.#channel);
    this.#anchored = true;
    this.#channel = this.#anchors.shared(this.#channel);
    const hasHistory = this.#channel.definition.history !== undefined;
    const replays = since === undefined && last > 0 && hasHistory;
    const start = replays ? await this.#replay(last) : (since ?? end);
    this.#ignoresTrimmed = replays;
    // Bound functions need less memory than arrow functions, which keep the variables of this call.
    this.#subscription = await this.#context.pubsub.subscribe(this.#channel, this.#onMessage.bind(this), {
      raw: true,
      ...(start === undefined ? {} : { since: start }),
      backpressure: this.#socket.writer,
      onDiscontinuity: this.#onDiscontinuity.bind(this),
    });
  }

  async close(): Promise<void> {
    const subscription = this.#subscription;
    this.#subscription = undefined;
    const anchored = this.#anchored;
    this.#anchored = false;
    // The next listener of this stream may be dropping messages.
    if (!this.#muted) this.#socket.writer.clearDropped(this.#room);
    await allOrFirstError([
      subscription?.unsubscribe(),
      anchored ? this.#anchors.release(this.#channel) : undefined,
    ]);
  }

  get #roomField(): { room?: string } {
    return this.#room === undefined ? {} : { room: this.#room };
  }

  #onDiscontinuity({ reason, since, recovered }: Discontinuity): void {
    if (this.#muted || (this.#ignoresTrimmed && reason === 'trimmed')) return;
    const notice = { type: 'discontinuity', reason, since: since.getTime(), recovered } as const;
    this.#socket.writer.sendNotice(EncodedFrame.notice({ ...notice, ...this.#roomField }));
  }

  #onMessage(payload: string | Buffer, context: MessageContext): void {
    this.#ignoresTrimmed = false;
    if (this.#muted) return;
    const parsed = this.#context.parser.parse(this.#room, payload as string, context);
    if (parsed === undefined) return;
    const { writer, id, clientId } = this.#socket;
    const { message, frame } = parsed;
    const { except } = message;
    if (except !== id && except !== clientId && !message.internal && !this.#hides(message))
      return writer.sendMessage(this.#room, frame);
    // Otherwise the peer would request the message when it recovers.
    if (context.position !== undefined) writer.sendPosition(this.#room, context.position);
  }

  /** Typing of a user who is hidden from the peer. */
  #hides(message: RoomMessage): boolean {
    const { filter } = this.#socket.writer;
    if (filter === undefined || !isEvent(message.json, TYPING_EVENT)) return false;
    return message.from !== undefined && !filter.sees(message.from);
  }

  /** Resolves with the position of the last message, or with that before messages that must be paced. */
  async #replay(count: number): Promise<Position | 'earliest'> {
    const { pubsub } = this.#context;
    const { pageBytes } = this.#socket.writer;
    const { messages, start, end } = await readLastMessages(pubsub, this.#channel, count, pageBytes);
    for (const { raw, position } of messages) {
      const message = parseRoomMessage(this.#room, position, raw as string, true);
      if (message === undefined || message.internal || this.#hides(message)) continue;
      this.#socket.writer.sendMessage(this.#room, EncodedFrame.message(message));
    }
    return start ?? end;
  }
}
