import { assertPosition, type Position } from '../history/position.js';
import type { Json } from '../internal/codec.js';
import { InvalidArgumentError } from '../internal/errors.js';
import { allOrFirstError } from '../internal/promises.js';
import { assertOptions, numberOption } from '../internal/validate.js';
import { ChannelListener } from './channel-listener.js';
import { JOIN_OPTION_NAMES } from './option-names.js';
import type { JoinOptions } from './options.js';
import type { MemberSocket, RoomContext } from './room-context.js';
import { EncodedFrame } from './room-message.js';

/** One socket in one room. Its operations run in order. */
export class RoomMembership {
  /** Between the calls of `join` and `leave`. */
  desired = true;
  readonly #context: RoomContext;
  readonly #socket: MemberSocket;
  readonly #room: string;
  readonly #listener: ChannelListener;
  /** In the presence room through this socket. */
  #user: string | undefined;
  /** As `#user`, while the socket changes from one user to another. */
  #otherUser: string | undefined;
  #info: Json | undefined;
  #receivesMembers: boolean | 'count' = false;
  /** End of the last operation, while there is one. */
  #tail: Promise<void> | undefined;

  /** `previous`: the socket's former membership, whose operations come first. */
  constructor(context: RoomContext, socket: MemberSocket, room: string, previous?: RoomMembership) {
    this.#tail = previous === undefined ? undefined : previous.#tail;
    this.#context = context;
    this.#socket = socket;
    this.#room = room;
    this.#listener = new ChannelListener(context, socket, room);
  }

  /** A list of members, or their number. */
  get receivesMembers(): boolean {
    return this.#receivesMembers !== false;
  }

  get position(): Position | undefined {
    return this.#listener.position;
  }

  enqueue<T>(task: () => Promise<T>): Promise<T> {
    const done = (this.#tail ?? Promise.resolve()).then(task);
    const clear = (): void => {
      if (this.#tail === tail) this.#tail = undefined;
    };
    const tail = done.then(clear, clear);
    this.#tail = tail;
    return done;
  }

  /** If joined already, it changes `info` and `members`, where given. */
  async join({ since, last, info, members }: JoinOptions): Promise<void> {
    const { memberFeeds, presence } = this.#context;
    const { userId, writer } = this.#socket;
    const joins = !this.#listener.open;
    const updates = joins || info !== undefined;
    await allOrFirstError([
      joins ? this.#listener.start(since, last) : undefined,
      presence !== undefined && updates ? this.#joinPresence(userId, info) : undefined,
    ]);
    if (members === undefined || members === this.#receivesMembers) return;
    if (members === false) await memberFeeds?.unsubscribe(this.#room, writer);
    else await memberFeeds?.subscribe(this.#room, writer, members === 'count');
    this.#receivesMembers = members;
  }

  /** No change of a member follows the frame that ends the list. */
  async endMembers(message: string): Promise<void> {
    const { memberFeeds } = this.#context;
    const { writer } = this.#socket;
    const receivesMembers = this.#receivesMembers;
    this.#receivesMembers = false;
    const done = receivesMembers === false ? undefined : memberFeeds?.unsubscribe(this.#room, writer);
    const end = { type: 'members', room: this.#room, reset: true, members: [] } as const;
    writer.sendNotice(EncodedFrame.notice({ ...end, code: 'FORBIDDEN', message }));
    await done;
  }

  get members(): boolean | 'count' {
    return this.#receivesMembers;
  }

  /** Sends the members again, as another viewer may see them. */
  async renewMembers(): Promise<void> {
    const members = this.#receivesMembers;
    if (members === false || this.#socket.writer.filter === undefined) return;
    await this.#context.memberFeeds?.subscribe(this.#room, this.#socket.writer, members === 'count');
  }

  /** Replaces the user's `info`. */
  update(info: Json): Promise<void> {
    return this.#joinPresence(this.#socket.userId, info);
  }

  /** Puts another user into the presence room, too, with the same `info`. */
  async addUser(userId: string): Promise<void> {
    if (this.#user !== undefined) await this.#joinPresence(userId, this.#info);
  }

  /** The user's socket was removed from presence, and so from all rooms. */
  forgetUser(userId: string): void {
    if (this.#user === userId) {
      this.#user = this.#otherUser;
      this.#otherUser = undefined;
    } else if (this.#otherUser === userId) this.#otherUser = undefined;
  }

  /** The peer receives no more messages. */
  mute(): void {
    this.#listener.mute();
  }

  /** `present`: also remove the user from the presence room. */
  async leave(present: boolean): Promise<void> {
    const { presence, memberFeeds } = this.#context;
    const { id, writer } = this.#socket;
    const receivesMembers = this.#receivesMembers;
    this.#receivesMembers = false;
    // The presence service undoes a failed join.
    const users = present ? [this.#user, this.#otherUser] : [];
    this.#user = undefined;
    this.#otherUser = undefined;
    await allOrFirstError([
      this.#listener.close(),
      receivesMembers !== false ? memberFeeds?.unsubscribe(this.#room, writer) : undefined,
      ...users.map((userId) => (userId === undefined ? undefined : presence?.leave(this.#room, userId, id))),
    ]);
  }

  async #joinPresence(userId: string, info: Json | undefined): Promise<void> {
    const { presence, grace } = this.#context;
    if (presence === undefined) return;
    await presence.join(this.#room, userId, this.#socket.id, info, { grace });
    if (this.#user === undefined) this.#user = userId;
    else if (this.#user !== userId) this.#otherUser = userId;
    this.#info = info;
  }
}

/** `prefix` precedes the option's name in the error. */
export function assertJoinOptions(options: JoinOptions, prefix = ''): void {
  assertOptions('options', options, JOIN_OPTION_NAMES);
  const { since, last, members = false } = options;
  if (typeof members !== 'boolean' && members !== 'count')
    throw new InvalidArgumentError(`${prefix}members`, "must be true, false or 'count'");
  if (since !== undefined && since !== 'earliest') assertPosition(`${prefix}since`, since);
  const count = numberOption(`${prefix}last`, last, 0, { min: 0, max: 1_000, integer: true });
  if (count > 0 && since !== undefined)
    throw new InvalidArgumentError(`${prefix}last`, 'cannot be combined with since');
}
