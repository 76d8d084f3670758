import type { Position } from '../history/position.js';
import type { Json } from '../internal/codec.js';
import { isThenable, messageOf } from '../internal/diagnostics.js';
import { BannedError, HandlerError, InvalidArgumentError, isRollcallError } from '../internal/errors.js';
import { allOrFirstError } from '../internal/promises.js';
import { assertFunction, assertOptions } from '../internal/validate.js';
import { instanceIdOf } from '../presence/node-lease.js';
import type { Status } from '../presence/types.js';
import { assertStatus } from '../presence/validate.js';
import type { ProtocolErrorCode } from '../protocol/frames.js';
import { ChannelListener } from './channel-listener.js';
import { IDENTIFY_OPTION_NAMES } from './option-names.js';
import type { IdentifyOptions, IdentifyRequest } from './options.js';
import type { MemberSocket, RoomContext } from './room-context.js';
import type { RoomMembership } from './room-membership.js';

/** What has changed: called in the turn of the change, before any message to the new user. */
export type IdentifiedListener = (change: {
  readonly previous: string;
  /** In the messages to the new user; `undefined` without history. */
  readonly position: Position | undefined;
}) => void;

/** Why the new user may not stay in a room. */
export interface Refusal {
  readonly code: ProtocolErrorCode;
  readonly message: string;
}

/** The memberships of the socket, by room. */
type Memberships = ReadonlyMap<string, RoomMembership>;

/** One change of a socket's user, up to the moment of the change, or undone. Nothing of the old user is touched. */
export class IdentityChange {
  readonly refusedRooms = new Map<string, Refusal>();
  /** Rooms that the new user may be in, without seeing their members. */
  readonly refusedMembers = new Set<string>();
  readonly refusedUsers = new Set<string>();
  readonly #context: RoomContext;
  readonly #socket: MemberSocket;
  readonly #options: IdentifyOptions;
  /** Rooms that were asked about, with what was sent of their members, and such users. */
  readonly #askedRooms = new Map<string, boolean | 'count'>();
  readonly #askedUsers = new Set<string>();
  readonly #listener: ChannelListener;
  /** The new user has the socket. */
  #present = false;

  constructor(
    context: RoomContext,
    socket: MemberSocket,
    readonly userId: string,
    readonly status: Status,
    options: IdentifyOptions,
  ) {
    this.#context = context;
    this.#socket = socket;
    this.#options = options;
    this.#listener = new ChannelListener(context, { ...socket, userId }, undefined, true);
  }

  get meta(): Json | undefined {
    return this.#options.meta;
  }

  /** `authorize` was asked about all of them. */
  isComplete(memberships: Memberships, users: ReadonlySet<string>): boolean {
    return (
      this.#newRooms(memberships).length === 0 && [...users].every((userId) => this.#askedUsers.has(userId))
    );
  }

  /** Asks about those that were not asked about before. */
  async authorize(memberships: Memberships, users: ReadonlySet<string>): Promise<void> {
    const newRooms = this.#newRooms(memberships);
    const newUsers = [...users].filter((userId) => !this.#askedUsers.has(userId));
    for (const [room, { members }] of newRooms) this.#askedRooms.set(room, members);
    for (const userId of newUsers) this.#askedUsers.add(userId);
    const message = 'the new user may not be there';
    const ofRooms = newRooms.map(async ([room, { members }]) => {
      if (!(await this.#ask({ action: 'join', room }))) {
        this.refusedRooms.set(room, { code: 'FORBIDDEN', message });
      } else if (members !== false) {
        const allowed = await this.#ask({ action: 'members', room, count: members === 'count' });
        if (!allowed) this.refusedMembers.add(room);
      }
    });
    const ofUsers = newUsers.map(async (userId) => {
      if (!(await this.#ask({ action: 'watch', userId }))) this.refusedUsers.add(userId);
    });
    await allOrFirstError([...ofRooms, ...ofUsers]);
  }

  /**
   * The new user has the socket, is in the rooms, and their messages arrive, unsent. After an error call {@link undo}.
   */
  async prepare(memberships: Memberships): Promise<ChannelListener> {
    const { presence, bans } = this.#context;
    const { id } = this.#socket;
    const { userId } = this;
    if (presence !== undefined) {
      await this.#assertNotTaken();
      await presence.setPresence(userId, id, this.status, this.meta);
      this.#present = true;
    }
    await this.#listener.start(undefined);
    // After the subscription, so that a ban is seen here or its kick arrives there.
    if (bans !== undefined) {
      await allOrFirstError([...memberships.keys()].map((room) => this.#checkBan(room)));
    }
    const joins = [...memberships].map(([room, membership]) =>
      membership.enqueue(async () => {
        if (membership.desired && !this.refusedRooms.has(room)) await membership.addUser(userId);
      }),
    );
    await allOrFirstError(joins);
    return this.#listener;
  }

  /** The presence service repeats what fails. */
  async undo(memberships: Memberships): Promise<void> {
    for (const membership of memberships.values()) membership.forgetUser(this.userId);
    await allOrFirstError([
      this.#listener.close(),
      this.#present
        ? this.#context.presence?.removeSocket(this.userId, this.#socket.id, { immediate: true })
        : undefined,
    ]);
  }

  #newRooms(memberships: Memberships): [string, RoomMembership][] {
    return [...memberships].filter(
      ([room, { desired, members }]) => desired && this.#askedRooms.get(room) !== members,
    );
  }

  async #ask(request: IdentifyRequest): Promise<boolean> {
    try {
      const answer = this.#options.authorize?.(request) ?? true;
      // An untyped function may return anything.
      return (isThenable(answer) ? await answer : answer) === true;
    } catch (error) {
      if (isRollcallError(error)) throw error;
      throw new HandlerError(`authorize failed: ${messageOf(error)}`, { cause: error });
    }
  }

  /** Another process would own an entry of the same socket, and may remove it. */
  async #assertNotTaken(): Promise<void> {
    const { presence } = this.#context;
    const own = instanceIdOf(presence?.stats().nodeId ?? '');
    const found = await presence?.getPresence(this.userId, { reveal: true });
    const isTaken = ({ socketId, nodeId }: { socketId: string; nodeId: string }) =>
      socketId === this.#socket.id && instanceIdOf(nodeId) !== own;
    if (found?.sockets.some(isTaken)) {
      throw new InvalidArgumentError('userId', 'has a socket with this id in another process already');
    }
  }

  async #checkBan(room: string): Promise<void> {
    try {
      await this.#context.bans?.assertNone(room, this.userId);
    } catch (error) {
      if (!(error instanceof BannedError)) throw error;
      this.refusedRooms.set(room, { code: 'KICKED', message: error.message });
    }
  }
}

export function assertIdentifyOptions(options: IdentifyOptions): void {
  assertOptions('options', options, IDENTIFY_OPTION_NAMES);
  const { status, authorize, user } = options;
  assertOptions('user', user);
  if (status !== undefined) assertStatus('status', status);
  if (authorize !== undefined) assertFunction('authorize', authorize);
}
