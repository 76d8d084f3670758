import type { ServerFrame } from '../protocol/frames.js';
import type { RoomSocket } from '../rooms/room-socket.js';
import type { AuthenticatedUser, ConnectionRejection } from './identity.js';
import type { ConnectionHandlerOptions, ConnectionIdentity } from './options.js';
import type { PermissionExpiry } from './permission-expiry.js';

/** The options that requests use. */
export type RequestOptions<User extends ConnectionIdentity> = Pick<
  ConnectionHandlerOptions<User>,
  'authorize' | 'requests' | 'rooms' | 'typing'
>;

/** Input and state of one connection's requests. */
export interface RequestContext<User extends ConnectionIdentity> extends RequestOutput {
  readonly options: RequestOptions<User>;
  /** Replaced by `refresh`. */
  known: AuthenticatedUser<User>;
  /** Undefined if the first credentials do not expire, and the connection cannot change its user. */
  readonly credentials: Credentials<User> | undefined;
  readonly identityChange: boolean;
  /** One after the other, so that the latest one counts. */
  lastRefresh: Promise<unknown>;
  readonly socket: RoomSocket;
  readonly maxRooms: number;
  readonly maxWatched: number;
  readonly slots: RequestSlots;
  /** Joins in progress, by room. */
  readonly joining: Map<string, Promise<unknown>>;
  /** Rooms that show the user as typing. */
  readonly typing: Set<string>;
  /** Pages are read one after the other: together they could fill the memory. */
  lastHistoryRead: Promise<unknown>;
}

/** The request of the handshake. */
export interface Credentials<User extends ConnectionIdentity> {
  /** With the query of a URL. Never rejects. */
  authenticate(url: string): Promise<AuthenticatedUser<User> | ConnectionRejection>;
  /** For the rate limit. */
  rateKeyOf(user: User): string;
}

export interface RequestOutput {
  /** Runs `change` while no frame is being authorized; later frames wait. Rejects if the connection ends first. */
  betweenFrames(change: () => Promise<void>): Promise<void>;
  /** Runs the changes of {@link betweenFrames} that wait for a frame which itself has to wait. */
  runChanges(): Promise<void>;
  /** Tells the client its user. `position`: in their messages. */
  sendWelcome(position: string | undefined): void;
  /** False once replies cannot be sent. */
  isOpen(): boolean;
  send(frame: ServerFrame): void;
  /** Later frames are ignored. */
  close(code: number, reason: string): void;
  /** Closes the connection at `expiresAt`, in ms since the epoch. Returns the time left, in ms. */
  setExpiry(expiresAt: number | undefined): number | undefined;
  /** Of what the client is shown. */
  readonly permissions: PermissionExpiry;
  /** Never throws. */
  sendError(error: unknown, id: number | undefined): void;
  report(error: unknown): void;
}

/** Limits concurrent requests of one connection. Only one caller waits at a time. */
export class RequestSlots {
  readonly #size: number;
  #used = 0;
  #onFree: (() => void) | undefined;

  constructor(size: number) {
    this.#size = size;
  }

  get full(): boolean {
    return this.#used >= this.#size;
  }

  acquire(): void {
    this.#used++;
  }

  release(): void {
    this.#used--;
    this.wake();
  }

  /** Resolves after the next `release` or `wake`. */
  waitForSlot(): Promise<void> {
    return new Promise((resolve) => {
      this.#onFree = resolve;
    });
  }

  /** The connection has ended. */
  wake(): void {
    this.#onFree?.();
    this.#onFree = undefined;
  }
}

export async function stopTyping<User extends ConnectionIdentity>(
  { options, socket, typing }: RequestContext<User>,
  userId: string,
): Promise<void> {
  const stop = (room: string) => options.typing?.stop(room, userId, { except: socket.id });
  await Promise.all(Array.from(typing, stop));
}
