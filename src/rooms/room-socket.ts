import { randomUUID } from 'node:crypto';
import type { Position } from '../history/position.js';
import type { Json } from '../internal/codec.js';
import { ClosedError, InvalidArgumentError, UnsupportedError } from '../internal/errors.js';
import { allOrFirstError } from '../internal/promises.js';
import { assertName } from '../internal/validate.js';
import type { PresenceService } from '../presence/presence-service.js';
import type { Status } from '../presence/types.js';
import { toRollcallError } from '../redis/replies.js';
import { ChannelListener } from './channel-listener.js';
import type { AttachOptions, DetachOptions, JoinOptions, JoinResult } from './options.js';
import type { Peer } from './peer.js';
import { PeerWriter } from './peer-writer.js';
import type { RoomContext } from './room-context.js';
import { assertJoinOptions, RoomMembership } from './room-membership.js';

/** An attached peer: a user's one connection, in some rooms. */
export class RoomSocket {
  /** The server's own id for the connection. */
  readonly id: string;
  /** Whose it is. */
  readonly userId: string;
  readonly #host: RoomContext;
  readonly #outlet: PeerWriter;
  readonly #userListener: ChannelListener;
  readonly #memberships = new Map<string, RoomMembership>();
  readonly #watched = new Set<string>();
  readonly #meta: Json | undefined;
  /** What `begin` has under way. */
  #beginning: Promise<void> | undefined;
  /** The user is online by it. */
  #present = false;
  #detaching: Promise<void> | undefined;

  /** @internal */
  constructor(host: RoomContext, peer: Peer, { userId, socketId = randomUUID(), meta }: AttachOptions) {
    this.id = socketId;
    this.userId = userId;
    this.#meta = meta;
    this.#host = host;
    this.#outlet = new PeerWriter(peer, host.outlets, (gone) => void this.detach(gone));
    this.#userListener = new ChannelListener(host, this.#occupant);
  }

  /** False once it is detached, whoever did that. */
  get attached(): boolean {
    return this.#detaching === undefined;
  }

  /** The rooms it is in, or on its way into. */
  get rooms(): string[] {
    return [...this.#memberships].filter(([, { wanted }]) => wanted).map(([room]) => room);
  }

  /** How many users it watches. */
  get watching(): number {
    return this.#watched.size;
  }

  /** Where it stands in what is sent to its user; `undefined` where nothing is kept. */
  get position(): Position | undefined {
    return this.#userListener.position;
  }

  /** True for a room it is in, or on its way into. */
  isIn(room: string): boolean {
    return this.#memberships.get(room)?.wanted === true;
  }

  /** @internal Begins, with Redis, everything the peer is owed from now on. */
  async start({ since, status }: AttachOptions): Promise<void> {
    const { presence } = this.#host;
    const online = presence?.setPresence(this.userId, this.id, status ?? 'online', this.#meta);
    this.#beginning = allOrFirstError([
      this.#userListener.start(since),
      online?.then(() => {
        this.#present = true;
      }),
    ]);
    try {
      await this.#beginning;
    } finally {
      this.#beginning = undefined;
    }
  }

  /**
   * Goes into a room: from now on the peer gets what is said there, and the user is one of its members.
   * In a room it is in already, it shows another `info`.
   *
   * @throws {@link InvalidArgumentError} for a bad name or option; {@link ClosedError} when it is
   * detached; {@link TimeoutError}, {@link ConnectionError}, {@link CommandError} from Redis, after which it is
   * as if it had never come.
   */
  async join(room: string, options: JoinOptions = {}): Promise<JoinResult> {
    assertName('room', room);
    assertJoinOptions(options);
    this.#assertAttached();
    if (options.members === true) this.#presence();
    const before = this.#memberships.get(room);
    const came = before?.wanted === true;
    const place = came ? before : new RoomMembership(this.#host, this.#occupant, room, before);
    this.#memberships.set(room, place);
    return place.enqueue(async () => {
      try {
        this.#assertAttached();
        if (!place.wanted) throw new ClosedError(`the room ${JSON.stringify(room)} was left, or not reached`);
        await place.join(options);
        this.#assertAttached();
        return { position: place.position };
      } catch (error) {
        if (!came) await this.#leave(room, place);
        throw error;
      }
    });
  }

  /**
   * Shows another `info` in a room it is in.
   *
   * @throws {@link InvalidArgumentError} when it is in no such room, or `info` is too large.
   */
  async update(room: string, info: Json): Promise<void> {
    const presence = this.#presence();
    this.#assertAttached();
    const place = this.#memberships.get(room);
    if (place?.wanted !== true) throw new InvalidArgumentError('room', 'is none that this socket is in');
    await place.enqueue(async () => {
      if (place.wanted && this.attached) await presence.join(room, this.userId, this.id, info);
    });
  }

  /** Goes out of a room. One it is not in is no error. */
  async leave(room: string): Promise<void> {
    assertName('room', room);
    const place = this.#memberships.get(room);
    if (place === undefined || !this.attached) return;
    place.wanted = false;
    await place.enqueue(() => this.#leave(room, place));
  }

  /**
   * Sends the peer how some users are, and every change of that.
   *
   * @throws {@link UnsupportedError} without a presence service.
   */
  async watch(userIds: Iterable<string>): Promise<void> {
    this.#presence();
    this.#assertAttached();
    if (typeof userIds === 'string') throw new InvalidArgumentError('userIds', 'must be several strings');
    const wanted = [...new Set(userIds)];
    for (const userId of wanted) assertName('userIds', userId);
    const added = wanted.filter((userId) => !this.#watched.has(userId));
    for (const userId of added) this.#watched.add(userId);
    try {
      await this.#host.watched?.add(this.#outlet, wanted);
    } catch (error) {
      this.unwatch(added);
      throw error;
    }
  }

  /** Sends it no more of them. */
  unwatch(userIds: Iterable<string>): void {
    const removed = [...userIds].filter((userId) => this.#watched.delete(userId));
    this.#host.watched?.remove(this.#outlet, removed);
  }

  /** Sets this socket's status. */
  async setStatus(status: Status): Promise<void> {
    const presence = this.#presence();
    this.#assertAttached();
    await presence.setPresence(this.userId, this.id, status, this.#meta);
  }

  /** The user did something just now. See `PresenceService.touch`. */
  async touch(): Promise<void> {
    if (this.attached) await this.#host.presence?.touch(this.userId, this.id);
  }

  /** Ends the connection with a close code, and detaches it. */
  close(code: number, reason: string, options: DetachOptions = {}): void {
    this.#outlet.close(code, reason, options);
  }

  /**
   * Leaves everything: rooms, presence, subscriptions. Nothing is sent from this moment on. Never
   * rejects: what Redis refuses goes to `onError`, and self-healing sees to it. Idempotent.
   */
  detach(options: DetachOptions = {}): Promise<void> {
    this.#detaching ??= this.#release(options);
    return this.#detaching;
  }

  get #occupant() {
    return { id: this.id, userId: this.userId, outlet: this.#outlet };
  }

  async #leave(room: string, place: RoomMembership): Promise<void> {
    place.wanted = false;
    try {
      // A socket's removal takes it out of all rooms.
      await place.leave(this.attached);
    } catch (error) {
      this.#report(error);
    }
    if (this.#memberships.get(room) === place) this.#memberships.delete(room);
  }

  async #release({ immediate = false, handoff = false }: DetachOptions): Promise<void> {
    this.#outlet.end();
    this.#host.detached(this);
    this.unwatch(this.#watched);
    // Or what is under way would outlast its undoing.
    if (this.#beginning !== undefined) await this.#beginning.catch(() => {});
    const places = [...this.#memberships];
    this.#memberships.clear();
    const { presence } = this.#host;
    const ends = places.map(([room, place]) => place.enqueue(() => this.#leave(room, place)));
    const results = await Promise.allSettled([
      ...ends,
      this.#userListener.close(),
      this.#present && !handoff ? presence?.removeSocket(this.userId, this.id, { immediate }) : undefined,
    ]);
    for (const result of results) if (result.status === 'rejected') this.#report(result.reason);
  }

  #presence(): PresenceService {
    const { presence } = this.#host;
    if (presence === undefined) throw new UnsupportedError('this RoomService has no presence service');
    return presence;
  }

  #assertAttached(): void {
    if (!this.attached) throw new ClosedError(`socket ${JSON.stringify(this.id)} is detached`);
  }

  #report(error: unknown): void {
    if (error instanceof ClosedError) return;
    this.#host.reporter.report(toRollcallError(error), { stage: 'peer' });
  }
}
