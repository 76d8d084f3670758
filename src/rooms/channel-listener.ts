import type { Position } from '../history/position.js';
import { allOrFirstError } from '../internal/promises.js';
import type { ChannelRef } from '../pubsub/channel-definition.js';
import type { MessageContext } from '../pubsub/message-context.js';
import type { SubscribeOptions } from '../pubsub/options.js';
import { readLastMessages } from '../pubsub/read-history.js';
import type { Subscription } from '../pubsub/subscribe.js';
import type { ChannelAnchors } from './channel-anchors.js';
import { EncodedFrame } from './encoded-frame.js';
import type { MemberSocket, RoomContext } from './room-context.js';
import { parseRoomMessage, type RoomEvent } from './room-message.js';

/**
 * A socket's ear on one channel: a room's or, without a room, its user's. Every peer has a handler of its
 * own, because each may stand elsewhere in the history; those who stand together share the work.
 */
export class ChannelListener {
  readonly #host: RoomContext;
  readonly #occupant: MemberSocket;
  readonly #room: string | undefined;
  readonly #channel: ChannelRef<RoomEvent>;
  readonly #keepers: ChannelAnchors;
  #held = false;
  #subscription: Subscription | undefined;

  constructor(host: RoomContext, occupant: MemberSocket, room?: string) {
    this.#host = host;
    this.#occupant = occupant;
    this.#room = room;
    this.#channel = room === undefined ? host.user(occupant.userId) : host.room(room);
    this.#keepers = room === undefined ? host.users : host.rooms;
  }

  get open(): boolean {
    return this.#subscription !== undefined;
  }

  get position(): Position | undefined {
    return this.#subscription?.position;
  }

  /** Listens from `since` on, or where the channel's history ends, after its `last` messages. */
  async start(since: SubscribeOptions['since'] | undefined, last = 0): Promise<void> {
    const end = await this.#keepers.acquire(this.#channel);
    this.#held = true;
    const kept = this.#channel.definition.history !== undefined;
    const begin = since ?? (last > 0 && kept ? await this.#replay(last) : end);
    this.#subscription = await this.#host.pubsub.subscribe(
      this.#channel,
      (payload, context) => this.#onMessage(payload as string, context),
      {
        raw: true,
        ...(begin === undefined ? {} : { since: begin }),
        onDiscontinuity: ({ reason, since, recovered }) => {
          const notice = { type: 'discontinuity', reason, since: since.getTime(), recovered } as const;
          this.#occupant.outlet.sendNotice(EncodedFrame.notice({ ...notice, ...this.#where }));
        },
      },
    );
  }

  /** Listens no more. */
  async close(): Promise<void> {
    const subscription = this.#subscription;
    this.#subscription = undefined;
    const held = this.#held;
    this.#held = false;
    this.#occupant.outlet.clearDropped(this.#room);
    await allOrFirstError([
      subscription?.unsubscribe(),
      held ? this.#keepers.release(this.#channel) : undefined,
    ]);
  }

  get #where(): { room?: string } {
    return this.#room === undefined ? {} : { room: this.#room };
  }

  #onMessage(payload: string, context: MessageContext): void {
    const read = this.#host.reading.read(this.#room, payload, context);
    if (read === undefined) return;
    const { outlet, id } = this.#occupant;
    const { message, outgoing } = read;
    if (message.except !== id && !message.internal) return outlet.sendMessage(this.#room, outgoing);
    // The peer has to know the place of what it does not get, or it would ask for it later.
    if (context.position !== undefined) outlet.sendPosition(this.#room, context.position);
  }

  /** Sends the last `count` messages; resolves with where they end. */
  async #replay(count: number): Promise<Position> {
    const { messages, end } = await readLastMessages(this.#host.pubsub, this.#channel, count);
    for (const { raw, position } of messages) {
      const message = parseRoomMessage(this.#room, position, raw as string);
      if (message === undefined || message.internal) continue;
      this.#occupant.outlet.sendMessage(this.#room, EncodedFrame.message(message));
    }
    return end;
  }
}
