import { captureAsyncContext } from '../internal/async-context.js';
import { type Clock, callAt, type Timer } from '../internal/clock.js';
import { CloseCode } from '../protocol/close-codes.js';
import type { ServerFrame } from '../protocol/frames.js';
import type { RoomSocket } from '../rooms/room-socket.js';
import type { AuthenticatedUser, ConnectionRejection } from './identity.js';
import type { ClientRequest, ConnectionHandlerOptions, ConnectionIdentity } from './options.js';
import type { PeerAdapter } from './peer-adapter.js';
import { PermissionExpiry } from './permission-expiry.js';
import { toErrorFrame } from './request-error.js';

/** The options that requests use. */
export type RequestOptions<User extends ConnectionIdentity> = Pick<
  ConnectionHandlerOptions<User>,
  'authorize' | 'requests' | 'rooms' | 'typing'
>;

/** Shared by the connections of a server. */
export interface RequestSettings<User extends ConnectionIdentity> {
  readonly options: RequestOptions<User>;
  /** The user of a connection may change. */
  readonly identityChange: boolean;
  readonly maxRooms: number;
  readonly maxWatched: number;
  readonly clock: Clock;
  readonly report: (error: unknown) => void;
}

/** A connection whose socket is attached. */
export interface AttachedClient<User extends ConnectionIdentity> {
  readonly known: AuthenticatedUser<User>;
  readonly socket: RoomSocket;
  /** Undefined if the first credentials do not expire, and the connection cannot change its user. */
  readonly credentials: Credentials<User> | undefined;
}

/** The request of the handshake. */
export interface Credentials<User extends ConnectionIdentity> {
  /** With the query of a URL. Never rejects. */
  authenticate(url: string): Promise<AuthenticatedUser<User> | ConnectionRejection>;
  /** For the rate limit. */
  rateKeyOf(user: User): string;
}

/** Limits concurrent requests of one connection. Only one caller waits at a time. */
class RequestSlots {
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

/** The connection of the requests. */
export interface RequestConnection {
  readonly open: boolean;
  readonly peer: Pick<PeerAdapter, 'bufferedAmount' | 'sendFrame'>;
  /** Runs `change` while no frame is being authorized; later frames wait. Rejects if the connection ends first. */
  betweenFrames(change: () => Promise<void>): Promise<void>;
  /** Runs the changes of {@link betweenFrames} that wait for a frame which itself has to wait. */
  runChanges(): Promise<void>;
  welcome(socket: RoomSocket, position: string | undefined, expiresAt: number | undefined): ServerFrame;
  /** Later frames are ignored. */
  close(code: number, reason: string): void;
}

/** Concurrent requests. */
const MAX_RUNNING = 64;
/** Bytes of replies for a client that sends, but does not read. */
const MAX_UNREAD = 4 * 1_048_576;

/**
 * Input and state of one connection's requests. A server has one for each connection, so what few connections need is
 * created when they need it.
 */
export class RequestContext<User extends ConnectionIdentity> {
  /** Replaced by `refresh`. */
  known: AuthenticatedUser<User>;
  readonly credentials: Credentials<User> | undefined;
  readonly socket: RoomSocket;
  readonly slots = new RequestSlots(MAX_RUNNING);
  /** In the context in which the connection began. */
  readonly runInContext = captureAsyncContext();
  /** One after the other, so that the latest one counts. */
  lastRefresh: Promise<unknown> | undefined;
  /** Pages are read one after the other: together they could fill the memory. */
  lastHistoryRead: Promise<unknown> | undefined;
  readonly #connection: RequestConnection;
  readonly #settings: RequestSettings<User>;
  /** Joins in progress, by room. */
  #joining: Map<string, Promise<unknown>> | undefined;
  /** Rooms that show the user as typing. */
  #typing: Set<string> | undefined;
  /** Of what the client is shown. */
  #permissions: PermissionExpiry | undefined;
  #expiry: Timer | undefined;

  constructor(
    connection: RequestConnection,
    settings: RequestSettings<User>,
    { known, credentials, socket }: AttachedClient<User>,
  ) {
    this.#connection = connection;
    this.#settings = settings;
    this.known = known;
    this.credentials = credentials;
    this.socket = socket;
  }

  get options(): RequestOptions<User> {
    return this.#settings.options;
  }

  get identityChange(): boolean {
    return this.#settings.identityChange;
  }

  get maxRooms(): number {
    return this.#settings.maxRooms;
  }

  get maxWatched(): number {
    return this.#settings.maxWatched;
  }

  /** Never throws. */
  get report(): (error: unknown) => void {
    return this.#settings.report;
  }

  /** False once replies cannot be sent. */
  isOpen(): boolean {
    return this.#connection.open && this.socket.attached;
  }

  /** @see RequestConnection.betweenFrames */
  betweenFrames(change: () => Promise<void>): Promise<void> {
    return this.#connection.betweenFrames(change);
  }

  /** @see RequestConnection.runChanges */
  runChanges(): Promise<void> {
    return this.#connection.runChanges();
  }

  /** Later frames are ignored. */
  close(code: number, reason: string): void {
    this.#connection.close(code, reason);
  }

  send(frame: ServerFrame): void {
    const { peer } = this.#connection;
    if (peer.bufferedAmount > MAX_UNREAD) return this.close(CloseCode.SLOW_CONSUMER, 'reads too slowly');
    peer.sendFrame(frame);
  }

  /** Never throws. */
  sendError(error: unknown, id: number | undefined): void {
    const { report } = this;
    if (!this.isOpen()) return;
    try {
      this.send(toErrorFrame(error, id, report));
    } catch (failure) {
      report(failure);
    }
  }

  /** Tells the client its user. `position`: in their messages. */
  sendWelcome(position: string | undefined): void {
    this.send(this.#connection.welcome(this.socket, position, this.known.expiresAt));
  }

  /** Closes the connection at `expiresAt`, in ms since the epoch. Returns the time left, in ms. */
  setExpiry(expiresAt: number | undefined): number | undefined {
    this.#expiry?.cancel();
    this.#expiry = undefined;
    if (expiresAt === undefined) return undefined;
    const { clock } = this.#settings;
    const onExpired = () => this.close(CloseCode.EXPIRED, 'the credentials have expired');
    this.#expiry = callAt(clock, expiresAt, onExpired);
    return Math.max(0, expiresAt - clock.now());
  }

  /**
   * True if `answer` of `authorize` allows the request now.
   *
   * @throws {@link HandlerError} for an invalid `expiresAt`.
   */
  accept(answer: unknown, request: Pick<ClientRequest, 'action'>): boolean {
    if (typeof answer === 'boolean') return answer;
    this.#permissions ??= new PermissionExpiry(this.#settings.clock, this.socket);
    return this.#permissions.accept(answer, request);
  }

  /** Until the first permission of what the client is shown ends, in ms; `undefined`: none does. */
  get permissionTimeLeft(): number | undefined {
    return this.#permissions?.timeLeft;
  }

  /** All permissions are asked for again now. */
  clearPermissions(): void {
    this.#permissions?.clear();
  }

  /** `joined`: a join in progress. */
  addJoin(room: string, joined: Promise<unknown>): void {
    this.#joining ??= new Map();
    const joining = this.#joining;
    joining.set(room, joined);
    const remove = (): void => {
      if (joining.get(room) === joined) joining.delete(room);
      if (joining.size === 0 && this.#joining === joining) this.#joining = undefined;
    };
    joined.then(remove, remove);
  }

  /** The latest join in progress. */
  joinOf(room: string): Promise<unknown> | undefined {
    return this.#joining?.get(room);
  }

  /** The room shows the user as typing. */
  addTyping(room: string): void {
    this.#typing ??= new Set();
    this.#typing.add(room);
  }

  /** False if the room did not show the user as typing. */
  removeTyping(room: string): boolean {
    return this.#typing?.delete(room) === true;
  }

  /** The rooms that show the user as typing; afterwards there are none. */
  takeTyping(): string[] {
    const rooms = [...(this.#typing ?? [])];
    this.#typing = undefined;
    return rooms;
  }

  /** The connection has ended. */
  end(): void {
    this.setExpiry(undefined);
    this.clearPermissions();
    this.slots.wake();
  }
}

export async function stopTyping<User extends ConnectionIdentity>(
  context: RequestContext<User>,
  userId: string,
): Promise<void> {
  const { options, socket } = context;
  const stop = (room: string) => options.typing?.stop(room, userId, { except: socket.id });
  await Promise.all(context.takeTyping().map(stop));
}
