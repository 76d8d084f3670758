import { assertPosition, type Position } from '../history/position.js';
import { InvalidArgumentError } from '../internal/errors.js';
import { assertOptions, numberOption } from '../internal/validate.js';
import type { ChannelRef } from '../pubsub/channel-definition.js';
import type { MessageContext } from '../pubsub/delivery.js';
import { readLastMessages } from '../pubsub/last-messages.js';
import type { SubscribeOptions } from '../pubsub/options.js';
import type { Subscription } from '../pubsub/subscribe.js';
import type { ChannelAnchors } from './channel-anchors.js';
import type { JoinOptions } from './options.js';
import { EncodedFrame } from './peer.js';
import type { PeerWriter } from './peer-writer.js';
import type { RoomContext } from './room-context.js';
import { parseRoomMessage, type RoomEvent } from './room-message.js';

/** Whose place it is, and the way out to him. */
export interface MemberSocket {
  readonly id: string;
  readonly userId: string;
  readonly outlet: PeerWriter;
}

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
    if (message.except !== id && !message.control) return outlet.sendMessage(this.#room, outgoing);
    // The peer has to know the place of what it does not get, or it would ask for it later.
    if (context.position !== undefined) outlet.sendPosition(this.#room, context.position);
  }

  /** Sends the last `count` messages; resolves with where they end. */
  async #replay(count: number): Promise<Position> {
    const { messages, end } = await readLastMessages(this.#host.pubsub, this.#channel, count);
    for (const { raw, position } of messages) {
      const message = parseRoomMessage(this.#room, position, raw as string);
      if (message === undefined || message.control) continue;
      this.#occupant.outlet.sendMessage(this.#room, EncodedFrame.message(message));
    }
    return end;
  }
}

/** A socket's place in one room. What is asked of it is done one after the other. */
export class RoomMembership {
  /** It is there, or was told to come and has not been told to leave since. */
  wanted = true;
  readonly #host: RoomContext;
  readonly #occupant: MemberSocket;
  readonly #room: string;
  readonly #ear: ChannelListener;
  /** The user is a member of the presence room by it. */
  #present = false;
  #watching = false;
  #tail: Promise<unknown>;

  /** What is asked of it waits for `before`. */
  constructor(host: RoomContext, occupant: MemberSocket, room: string, before?: RoomMembership) {
    this.#tail = before === undefined ? Promise.resolve() : before.#tail;
    this.#host = host;
    this.#occupant = occupant;
    this.#room = room;
    this.#ear = new ChannelListener(host, occupant, room);
  }

  get position(): Position | undefined {
    return this.#ear.position;
  }

  /** Does `task` when everything before it is done. */
  enqueue<T>(task: () => Promise<T>): Promise<T> {
    const done = this.#tail.then(task);
    this.#tail = done.catch(() => {});
    return done;
  }

  /** Comes in; one who is there already shows another `info`. */
  async join({ since, last, info, members = false }: JoinOptions): Promise<void> {
    const { presence, rosters } = this.#host;
    const { id, userId, outlet } = this.#occupant;
    const comes = !this.#ear.open;
    const shown = comes || info !== undefined ? presence?.join(this.#room, userId, id, info) : undefined;
    await allOrFirstError([
      comes ? this.#ear.start(since, last) : undefined,
      shown?.then(() => {
        this.#present = true;
      }),
    ]);
    if (!members || this.#watching) return;
    await rosters?.subscribe(this.#room, outlet);
    this.#watching = true;
  }

  /** Goes out; `present`: out of the presence room as well. */
  async leave(present: boolean): Promise<void> {
    const { presence, rosters } = this.#host;
    const { id, userId, outlet } = this.#occupant;
    const watching = this.#watching;
    this.#watching = false;
    // What failed to come in is made up for by the presence service.
    const leaves = present && this.#present;
    this.#present = false;
    await allOrFirstError([
      this.#ear.close(),
      watching ? rosters?.unsubscribe(this.#room, outlet) : undefined,
      leaves ? presence?.leave(this.#room, userId, id) : undefined,
    ]);
  }
}

/** Throws unless `options` can be those of `join`. */
export function assertJoinOptions(options: JoinOptions, within = ''): void {
  assertOptions('options', options);
  const { since, last } = options;
  if (since !== undefined && since !== 'earliest') assertPosition(`${within}since`, since);
  const count = numberOption(`${within}last`, last, 0, { min: 0, max: 1_000, integer: true });
  if (count > 0 && since !== undefined)
    throw new InvalidArgumentError(`${within}last`, 'cannot go with since');
}

/** Waits for all of them; then throws the first failure. */
export async function allOrFirstError(tasks: readonly (Promise<unknown> | undefined)[]): Promise<void> {
  const failed = (await Promise.allSettled(tasks)).find(({ status }) => status === 'rejected');
  if (failed !== undefined) throw (failed as PromiseRejectedResult).reason;
}
