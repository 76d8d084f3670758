import { randomUUID } from 'node:crypto';
import type { Timer } from '../internal/clock.js';
import { ClosedError, InvalidArgumentError, LimitError } from '../internal/errors.js';
import { assertName, assertOptions } from '../internal/validate.js';
import { assertStatus } from '../presence/validate.js';
import { toRollcallError } from '../redis/replies.js';
import { ChannelRelay } from './channel-relay.js';
import { parseIdentity } from './identity.js';
import { WATCH_REQUEST_OPTION_NAMES } from './option-names.js';
import type {
  PresencePayload,
  PresenceTrackerRequest,
  PresenceTrackerStats,
  SocketIdentity,
} from './options.js';
import { SocketWatches } from './presence-watches.js';
import { NO_STATE, type RecoverableState, recoveryWindow, restoreState, saveState } from './recovery.js';
import { RecoveryNotifier } from './recovery-notifier.js';
import { handleRequests, RejectedRequest, type RequestAction } from './requests.js';
import { type Revocation, Revocations } from './revocations.js';
import { RoomMirror } from './room-mirror.js';
import type { TrackerSettings } from './settings.js';
import type { NamespaceBase, NamespaceLike, SocketLike } from './socket-io-types.js';
import { SocketRegistration } from './socket-registration.js';
import { TrackedSocket } from './tracked-socket.js';

/** Disconnected; may be recovered under the same id. */
interface RecoverableSocket {
  readonly namespace: NamespaceBase;
  readonly registration: SocketRegistration;
  readonly timer: Timer;
}

/** Namespaces with an open tracker: two would send each change to a client twice. */
const TRACKED = new WeakSet<object>();

/** Tracks sockets from `connection` until they can no longer be recovered. */
export class NamespaceTracker<S extends SocketLike> {
  readonly channels: ChannelRelay;
  readonly #namespace: NamespaceLike<S>;
  readonly #settings: TrackerSettings<S>;
  readonly #sockets = new Map<string, TrackedSocket<S>>();
  readonly #recovering = new Map<string, RecoverableSocket>();
  readonly #notifier = new RecoveryNotifier((socketId) => this.#abandonRecovery(socketId));
  /** Distinguishes sessions of this tracker from other servers'. */
  readonly #id = randomUUID();
  readonly #revocations: Revocations;
  readonly #watches: SocketWatches<S>;
  readonly #mirror: RoomMirror<S> | undefined;
  readonly #actions: ReadonlyMap<string, RequestAction<S>>;
  #closing: Promise<void> | undefined;

  constructor(namespace: NamespaceLike<S>, settings: TrackerSettings<S>) {
    this.#namespace = namespace;
    this.#settings = settings;
    const { pubsub, maxSubscriptions, roomOf } = settings;
    this.channels = new ChannelRelay(pubsub, maxSubscriptions);
    this.#revocations = new Revocations(pubsub, {
      onRevoked: (revocation) => this.#onRevoked(revocation),
      onMissed: () => this.#onRevocationsMissed(),
    });
    this.#watches = new SocketWatches(settings, () => this.#revocations.open());
    const find = (socketId: string) => this.#sockets.get(socketId);
    if (roomOf !== undefined) this.#mirror = new RoomMirror<S>({ ...settings, find, nameOf: roomOf });
    this.#actions = new Map<string, RequestAction<S>>([
      ['presence:watch', (tracked, payload, options) => this.#handleWatch(tracked, payload, options)],
      [
        'presence:unwatch',
        async (tracked, payload) => {
          this.#watches.remove(tracked, this.#parseUserIds(payload));
          return {};
        },
      ],
      ['presence:status', (tracked, payload) => this.#handleStatus(tracked, payload)],
    ]);
  }

  /**
   * Also sockets that are connected already.
   *
   * @throws {@link InvalidArgumentError} if the namespace has an open tracker.
   */
  start(): void {
    if (TRACKED.has(this.#namespace)) {
      throw new InvalidArgumentError('io', 'has a tracker already: call trackPresence once per namespace');
    }
    TRACKED.add(this.#namespace);
    // Before the application's own handlers, so that they can watch and subscribe.
    this.#namespace.prependListener('connection', this.#onConnection);
    for (const socket of this.#namespace.sockets.values()) this.#onConnection(socket);
  }

  get stats(): PresenceTrackerStats {
    let subscriptions = this.channels.size;
    for (const tracked of this.#sockets.values()) subscriptions += tracked.subscriptions.size;
    return {
      sockets: this.#sockets.size,
      recovering: this.#recovering.size,
      watched: this.#watches.size,
      subscriptions,
    };
  }

  /** @throws {@link ClosedError} */
  assertOpen(): void {
    if (this.#closing !== undefined) throw new ClosedError('the presence tracker is closed');
  }

  /** @throws {@link ClosedError}; {@link InvalidArgumentError} for a socket that is not connected here. */
  find(socket: S): TrackedSocket<S> {
    this.assertOpen();
    const tracked = this.#sockets.get(socket?.id);
    if (tracked === undefined || tracked.socket !== socket) {
      throw new InvalidArgumentError('socket', 'is not connected here');
    }
    return tracked;
  }

  watch(tracked: TrackedSocket<S>, userIds: ReadonlySet<string>): Promise<PresencePayload[]> {
    return tracked.runExclusive(() => this.#watches.add(tracked, userIds));
  }

  unwatch(tracked: TrackedSocket<S>, userIds: ReadonlySet<string>): Promise<void> {
    return tracked.runExclusive(() => this.#watches.remove(tracked, userIds));
  }

  async setStatus(tracked: TrackedSocket<S>, status: string): Promise<void> {
    assertStatus('status', status);
    // The socket is identified after the handlers of `connection`.
    await tracked.runExclusive(async () => {
      if (tracked.registration === undefined) {
        throw new InvalidArgumentError('socket', 'is anonymous, so it has no status');
      }
      await tracked.registration.setStatus(status);
    });
  }

  /** Resolves with the users that the socket no longer watches. */
  identify(tracked: TrackedSocket<S>): Promise<string[]> {
    return tracked.runExclusive(() => this.#changeUser(tracked));
  }

  revoke(revocation: Revocation): Promise<void> {
    return this.#revocations.publish(revocation);
  }

  close(handoff: boolean): Promise<void> {
    this.#closing ??= this.#close(handoff);
    return this.#closing;
  }

  async #close(handoff: boolean): Promise<void> {
    this.#namespace.off('connection', this.#onConnection);
    TRACKED.delete(this.#namespace);
    const registrations: SocketRegistration[] = [];
    for (const socketId of [...this.#recovering.keys()]) {
      const recoverable = this.#takeRecoverable(socketId);
      if (recoverable !== undefined) registrations.push(recoverable.registration);
    }
    const ending: Promise<unknown>[] = [
      this.#watches.close(),
      this.channels.close(),
      this.#revocations.close(),
    ];
    for (const tracked of [...this.#sockets.values()]) {
      ending.push(...this.#releaseSocket(tracked));
      tracked.notifyRecovery?.();
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

  /** A field, so that the listener can be removed. */
  readonly #onConnection = (socket: S): void => {
    if (this.#closing !== undefined || this.#sockets.get(socket.id)?.socket === socket) return;
    const { presence, reporter, touch } = this.#settings;
    const tracked = new TrackedSocket(socket, this.#settings);
    this.#sockets.set(socket.id, tracked);
    const onDisconnecting = (reason: string): void => this.#onDisconnecting(tracked, reason);
    const onDisconnect = (reason: string): void => this.#onDisconnect(tracked, reason);
    const onEvent = (): void => {
      const { registration } = tracked;
      if (registration?.registered !== true) return;
      presence.touch(registration.userId, socket.id).catch((error: unknown) => this.#report(error, 'repair'));
    };
    socket.on('disconnecting', onDisconnecting);
    socket.on('disconnect', onDisconnect);
    if (touch) socket.onAny(onEvent);
    const removeRequestListeners = handleRequests(tracked, this.#actions, reporter);
    tracked.removeListeners = () => {
      socket.off('disconnecting', onDisconnecting);
      socket.off('disconnect', onDisconnect);
      if (touch) socket.offAny(onEvent);
      removeRequestListeners();
    };
    const restored = socket.recovered === true ? restoreState(socket.data) : NO_STATE;
    if (socket.recovered === true && restored.trackerId !== this.#id) {
      tracked.notifyRecovery = () => {
        tracked.notifyRecovery = undefined;
        this.#notifier.notify(socket.nsp, socket.id);
      };
    }
    // Before all requests, so that handlers of `connection` can set `socket.data.user` first.
    void tracked.runExclusive(() => this.#identify(tracked, restored));
    tracked.batch = restored.batch;
    if (restored.watching.length === 0) return;
    this.#watches.restore(tracked, restored, () => this.#refusedOf(tracked, tracked.requested));
  };

  #identify(tracked: TrackedSocket<S>, restored: RecoverableState): void {
    const { socket } = tracked;
    const recovered = this.#takeRecoverable(socket.id);
    let identity: SocketIdentity | undefined;
    try {
      identity = parseIdentity(this.#settings.identify(socket));
    } catch (error) {
      if (error instanceof InvalidArgumentError) this.#settings.reporter.report(error, { stage: 'handler' });
      else this.#settings.reporter.reportHandlerError(error, {});
    }
    const isSameUser = recovered !== undefined && recovered.registration.userId === identity?.userId;
    if (recovered !== undefined && !isSameUser) this.#remove(recovered.registration);
    if (identity === undefined) {
      tracked.notifyRecovery?.();
      return;
    }
    const { userId, meta, status = 'online' } = identity;
    const registration = isSameUser
      ? recovered.registration
      : new SocketRegistration(this.#settings, userId, socket.id, restored.status ?? status);
    if (!tracked.connected) {
      // A `connection` handler has disconnected the socket.
      if (isSameUser) this.#remove(registration);
      return;
    }
    tracked.registration = registration;
    // Last: the removal elsewhere must not leave the user without a registration or a room.
    registration.onRegistered = () => {
      const joined = this.#mirror?.addSocket(tracked) ?? Promise.resolve();
      void joined.then(() => {
        if (tracked.connected) tracked.notifyRecovery?.();
      });
    };
    registration.begin(meta);
  }

  async #changeUser(tracked: TrackedSocket<S>): Promise<string[]> {
    const { socket, registration: former } = tracked;
    const identity = parseIdentity(this.#settings.identify(socket));
    if (identity?.userId === former?.userId) return [];
    let next: SocketRegistration | undefined;
    if (identity !== undefined) {
      const { userId, meta, status = former?.status ?? 'online' } = identity;
      next = new SocketRegistration(this.#settings, userId, socket.id, status);
      await next.register(meta);
      if (!tracked.connected) {
        await next.remove({ immediate: true });
        throw new ClosedError('the socket is disconnected');
      }
    }
    tracked.registration = next;
    // The new user joins the rooms before the old one leaves them. Failed joins are repeated.
    this.#mirror?.removeSocket(tracked);
    if (next !== undefined) await this.#mirror?.addSocket(tracked);
    const refused = await this.#refusedOf(tracked, tracked.watching);
    this.#watches.remove(tracked, refused);
    await former?.remove({ immediate: true });
    return refused;
  }

  #onRevoked({ userId, watch }: Revocation): void {
    for (const tracked of this.#sockets.values()) {
      if (tracked.registration?.userId === userId) this.#watches.revoke(tracked, watch);
    }
  }

  #onRevocationsMissed(): void {
    for (const tracked of this.#sockets.values()) {
      void tracked.runExclusive(async () => {
        this.#watches.revoke(tracked, await this.#refusedOf(tracked, tracked.requested));
      });
    }
  }

  async #refusedOf(tracked: TrackedSocket<S>, userIds: Iterable<string>): Promise<string[]> {
    const refused: string[] = [];
    for (const userId of userIds) if (!(await this.#mayWatch(tracked, userId))) refused.push(userId);
    return refused;
  }

  /** False if `authorize` fails. */
  async #mayWatch(tracked: TrackedSocket<S>, userId: string): Promise<boolean> {
    try {
      await this.#assertAllowed(tracked, [{ action: 'watch', userId }]);
      return true;
    } catch (error) {
      if (!(error instanceof RejectedRequest)) this.#settings.reporter.reportHandlerError(error, {});
      return false;
    }
  }

  /** Before Socket.IO stores the session, which then contains the state. */
  #onDisconnecting(tracked: TrackedSocket<S>, reason: string): void {
    tracked.connected = false;
    const { socket, registration, watching, requested, batch, restoring = [] } = tracked;
    if (recoveryWindow(socket.nsp, reason) === 0) return;
    const userIds = new Set([...watching, ...restoring]);
    saveState(socket.data, {
      status: registration?.status,
      watching: [...userIds],
      requested: [...requested],
      batch,
      trackerId: this.#id,
    });
  }

  #onDisconnect(tracked: TrackedSocket<S>, reason: string): void {
    const { registration, socket } = tracked;
    for (const ending of this.#releaseSocket(tracked)) {
      ending.catch((error: unknown) => this.#report(error, 'unsubscribe'));
    }
    const { clock, recoveryGrace } = this.#settings;
    const grace = Math.min(recoveryWindow(socket.nsp, reason), recoveryGrace);
    if (grace === 0) tracked.notifyRecovery?.();
    if (registration === undefined) return;
    if (grace === 0) return this.#remove(registration);
    const timer = clock.after(grace, () => this.#abandonRecovery(socket.id), { keepAlive: false });
    this.#recovering.set(socket.id, { namespace: socket.nsp, registration, timer });
    this.#notifier.acquire(socket.nsp);
  }

  /** `undefined`: the socket does not wait for a recovery. */
  #takeRecoverable(socketId: string): RecoverableSocket | undefined {
    const recoverable = this.#recovering.get(socketId);
    if (recoverable === undefined) return undefined;
    this.#recovering.delete(socketId);
    recoverable.timer.cancel();
    this.#notifier.release(recoverable.namespace);
    return recoverable;
  }

  /** This server will not recover the socket. */
  #abandonRecovery(socketId: string): void {
    const recoverable = this.#takeRecoverable(socketId);
    if (recoverable !== undefined) this.#remove(recoverable.registration);
  }

  /** Returns the unsubscriptions in progress. */
  #releaseSocket(tracked: TrackedSocket<S>): Promise<unknown>[] {
    tracked.connected = false;
    tracked.removeListeners();
    this.#sockets.delete(tracked.id);
    this.#mirror?.removeSocket(tracked);
    this.#watches.remove(tracked, [...tracked.watching]);
    const ending = [...tracked.subscriptions].map((subscription) => subscription.unsubscribe());
    tracked.subscriptions.clear();
    return ending;
  }

  #remove(registration: SocketRegistration): void {
    registration.remove().catch((error: unknown) => this.#report(error, 'repair'));
  }

  async #handleWatch(tracked: TrackedSocket<S>, payload: unknown, options: unknown): Promise<object> {
    const userIds = this.#parseUserIds(payload);
    const batch = parseBatch(options);
    const { revocations } = tracked;
    await this.#assertAllowed(
      tracked,
      Array.from(userIds, (userId) => ({ action: 'watch' as const, userId })),
    );
    // Allowed by an answer that may be out of date.
    if (tracked.revocations !== revocations) return this.#handleWatch(tracked, payload, options);
    const users = await this.#watches.add(tracked, userIds, true);
    if (batch !== undefined) tracked.batch = batch;
    return { users };
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

  #parseUserIds(payload: unknown): Set<string> {
    const { maxWatched } = this.#settings;
    if (!Array.isArray(payload)) throw new InvalidArgumentError('userIds', 'must be an array of strings');
    if (payload.length > maxWatched) throw new LimitError(`a socket may watch at most ${maxWatched} users`);
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
    // The service has removed its sockets and subscriptions itself.
    if (error instanceof ClosedError) return;
    this.#settings.reporter.report(toRollcallError(error), { stage });
  }
}

/** `undefined`: as before. */
function parseBatch(options: unknown): boolean | undefined {
  if (options === undefined || options === null) return undefined;
  assertOptions('options', options, WATCH_REQUEST_OPTION_NAMES);
  const { batch } = options as { batch?: unknown };
  if (batch !== undefined && typeof batch !== 'boolean') {
    throw new InvalidArgumentError('batch', 'must be true or false');
  }
  return batch;
}
