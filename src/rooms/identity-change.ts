import type { Position } from '../history/position.js';
import type { Json } from '../internal/codec.js';
import { InvalidArgumentError } from '../internal/errors.js';
import { allOrFirstError } from '../internal/promises.js';
import { assertFunction, assertOptions } from '../internal/validate.js';
import { instanceIdOf } from '../presence/node-lease.js';
import type { Status } from '../presence/types.js';
import { assertStatus } from '../presence/validate.js';
import { ChannelListener } from './channel-listener.js';
import { IDENTIFY_OPTION_NAMES } from './option-names.js';
import type { IdentifyOptions } from './options.js';
import { type Memberships, Permissions } from './permissions.js';
import type { MemberSocket, RoomContext } from './room-context.js';

/** Called with the change, in its turn of the event loop, before any message to the new user. */
export type IdentifiedListener = (change: {
  readonly previous: string;
  /** In the messages to the new user; `undefined` without history. */
  readonly position: Position | undefined;
}) => void;

/** One change of a socket's user, up to the moment of the change, or undone. Nothing of the old user is touched. */
export class IdentityChange {
  /** Of the new user. */
  readonly permissions: Permissions;
  readonly #context: RoomContext;
  readonly #socket: MemberSocket;
  readonly #options: IdentifyOptions;
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
    const message = 'the new user may not be there';
    this.permissions = new Permissions(context.bans, options.authorize, message);
    this.#listener = new ChannelListener(context, { ...socket, userId }, undefined, true);
  }

  get meta(): Json | undefined {
    return this.#options.meta;
  }

  /**
   * The new user has the socket, is in the rooms, and their messages arrive, unsent. After an error call {@link undo}.
   */
  async prepare(memberships: Memberships): Promise<ChannelListener> {
    const { presence } = this.#context;
    const { id } = this.#socket;
    const { userId } = this;
    if (presence !== undefined) {
      await this.#assertNotTaken();
      await presence.setPresence(userId, id, this.status, this.meta);
      this.#present = true;
    }
    await this.#listener.start(undefined);
    // After the subscription, so that a ban is seen here or its kick arrives there.
    await this.permissions.checkBans(memberships, userId);
    const joins = [...memberships].map(([room, membership]) =>
      membership.enqueue(async () => {
        if (membership.desired && !this.permissions.refusedRooms.has(room)) await membership.addUser(userId);
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
}

export function assertIdentifyOptions(options: IdentifyOptions): void {
  assertOptions('options', options, IDENTIFY_OPTION_NAMES);
  const { status, authorize, user } = options;
  assertOptions('user', user);
  if (status !== undefined) assertStatus('status', status);
  if (authorize !== undefined) assertFunction('authorize', authorize);
}
