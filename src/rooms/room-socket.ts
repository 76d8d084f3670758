import { randomUUID } from 'node:crypto';
import type { Position } from '../history/position.js';
import type { Json } from '../internal/codec.js';
import { ClosedError, InvalidArgumentError, UnsupportedError } from '../internal/errors.js';
import { allOrFirstError } from '../internal/promises.js';
import { assertName, assertOptions } from '../internal/validate.js';
import { ViewerFilter } from '../internal/viewer-filter.js';
import type { PresenceService } from '../presence/presence-service.js';
import type { Status } from '../presence/types.js';
import type { ProtocolErrorCode } from '../protocol/frames.js';
import { toRollcallError } from '../redis/replies.js';
import { ChannelListener } from './channel-listener.js';
import { DETACH_OPTION_NAMES, LEAVE_OPTION_NAMES } from './option-names.js';
import type { AttachOptions, DetachOptions, JoinOptions, JoinResult, LeaveOptions } from './options.js';
import { type Peer, PeerWriter } from './peer-writer.js';
import type { RoomContext } from './room-context.js';
import { assertJoinOptions, RoomMembership } from './room-membership.js';
import { EncodedFrame } from './room-message.js';

/** An attached peer: one connection of a user, and its rooms. */
export class RoomSocket {
  /** Id of the connection. */
  readonly id: string;
  /** Id of the user. */
  readonly userId: string;
  /** Id of the client over its connections; of its first socket, unless `attach` was given another. */
  readonly clientId: string;
  readonly #context: RoomContext;
  readonly #writer: PeerWriter;
  readonly #userListener: ChannelListener;
  readonly #memberships = new Map<string, RoomMembership>();
  readonly #watched = new Set<string>();
  readonly #meta: Json | undefined;
  #starting: Promise<void> | undefined;
  /** Presence has this socket. */
  #present = false;
  #detaching: Promise<void> | undefined;

  /** @internal */
  constructor(context: RoomContext, peer: Peer, options: AttachOptions) {
    const { userId, socketId = randomUUID(), clientId = socketId, meta, visible } = options;
    this.id = socketId;
    this.clientId = clientId;
    this.userId = userId;
    this.#meta = meta;
    this.#context = context;
    const { writerSettings, reporter } = context;
    const filter = visible && new ViewerFilter(visible, (userId) => userId === this.userId, reporter);
    this.#writer = new PeerWriter(peer, writerSettings, (options) => void this.detach(options), filter);
    this.#userListener = new ChannelListener(context, this.#memberSocket);
  }

  /** False after `detach`, also by the server, a slow peer or `disconnectUser`. */
  get attached(): boolean {
    return this.#detaching === undefined;
  }

  /** Rooms joined, or being joined. */
  get rooms(): string[] {
    return [...this.#memberships].filter(([, { desired }]) => desired).map(([room]) => room);
  }

  /** Number of watched users. */
  get watching(): number {
    return this.#watched.size;
  }

  /** Position in the user's messages; `undefined` without history. */
  get position(): Position | undefined {
    return this.#userListener.position;
  }

  /** True for a room joined, or being joined. */
  isIn(room: string): boolean {
    return this.#memberships.get(room)?.desired === true;
  }

  /** @internal */
  async start({ since, status }: AttachOptions): Promise<void> {
    const { presence } = this.#context;
    const online = presence?.setPresence(this.userId, this.id, status ?? 'online', this.#meta);
    this.#starting = allOrFirstError([
      this.#userListener.start(since),
      online?.then(() => {
        this.#present = true;
      }),
    ]);
    try {
      await this.#starting;
    } finally {
      this.#starting = undefined;
    }
  }

  /**
   * Joins a room: the peer receives its messages, and the user becomes a member. In a joined room it changes `info`
   * and adds `members`; `since` and `last` have no effect.
   *
   * @throws {@link InvalidArgumentError} for a bad name or option; {@link ClosedError} when detached; {@link BannedError} for a
   * kicked user; {@link TimeoutError}, {@link ConnectionError}, {@link CommandError} from Redis. After an error the socket is not
   * in the room, unless it was before.
   */
  async join(room: string, options: JoinOptions = {}): Promise<JoinResult> {
    assertName('room', room);
    assertJoinOptions(options);
    this.#assertAttached();
    if (options.members !== undefined && options.members !== false) this.#presence();
    const previous = this.#memberships.get(room);
    const joined = previous?.desired === true;
    const membership = joined
      ? previous
      : new RoomMembership(this.#context, this.#memberSocket, room, previous);
    this.#memberships.set(room, membership);
    return membership.enqueue(async () => {
      try {
        this.#assertAttached();
        if (!membership.desired) {
          throw new ClosedError(`the room ${JSON.stringify(room)} was left before it was joined`);
        }
        if (!joined) await this.#context.bans?.assertNone(room, this.userId);
        await membership.join(options);
        this.#assertAttached();
        return { position: membership.position };
      } catch (error) {
        if (!joined) await this.#leave(room, membership);
        throw error;
      }
    });
  }

  /**
   * Changes the user's `info` in a joined room.
   *
   * @throws {@link InvalidArgumentError} for a room that is not joined, or a too large `info`.
   */
  async update(room: string, info: Json): Promise<void> {
    const presence = this.#presence();
    this.#assertAttached();
    const membership = this.#memberships.get(room);
    if (membership?.desired !== true) throw new InvalidArgumentError('room', 'must be joined first');
    await membership.enqueue(async () => {
      if (!membership.desired || !this.attached) return;
      await presence.join(room, this.userId, this.id, info, { grace: this.#context.grace });
    });
  }

  /**
   * Leaves a room, and notifies the peer: its client has the room in the state `refused`. No effect in a room that is
   * not joined.
   *
   * @throws {@link InvalidArgumentError} for a bad name or option.
   */
  async leave(room: string, options: LeaveOptions = {}): Promise<void> {
    assertName('room', room);
    assertOptions('options', options, LEAVE_OPTION_NAMES);
    const message = 'the server has removed this socket from the room';
    await this.#remove(room, options.notify === false ? undefined : { code: 'REMOVED', message });
  }

  /** @internal Leaves a room, and tells the peer the reason. */
  kick(room: string, reason: string): Promise<void> {
    return this.#remove(room, { code: 'KICKED', message: reason });
  }

  /** @internal Ends the list of members, or their number, and tells the peer that it is not allowed. */
  async endMembers(room: string, message: string): Promise<void> {
    const membership = this.#memberships.get(room);
    await membership?.enqueue(async () => {
      if (membership.desired && this.attached) await membership.endMembers(message);
    });
  }

  async #remove(
    room: string,
    notice: { code: ProtocolErrorCode; message: string } | undefined,
  ): Promise<void> {
    const membership = this.#memberships.get(room);
    if (membership === undefined || !this.attached) return;
    const notify = membership.desired && notice !== undefined;
    membership.desired = false;
    await membership.enqueue(() => this.#leave(room, membership));
    // The peer may have joined again.
    if (!notify || this.isIn(room)) return;
    this.#writer.sendNotice(EncodedFrame.notice({ type: 'error', room, ...notice }));
  }

  /**
   * Sends the peer the presence of users, then every change.
   *
   * @throws {@link UnsupportedError} without a presence service.
   */
  async watch(userIds: Iterable<string>): Promise<void> {
    this.#presence();
    this.#assertAttached();
    if (typeof userIds === 'string')
      throw new InvalidArgumentError('userIds', 'must be an array of ids, not one string');
    const unique = [...new Set(userIds)];
    for (const userId of unique) assertName('userIds', userId);
    const added = unique.filter((userId) => !this.#watched.has(userId));
    for (const userId of added) this.#watched.add(userId);
    try {
      await this.#context.presenceFeed?.add(this.#writer, unique);
    } catch (error) {
      this.unwatch(added);
      throw error;
    }
  }

  /** Stops sending the presence of users. */
  unwatch(userIds: Iterable<string>): void {
    const removed = [...userIds].filter((userId) => this.#watched.delete(userId));
    this.#context.presenceFeed?.remove(this.#writer, removed);
  }

  /** Sets this socket's status. */
  async setStatus(status: Status): Promise<void> {
    const presence = this.#presence();
    this.#assertAttached();
    await presence.setPresence(this.userId, this.id, status, this.#meta);
  }

  /** Reports activity; see `PresenceService.touch`. */
  async touch(): Promise<void> {
    if (this.attached) await this.#context.presence?.touch(this.userId, this.id);
  }

  /** Ends the connection with a close code, and detaches the socket. */
  close(code: number, reason: string, options: DetachOptions = {}): void {
    assertOptions('options', options, DETACH_OPTION_NAMES);
    this.#writer.close(code, reason, options);
  }

  /**
   * Leaves all rooms, presence and subscriptions. Never rejects: errors go to `onError`, and the failure
   * detector removes the socket later. Idempotent.
   */
  detach(options: DetachOptions = {}): Promise<void> {
    try {
      assertOptions('options', options, DETACH_OPTION_NAMES);
    } catch (error) {
      return Promise.reject(error);
    }
    this.#detaching ??= this.#detach(options);
    return this.#detaching;
  }

  get #memberSocket() {
    return { id: this.id, userId: this.userId, clientId: this.clientId, writer: this.#writer };
  }

  async #leave(room: string, membership: RoomMembership): Promise<void> {
    membership.desired = false;
    try {
      // Removing the socket from presence removes it from all rooms.
      await membership.leave(this.attached);
    } catch (error) {
      this.#report(error);
    }
    if (this.#memberships.get(room) === membership) this.#memberships.delete(room);
  }

  #detach(options: DetachOptions): Promise<void> {
    this.#writer.end();
    this.#context.onDetached(this);
    return this.#context.releases.run(() => this.#release(options));
  }

  async #release({ immediate = false, handoff = false }: DetachOptions): Promise<void> {
    this.unwatch(this.#watched);
    // Otherwise `start` would add the socket after its removal.
    if (this.#starting !== undefined) await this.#starting.catch(() => {});
    const memberships = [...this.#memberships];
    this.#memberships.clear();
    const { presence } = this.#context;
    const leaves = memberships.map(([room, membership]) =>
      membership.enqueue(() => this.#leave(room, membership)),
    );
    const results = await Promise.allSettled([
      ...leaves,
      this.#userListener.close(),
      this.#present && !handoff ? presence?.removeSocket(this.userId, this.id, { immediate }) : undefined,
    ]);
    for (const result of results) if (result.status === 'rejected') this.#report(result.reason);
  }

  #presence(): PresenceService {
    const { presence } = this.#context;
    if (presence === undefined)
      throw new UnsupportedError('this RoomService has no presence: pass the option presence');
    return presence;
  }

  #assertAttached(): void {
    if (!this.attached) throw new ClosedError(`socket ${JSON.stringify(this.id)} is detached`);
  }

  #report(error: unknown): void {
    if (error instanceof ClosedError) return;
    this.#context.reporter.report(toRollcallError(error), { stage: 'peer' });
  }
}
