import { assertPosition, type Position } from '../history/position.js';
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
  #present = false;
  #receivesMembers: boolean | 'count' = false;
  #tail: Promise<unknown>;

  /** `previous`: the socket's former membership, whose operations come first. */
  constructor(context: RoomContext, socket: MemberSocket, room: string, previous?: RoomMembership) {
    this.#tail = previous === undefined ? Promise.resolve() : previous.#tail;
    this.#context = context;
    this.#socket = socket;
    this.#room = room;
    this.#listener = new ChannelListener(context, socket, room);
  }

  get position(): Position | undefined {
    return this.#listener.position;
  }

  enqueue<T>(task: () => Promise<T>): Promise<T> {
    const done = this.#tail.then(task);
    this.#tail = done.catch(() => {});
    return done;
  }

  /** If joined already, it changes `info` and adds `members`. */
  async join({ since, last, info, members = false }: JoinOptions): Promise<void> {
    const { presence, memberFeeds, grace } = this.#context;
    const { id, userId, writer } = this.#socket;
    const joins = !this.#listener.open;
    const presenceJoin =
      joins || info !== undefined ? presence?.join(this.#room, userId, id, info, { grace }) : undefined;
    await allOrFirstError([
      joins ? this.#listener.start(since, last) : undefined,
      presenceJoin?.then(() => {
        this.#present = true;
      }),
    ]);
    if (members === false || this.#receivesMembers === true || this.#receivesMembers === members) return;
    await memberFeeds?.subscribe(this.#room, writer, members === 'count');
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

  /** `present`: also remove the user from the presence room. */
  async leave(present: boolean): Promise<void> {
    const { presence, memberFeeds } = this.#context;
    const { id, userId, writer } = this.#socket;
    const receivesMembers = this.#receivesMembers;
    this.#receivesMembers = false;
    // The presence service undoes a failed join.
    const leavesPresence = present && this.#present;
    this.#present = false;
    await allOrFirstError([
      this.#listener.close(),
      receivesMembers !== false ? memberFeeds?.unsubscribe(this.#room, writer) : undefined,
      leavesPresence ? presence?.leave(this.#room, userId, id) : undefined,
    ]);
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
