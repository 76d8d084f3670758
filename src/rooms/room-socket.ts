import { randomUUID } from 'node:crypto';
import type { Position } from '../history/position.js';
import type { Json } from '../internal/codec.js';
import { ClosedError, InvalidArgumentError, UnsupportedError } from '../internal/errors.js';
import { allOrFirstError, settled } from '../internal/promises.js';
import { assertName, assertOptions } from '../internal/validate.js';
import { ViewerFilter } from '../internal/viewer-filter.js';
import type { PresenceService } from '../presence/presence-service.js';
import type { Status } from '../presence/types.js';
import { CloseCode } from '../protocol/close-codes.js';
import type { ProtocolErrorCode } from '../protocol/frames.js';
import { toRollcallError } from '../redis/replies.js';
import { ChannelListener } from './channel-listener.js';
import { assertIdentifyOptions, type IdentifiedListener, IdentityChange } from './identity-change.js';
import { DETACH_OPTION_NAMES, LEAVE_OPTION_NAMES } from './option-names.js';
import type {
  AttachOptions,
  DetachOptions,
  IdentifyOptions,
  JoinOptions,
  JoinResult,
  LeaveOptions,
} from './options.js';
import { type Peer, PeerWriter } from './peer-writer.js';
import { Permissions } from './permissions.js';
import type { MemberSocket, RoomContext } from './room-context.js';
import { assertJoinOptions, RoomMembership } from './room-membership.js';
import { EncodedFrame } from './room-message.js';

/** The connection or stream of rollcall that the socket belongs to. */
export interface ServingConnection {
  /** Changes the user between two frames of the client. */
  identify?(userId: string, options: IdentifyOptions): Promise<void>;
  /** As `authenticate` has returned it last; `undefined` before the first frame. */
  readonly user?: unknown;
  /** Asks again about all that is shown. @see RoomSocket.reauthorize */
  recheck(): Promise<void>;
}

const NO_USERS: ReadonlySet<string> = new Set();
/** Users per frame. */
const PAGE_SIZE = 250;

/** An attached peer: one connection of a user, and its rooms. */
export class RoomSocket {
  /** Id of the connection. */
  readonly id: string;
  /** Id of the client over its connections; of its first socket, unless `attach` was given another. */
  readonly clientId: string;
  readonly #context: RoomContext;
  readonly #writer: PeerWriter;
  /** Shared with the memberships. */
  readonly #member: { -readonly [K in keyof MemberSocket]: MemberSocket[K] };
  #userListener: ChannelListener;
  readonly #memberships = new Map<string, RoomMembership>();
  #watched: Set<string> | undefined;
  #status: Status;
  #meta: Json | undefined;
  #revocations = 0;
  /** {@link recheck} waits for its turn. */
  #recheckPending = false;
  #starting: Promise<void> | undefined;
  #connection: ServingConnection | undefined;
  /** Changes of the user run one after the other. */
  #lastIdentify: Promise<unknown> | undefined;
  /** The next user during a change; presence may have the socket of both. */
  #nextUserId: string | undefined;
  /** While the user changes: calls wait for it. Never rejects. */
  #identifying: Promise<void> | undefined;
  /** Calls that began as the present user: a change waits for them. */
  #underWay = 0;
  #onNoneUnderWay: (() => void) | undefined;
  /** Presence has this socket. */
  #present = false;
  #detaching: Promise<void> | undefined;

  /** @internal */
  constructor(context: RoomContext, peer: Peer, options: AttachOptions) {
    const { userId, socketId = randomUUID(), clientId = socketId, meta, visible } = options;
    this.id = socketId;
    this.clientId = clientId;
    this.#status = options.status ?? 'online';
    this.#meta = meta;
    this.#context = context;
    const { writerSettings, reporter } = context;
    const filter = visible && new ViewerFilter(visible, (userId) => userId === this.userId, reporter);
    this.#writer = new PeerWriter(peer, writerSettings, this, filter);
    this.#member = { id: socketId, userId, clientId, writer: this.#writer };
    this.#userListener = new ChannelListener(context, this.#member);
  }

  /** Id of the user. `identify` changes it. */
  get userId(): string {
    return this.#member.userId;
  }

  /** False after `detach`, also by the server, a slow peer or `disconnectUser`. */
  get attached(): boolean {
    return this.#detaching === undefined;
  }

  /** Rooms joined, or being joined. */
  get rooms(): string[] {
    return [...this.#memberships].filter(([, { desired }]) => desired).map(([room]) => room);
  }

  /** @internal Number of {@link rooms}. */
  get roomCount(): number {
    let count = 0;
    for (const { desired } of this.#memberships.values()) if (desired) count++;
    return count;
  }

  /** Number of watched users. */
  get watching(): number {
    return this.#watchedUsers.size;
  }

  /** True for a user whose presence the peer receives. */
  isWatching(userId: string): boolean {
    return this.#watchedUsers.has(userId);
  }

  /** @internal Number of revocations: a permission that was asked for before the last one may be out of date. */
  get revocations(): number {
    return this.#revocations;
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
  async start({ since }: AttachOptions): Promise<void> {
    const { presence } = this.#context;
    const online = presence?.setPresence(this.userId, this.id, this.#status, this.#meta);
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
   * and `members`, where given; `since` and `last` have no effect.
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
    return this.#asOneUser(() => this.#join(room, options));
  }

  #join(room: string, options: JoinOptions): Promise<JoinResult> {
    const previous = this.#memberships.get(room);
    const joined = previous?.desired === true;
    const membership = joined ? previous : new RoomMembership(this.#context, this.#member, room, previous);
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
    this.#presence();
    this.#assertAttached();
    await this.#asOneUser(async () => {
      const membership = this.#memberships.get(room);
      if (membership?.desired !== true) throw new InvalidArgumentError('room', 'must be joined first');
      await membership.enqueue(async () => {
        if (membership.desired && this.attached) await membership.update(info);
      });
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

  /** @internal Ends watches and lists of members, and tells the peer. Others are not affected. */
  revoke(userIds: readonly string[], rooms: readonly string[]): void {
    if (!this.attached) return;
    this.#revocations++;
    const ended = userIds.filter((userId) => this.isWatching(userId));
    this.unwatch(ended);
    const code = 'FORBIDDEN';
    const users = ended.map((user) => ({ user, status: 'offline', lastSeen: 0, code }) as const);
    for (let at = 0; at < users.length; at += PAGE_SIZE) {
      const page = users.slice(at, at + PAGE_SIZE);
      this.#writer.sendNotice(EncodedFrame.notice({ type: 'presence', users: page }));
    }
    for (const room of rooms) this.#revokeMembers(room).catch((error: unknown) => this.#report(error));
  }

  /**
   * @internal Messages to the user are lost, perhaps a kick or a revocation. A socket that the application serves itself
   * receives a `discontinuity` frame, and nothing else.
   */
  onMessagesLost(): void {
    const connection = this.#connection;
    const isShownSomething = this.watching + this.#memberships.size > 0;
    if (connection !== undefined && isShownSomething) this.recheck();
  }

  /** @internal Lets the serving connection ask again about all that the peer is shown. */
  recheck(): void {
    if (this.#recheckPending) return;
    this.#recheckPending = true;
    const handle = (): Promise<void> => {
      this.#recheckPending = false;
      return this.attached && this.#connection !== undefined ? this.#connection.recheck() : Promise.resolve();
    };
    // All sockets of the process may need it at once.
    this.#context.checks.run(handle).catch((error: unknown) => {
      this.#report(error);
      // The client connects again, and is asked about all of it.
      this.close(CloseCode.UNAVAILABLE, 'permissions are unknown');
    });
  }

  /** @internal Ends the rooms, lists of members and watches that `authorize` or a ban refuses now. */
  async reauthorize(authorize: IdentifyOptions['authorize']): Promise<void> {
    const permissions = new Permissions(this.#context.bans, authorize, 'join is no longer allowed there');
    await permissions.ask(this.#memberships, this.#watchedUsers);
    await permissions.checkBans(this.#memberships, this.userId);
    this.revoke([...permissions.refusedUsers], [...permissions.refusedMembers]);
    await Promise.all([...permissions.refusedRooms].map(([room, notice]) => this.#remove(room, notice)));
  }

  async #revokeMembers(room: string): Promise<void> {
    const membership = this.#memberships.get(room);
    await membership?.enqueue(async () => {
      if (!membership.desired || !membership.receivesMembers || !this.attached) return;
      await membership.endMembers('members is no longer allowed there');
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
    await this.#asOneUser(() => this.#watch(unique));
  }

  async #watch(unique: readonly string[]): Promise<void> {
    this.#watched ??= new Set();
    const watched = this.#watched;
    const added = unique.filter((userId) => !watched.has(userId));
    for (const userId of added) watched.add(userId);
    try {
      await this.#context.presenceFeed?.add(this.#writer, unique);
    } catch (error) {
      this.unwatch(added);
      throw error;
    }
  }

  /** Stops sending the presence of users. */
  unwatch(userIds: Iterable<string>): void {
    const removed = [...userIds].filter((userId) => this.#watched?.delete(userId));
    if (this.watching === 0) this.#watched = undefined;
    this.#context.presenceFeed?.remove(this.#writer, removed);
  }

  /** Sets this socket's status. */
  async setStatus(status: Status): Promise<void> {
    const presence = this.#presence();
    this.#assertAttached();
    await this.#asOneUser(async () => {
      this.#assertAttached();
      await presence.setPresence(this.userId, this.id, status, this.#meta);
      this.#status = status;
    });
  }

  /**
   * Changes the user of the open connection: log-in, log-out, another account. The socket keeps its id, its rooms with their
   * `info`, and its watches, except for those that `authorize` refuses: these rooms are left with the error `FORBIDDEN` (or
   * `KICKED` if the new user is banned). From then on the peer receives the messages to the new user, none of those to the old
   * one, and none from before.
   *
   * Both users have the socket for a moment, never neither. Calls under way end as the old user first; later ones wait. For
   * the user that the socket has already it has no effect.
   *
   * @throws {@link InvalidArgumentError} for a bad id or option, and if another process has a socket of the new user with this
   * id; {@link ClosedError} when detached; {@link LimitError} when the new user has too many sockets; {@link HandlerError} when
   * `authorize` fails; {@link UnsupportedError} for a connection of a server without `identityChange`; {@link TimeoutError},
   * {@link ConnectionError}, {@link CommandError} from Redis. Afterwards `userId` tells the outcome: the old user, and nothing
   * has changed; or the new one, and the old one's socket is removed as soon as Redis is back.
   */
  async identify(userId: string, options: IdentifyOptions = {}): Promise<void> {
    assertName('userId', userId);
    assertIdentifyOptions(options);
    this.#assertAttached();
    if (this.#connection?.identify !== undefined) return this.#connection.identify(userId, options);
    if (options.user !== undefined) {
      throw new InvalidArgumentError('user', 'is only for sockets that a server of rollcall serves');
    }
    await this.changeUser(userId, options, () => {});
  }

  /** @internal */
  serve(connection: ServingConnection): void {
    this.#connection = connection;
  }

  /** @internal The result of `authenticate` for the present user; `undefined` for a socket without a server of rollcall. */
  get servedUser(): unknown {
    return this.#connection?.user;
  }

  /** @internal As {@link identify}. */
  changeUser(userId: string, options: IdentifyOptions, onIdentified: IdentifiedListener): Promise<void> {
    const last = this.#lastIdentify ?? Promise.resolve();
    const done = last.then(() => this.#identify(userId, options, onIdentified));
    this.#lastIdentify = settled(done);
    return done;
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

  /** Runs `call` as one user, from its beginning to its end. */
  async #asOneUser<T>(call: () => Promise<T>): Promise<T> {
    while (this.#identifying !== undefined) await this.#identifying;
    this.#underWay++;
    try {
      return await call();
    } finally {
      if (--this.#underWay === 0) this.#onNoneUnderWay?.();
    }
  }

  async #identify(userId: string, options: IdentifyOptions, onIdentified: IdentifiedListener): Promise<void> {
    this.#assertAttached();
    if (userId === this.userId) return;
    const status = options.status ?? this.#status;
    const change = new IdentityChange(this.#context, this.#member, userId, status, options);
    for (;;) {
      // Calls may go on, also those of `authorize`.
      await change.permissions.ask(this.#memberships, this.#watchedUsers);
      this.#assertAttached();
      const resume = await this.#pauseCalls();
      try {
        // Others may have been joined or watched in the meantime.
        if (change.permissions.isComplete(this.#memberships, this.#watchedUsers)) {
          return await this.#changeUser(change, onIdentified);
        }
      } finally {
        resume();
      }
    }
  }

  /** Later calls wait; resolves when there is none under way. */
  async #pauseCalls(): Promise<() => void> {
    let resolve = (): void => {};
    this.#identifying = new Promise<void>((done) => {
      resolve = done;
    });
    if (this.#underWay > 0) {
      await new Promise<void>((done) => {
        this.#onNoneUnderWay = done;
      });
      this.#onNoneUnderWay = undefined;
    }
    return () => {
      this.#identifying = undefined;
      resolve();
    };
  }

  async #changeUser(change: IdentityChange, onIdentified: IdentifiedListener): Promise<void> {
    const { presence } = this.#context;
    const previous = this.userId;
    const { userId } = change;
    this.#assertAttached();
    this.#nextUserId = userId;
    // From now on a `disconnectUser` of either closes the socket.
    this.#context.addUser(this.id, userId);
    let listener: ChannelListener;
    try {
      listener = await change.prepare(this.#memberships);
      this.#assertAttached();
    } catch (error) {
      this.#context.removeUser(this.id, userId);
      await change.undo(this.#memberships).catch((failure: unknown) => this.#report(failure));
      this.#nextUserId = undefined;
      throw error;
    }
    // In one turn: the socket has one user and one stream of messages at any time.
    const { permissions } = change;
    const refused = [...permissions.refusedRooms].filter(([room]) => this.isIn(room));
    const former = this.#userListener;
    former.mute();
    for (const [room] of refused) this.#memberships.get(room)?.mute();
    this.#userListener = listener;
    this.#member.userId = userId;
    this.#nextUserId = undefined;
    this.#status = change.status;
    this.#meta = change.meta;
    this.#context.removeUser(this.id, previous);
    this.unwatch(permissions.refusedUsers);
    onIdentified({ previous, position: listener.position });
    listener.unmute();
    const [removed, ...others] = await Promise.allSettled([
      presence?.removeSocket(previous, this.id, { immediate: true }),
      former.close(),
      ...refused.map(([room, notice]) => this.#remove(room, notice)),
      ...this.rooms.map((room) => this.#showMembers(room, permissions)),
    ]);
    // Gone, or removed by the presence service as soon as Redis is back.
    for (const membership of this.#memberships.values()) membership.forgetUser(previous);
    for (const other of others) if (other.status === 'rejected') this.#report(other.reason);
    if (removed.status === 'rejected') throw removed.reason;
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

  /** To another user. */
  async #showMembers(room: string, { refusedMembers }: Permissions): Promise<void> {
    const membership = this.#memberships.get(room);
    if (refusedMembers.has(room)) return this.endMembers(room, 'the new user may not see the members');
    await membership?.enqueue(async () => {
      if (membership.desired && this.attached) await membership.renewMembers();
    });
  }

  #detach(options: DetachOptions): Promise<void> {
    this.#writer.end();
    this.#context.removeUser(this.id, this.userId);
    if (this.#nextUserId !== undefined) this.#context.removeUser(this.id, this.#nextUserId);
    this.#context.onDetached(this.id);
    return this.#context.releases.run(() => this.#release(options));
  }

  async #release({ immediate = false, handoff = false }: DetachOptions): Promise<void> {
    this.unwatch(this.#watchedUsers);
    // Otherwise `start` would add the socket after its removal.
    if (this.#starting !== undefined) await this.#starting.catch(() => {});
    // It undoes a change, or ends it.
    await this.#identifying;
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

  get #watchedUsers(): ReadonlySet<string> {
    return this.#watched ?? NO_USERS;
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
