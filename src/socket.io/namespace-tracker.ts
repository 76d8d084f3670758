import type { Timer } from '../internal/clock.js';
import { ClosedError, InvalidArgumentError, LimitError } from '../internal/errors.js';
import { assertName } from '../internal/validate.js';
import { assertStatus } from '../presence/validate.js';
import { toRollcallError } from '../redis/replies.js';
import { ChannelRelay } from './channel-relay.js';
import { parseIdentity } from './identity.js';
import type {
  PresencePayload,
  PresenceTrackerRequest,
  PresenceTrackerStats,
  SocketIdentity,
} from './options.js';
import { SocketWatches } from './presence-watches.js';
import { type RecoverableState, recoveryWindow, restoreState, saveState } from './recovery.js';
import { handleRequests, RejectedRequest, type RequestAction } from './requests.js';
import { RoomMirror } from './room-mirror.js';
import type { TrackerSettings } from './settings.js';
import type { NamespaceLike, SocketLike } from './socket-io-types.js';
import { SocketRegistration } from './socket-registration.js';
import { TrackedSocket } from './tracked-socket.js';

/** A socket that is disconnected and may come back under the same id. */
interface RecoverableSocket {
  readonly registration: SocketRegistration;
  readonly timer: Timer;
}

/** All sockets of a namespace, from `connection` to `disconnect`, or to where they can't be recovered any more. */
export class NamespaceTracker<S extends SocketLike> {
  readonly channels: ChannelRelay;
  readonly #space: NamespaceLike<S>;
  readonly #settings: TrackerSettings<S>;
  readonly #sockets = new Map<string, TrackedSocket<S>>();
  readonly #recovering = new Map<string, RecoverableSocket>();
  readonly #watching: SocketWatches<S>;
  readonly #mirror: RoomMirror<S> | undefined;
  readonly #actions: ReadonlyMap<string, RequestAction<S>>;
  #closing: Promise<void> | undefined;

  constructor(space: NamespaceLike<S>, settings: TrackerSettings<S>) {
    this.#space = space;
    this.#settings = settings;
    const { pubsub, maxSubscriptions, roomOf } = settings;
    this.channels = new ChannelRelay(pubsub, maxSubscriptions);
    this.#watching = new SocketWatches(settings);
    const find = (socketId: string) => this.#sockets.get(socketId);
    if (roomOf !== undefined) this.#mirror = new RoomMirror<S>({ ...settings, find, nameOf: roomOf });
    this.#actions = new Map<string, RequestAction<S>>([
      ['presence:watch', (tracked, payload) => this.#handleWatch(tracked, payload)],
      [
        'presence:unwatch',
        async (tracked, payload) => {
          this.#watching.remove(tracked, this.#idsIn(payload));
          return {};
        },
      ],
      ['presence:status', (tracked, payload) => this.#handleStatus(tracked, payload)],
    ]);
  }

  /** Begins with the sockets that are there, and goes on with those who come. */
  start(): void {
    // Before the application's own handlers, so that they can watch and subscribe.
    this.#space.prependListener('connection', this.#connected);
    for (const socket of this.#space.sockets.values()) this.#connected(socket);
  }

  get stats(): PresenceTrackerStats {
    let subscriptions = this.channels.size;
    for (const tracked of this.#sockets.values()) subscriptions += tracked.subscriptions.size;
    return {
      sockets: this.#sockets.size,
      recovering: this.#recovering.size,
      watched: this.#watching.size,
      subscriptions,
    };
  }

  /** @throws {@link ClosedError} */
  assertOpen(): void {
    if (this.#closing !== undefined) throw new ClosedError('the tracking is closed');
  }

  /** What is known of `socket`. @throws {@link ClosedError}, {@link InvalidArgumentError} */
  find(socket: S): TrackedSocket<S> {
    this.assertOpen();
    const tracked = this.#sockets.get(socket?.id);
    if (tracked === undefined || tracked.socket !== socket) {
      throw new InvalidArgumentError('socket', 'is not connected here');
    }
    return tracked;
  }

  watch(tracked: TrackedSocket<S>, userIds: ReadonlySet<string>): Promise<PresencePayload[]> {
    return tracked.runExclusive(() => this.#watching.add(tracked, userIds));
  }

  unwatch(tracked: TrackedSocket<S>, userIds: ReadonlySet<string>): Promise<void> {
    return tracked.runExclusive(() => this.#watching.remove(tracked, userIds));
  }

  async setStatus(tracked: TrackedSocket<S>, status: string): Promise<void> {
    assertStatus('status', status);
    // Whose it is, is settled when the handlers of `connection` have run.
    await tracked.runExclusive(async () => {
      if (tracked.registration === undefined) {
        throw new InvalidArgumentError('socket', 'is anonymous: it has no status');
      }
      await tracked.registration.setStatus(status);
    });
  }

  close(handoff: boolean): Promise<void> {
    this.#closing ??= this.#close(handoff);
    return this.#closing;
  }

  async #close(handoff: boolean): Promise<void> {
    this.#space.off('connection', this.#connected);
    const registrations = [...this.#recovering.values()].map(({ registration, timer }) => {
      timer.cancel();
      return registration;
    });
    this.#recovering.clear();
    const ending: Promise<unknown>[] = [this.#watching.close(), this.channels.close()];
    for (const tracked of [...this.#sockets.values()]) {
      ending.push(...this.#releaseSocket(tracked));
      if (tracked.registration !== undefined) registrations.push(tracked.registration);
    }
    for (const registration of registrations) {
      if (handoff) registration.stop();
      else ending.push(registration.remove());
    }
    for (const outcome of await Promise.allSettled(ending)) {
      if (outcome.status === 'rejected') this.#report(outcome.reason, 'close');
    }
  }

  /** Not a method: it is taken off again. */
  readonly #connected = (socket: S): void => {
    if (this.#closing !== undefined || this.#sockets.get(socket.id)?.socket === socket) return;
    const { presence, reporter, touch } = this.#settings;
    const tracked = new TrackedSocket(socket);
    this.#sockets.set(socket.id, tracked);
    const disconnecting = (reason: string): void => this.#disconnecting(tracked, reason);
    const disconnected = (reason: string): void => this.#disconnected(tracked, reason);
    const heard = (): void => {
      const { registration } = tracked;
      if (registration?.registered !== true) return;
      presence.touch(registration.userId, socket.id).catch((error: unknown) => this.#report(error, 'repair'));
    };
    socket.on('disconnecting', disconnecting);
    socket.on('disconnect', disconnected);
    if (touch) socket.onAny(heard);
    const deaf = handleRequests(tracked, this.#actions, reporter);
    tracked.removeListeners = () => {
      socket.off('disconnecting', disconnecting);
      socket.off('disconnect', disconnected);
      if (touch) socket.offAny(heard);
      deaf();
    };
    const carried: RecoverableState =
      socket.recovered === true ? restoreState(socket.data) : { status: undefined, watching: [] };
    // In turn, so that requests find it done; later, so that handlers of `connection` can set `socket.data.user`.
    void tracked.runExclusive(() => this.#identify(tracked, carried));
    if (carried.watching.length > 0) this.#watching.restore(tracked, carried.watching);
  };

  #identify(tracked: TrackedSocket<S>, carried: RecoverableState): void {
    const { socket } = tracked;
    const before = this.#recovering.get(socket.id);
    this.#recovering.delete(socket.id);
    before?.timer.cancel();
    let identity: SocketIdentity | undefined;
    try {
      identity = parseIdentity(this.#settings.identify(socket));
    } catch (error) {
      if (error instanceof InvalidArgumentError) this.#settings.reporter.report(error, { stage: 'handler' });
      else this.#settings.reporter.reportHandlerError(error, {});
    }
    const stays = before !== undefined && before.registration.userId === identity?.userId;
    if (before !== undefined && !stays) this.#remove(before.registration);
    if (identity === undefined) return;
    const { userId, meta, status = 'online' } = identity;
    const registration = stays
      ? before.registration
      : new SocketRegistration(this.#settings, userId, socket.id, carried.status ?? status);
    if (!tracked.connected) {
      // Gone again in its own `connection` handler.
      if (stays) this.#remove(registration);
      return;
    }
    tracked.registration = registration;
    registration.onRegistered = () => this.#mirror?.registered(tracked);
    registration.begin(meta);
  }

  /** `disconnecting`: Socket.IO is about to keep the session, and to empty the rooms. */
  #disconnecting(tracked: TrackedSocket<S>, reason: string): void {
    tracked.connected = false;
    const { socket, registration, watching, restoring = [] } = tracked;
    if (recoveryWindow(socket.nsp, reason) === 0) return;
    const all = new Set([...watching, ...restoring]);
    saveState(socket.data, { status: registration?.status, watching: [...all] });
  }

  #disconnected(tracked: TrackedSocket<S>, reason: string): void {
    const { registration, socket } = tracked;
    for (const ending of this.#releaseSocket(tracked)) {
      ending.catch((error: unknown) => this.#report(error, 'unsubscribe'));
    }
    if (registration === undefined) return;
    const { clock, recoveryGrace } = this.#settings;
    const grace = Math.min(recoveryWindow(socket.nsp, reason), recoveryGrace);
    if (grace === 0) return this.#remove(registration);
    const over = (): void => {
      this.#recovering.delete(socket.id);
      this.#remove(registration);
    };
    const timer = clock.after(grace, over, { keepAlive: false });
    this.#recovering.set(socket.id, { registration, timer });
  }

  /** All that ends with the connection. */
  #releaseSocket(tracked: TrackedSocket<S>): Promise<unknown>[] {
    tracked.connected = false;
    tracked.removeListeners();
    this.#sockets.delete(tracked.id);
    this.#mirror?.gone(tracked);
    this.#watching.remove(tracked, [...tracked.watching]);
    const ending = [...tracked.subscriptions].map((subscription) => subscription.unsubscribe());
    tracked.subscriptions.clear();
    return ending;
  }

  #remove(registration: SocketRegistration): void {
    registration.remove().catch((error: unknown) => this.#report(error, 'repair'));
  }

  async #handleWatch(tracked: TrackedSocket<S>, payload: unknown): Promise<object> {
    const userIds = this.#idsIn(payload);
    await this.#assertAllowed(
      tracked,
      Array.from(userIds, (userId) => ({ action: 'watch' as const, userId })),
    );
    return { users: await this.#watching.add(tracked, userIds) };
  }

  async #handleStatus(tracked: TrackedSocket<S>, payload: unknown): Promise<object> {
    assertStatus('status', payload);
    await this.#assertAllowed(tracked, [{ action: 'status', status: payload }]);
    const { registration } = tracked;
    if (registration === undefined)
      throw new RejectedRequest('FORBIDDEN', 'an anonymous socket has no status');
    await registration.setStatus(payload);
    return { status: payload };
  }

  #idsIn(payload: unknown): Set<string> {
    const { maxWatched } = this.#settings;
    if (!Array.isArray(payload)) throw new InvalidArgumentError('userIds', 'must be an array of strings');
    if (payload.length > maxWatched) throw new LimitError(`at most ${maxWatched} users can be watched`);
    for (const userId of payload as unknown[]) assertName('userId', userId);
    return new Set(payload as string[]);
  }

  async #assertAllowed(
    tracked: TrackedSocket<S>,
    requests: readonly PresenceTrackerRequest[],
  ): Promise<void> {
    const { authorize } = this.#settings;
    const allowed =
      authorize === undefined
        ? [tracked.registration !== undefined]
        : await Promise.all(requests.map(async (request) => authorize(tracked.socket, request)));
    if (allowed.some((each) => each !== true)) throw new RejectedRequest('FORBIDDEN', 'not allowed');
    if (!tracked.connected) throw new RejectedRequest('UNAVAILABLE', 'the socket is disconnected');
  }

  #report(error: unknown, stage: 'repair' | 'unsubscribe' | 'close'): void {
    // A service that was closed first has removed its sockets and ended its subscriptions itself.
    if (error instanceof ClosedError) return;
    this.#settings.reporter.report(toRollcallError(error), { stage });
  }
}
