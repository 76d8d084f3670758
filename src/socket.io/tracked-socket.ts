import { LimitError } from '../internal/errors.js';
import type { Subscription } from '../pubsub/subscribe.js';
import type { SocketLike } from './socket-io-types.js';
import type { SocketRegistration } from './socket-registration.js';

/** A connected socket, and all that ends with its connection. */
export class TrackedSocket<S extends SocketLike = SocketLike> {
  /** Its place in the presence service; none while it is anonymous. */
  registration: SocketRegistration | undefined;
  /** False from the moment it begins to disconnect. */
  connected = true;
  /** The users it watches. */
  readonly watching = new Set<string>();
  /** Those it watched before it was recovered, until it does again. */
  restoring: ReadonlySet<string> | undefined;
  readonly subscriptions = new Set<Pick<Subscription, 'unsubscribe'>>();
  /** Takes our listeners off the socket. */
  removeListeners: () => void = () => {};
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(readonly socket: S) {}

  get id(): string {
    return this.socket.id;
  }

  /** How many requests wait for their turn, or are being carried out. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Carries `task` out after those before it: watching and unwatching must not overtake each other. */
  runExclusive<T>(task: () => T | Promise<T>): Promise<T> {
    this.#waiting++;
    const done = this.#last.then(task).finally(() => {
      this.#waiting--;
    });
    this.#last = done.catch(() => {});
    return done;
  }

  /** Notes those of `userIds` it does not watch yet, and returns them. */
  reserve(userIds: ReadonlySet<string>, limit: number): Set<string> {
    const added = new Set<string>();
    for (const userId of userIds) if (!this.watching.has(userId)) added.add(userId);
    if (this.watching.size + added.size > limit) {
      throw new LimitError(`a socket may watch ${limit} users`);
    }
    for (const userId of added) this.watching.add(userId);
    return added;
  }
}
