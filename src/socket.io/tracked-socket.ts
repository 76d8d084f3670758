import { LimitError } from '../internal/errors.js';
import { ViewerFilter } from '../internal/viewer-filter.js';
import type { Subscription } from '../pubsub/subscribe.js';
import type { TrackerSettings } from './settings.js';
import type { SocketLike } from './socket-io-types.js';
import type { SocketRegistration } from './socket-registration.js';

/** State that ends with the connection. */
export class TrackedSocket<S extends SocketLike = SocketLike> {
  /** `undefined`: anonymous. */
  registration: SocketRegistration | undefined;
  /** False from `disconnecting` on. */
  connected = true;
  readonly watching = new Set<string>();
  /** Those of `watching` and `restoring` that the client has asked for, and not the server. */
  readonly requested = new Set<string>();
  /** Number of revocations: a permission that was asked for before the last one may be out of date. */
  revocations = 0;
  /** `undefined`: the socket may see every user. */
  readonly filter: ViewerFilter | undefined;
  /** Watched users whose last payload has shown nothing, because the socket may not see them. */
  readonly concealed = new Set<string>();
  /** Changes of watched users are collected into lists. */
  batch = false;
  /** Watched before a recovery, until watched again. */
  restoring: Set<string> | undefined;
  /** `undefined`: done, or not needed. */
  notifyRecovery: (() => void) | undefined;
  readonly subscriptions = new Set<Pick<Subscription, 'unsubscribe'>>();
  removeListeners: () => void = () => {};
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(
    readonly socket: S,
    { visible, reporter }: Pick<TrackerSettings<S>, 'visible' | 'reporter'>,
  ) {
    if (visible === undefined) return;
    const isViewer = (userId: string) => userId === this.registration?.userId;
    this.filter = new ViewerFilter((userId) => visible(socket, userId), isViewer, reporter);
  }

  get id(): string {
    return this.socket.id;
  }

  /** Queued or in progress. */
  get waiting(): number {
    return this.#waiting;
  }

  /** In order: `watch` and `unwatch` must not overtake each other. */
  runExclusive<T>(task: () => T | Promise<T>): Promise<T> {
    this.#waiting++;
    const done = this.#last.then(task).finally(() => {
      this.#waiting--;
    });
    this.#last = done.catch(() => {});
    return done;
  }

  /** Returns the new ones. @throws {@link LimitError} */
  reserve(userIds: ReadonlySet<string>, limit: number): Set<string> {
    const added = new Set<string>();
    for (const userId of userIds) if (!this.watching.has(userId)) added.add(userId);
    if (this.watching.size + added.size > limit) {
      throw new LimitError(`a socket may watch at most ${limit} users`);
    }
    for (const userId of added) this.watching.add(userId);
    return added;
  }
}
