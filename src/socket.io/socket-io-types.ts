/**
 * What is used of Socket.IO 4, by shape: its own types are generic in four maps of events, and whoever
 * does not use Socket.IO need not have it. `Server`, `Namespace` and `Socket` fit whatever their maps are.
 */

/** A listener of any arguments: a method's type, for those may know more of their arguments. */
export type Listener = {
  /** Is called with what the event brings. */
  call(...args: unknown[]): void;
}['call'];

/** Something to send to; what `to` returns. */
export interface BroadcastLike {
  /** Sends an event. */
  emit(event: string, ...args: unknown[]): unknown;
}

/** A namespace's adapter, as far as it tells of rooms. */
export interface AdapterLike {
  /** Adds a listener. */
  on(event: string, listener: Listener): unknown;
  /** Takes it away. */
  off(event: string, listener: Listener): unknown;
}

/** A `Socket` of Socket.IO 4, on the server's side. */
export interface SocketLike {
  /** The session's id; the same one after a recovery. */
  readonly id: string;
  /** Its session was recovered; from 4.6. */
  readonly recovered?: boolean;
  /** False once it is disconnected. */
  readonly connected: boolean;
  /** The rooms it is in, its own among them. */
  readonly rooms: ReadonlySet<string>;
  /** What the application keeps of it. */
  readonly data: unknown;
  /** Its namespace. */
  readonly nsp: NamespaceBase;
  /** Adds a listener. */
  on(event: string, listener: Listener): unknown;
  /** Takes it away. */
  off(event: string, listener: Listener): unknown;
  /** Adds a listener of all events. */
  onAny(listener: Listener): unknown;
  /** Takes it away. */
  offAny(listener: Listener): unknown;
}

/** A namespace, as far as its sockets are of no interest. */
export interface NamespaceBase {
  /** Such as `/` or `/chat`. */
  readonly name: string;
  /** Who keeps its rooms. */
  readonly adapter: AdapterLike;
  /** Sends to the sockets of this process alone. */
  readonly local: BroadcastLike & {
    /** Those in some rooms. */
    to(room: string | string[]): BroadcastLike;
  };
}

/** A `Namespace` of Socket.IO 4: `io.of('/chat')`, also one for many names. */
export interface NamespaceLike<S extends SocketLike = SocketLike> extends NamespaceBase {
  /** The sockets connected to this process, by id. */
  readonly sockets: ReadonlyMap<string, S>;
  /** Adds a listener before the others. */
  prependListener(event: string, listener: Listener): unknown;
  /** Takes it away. */
  off(event: string, listener: Listener): unknown;
}

/** A `Server` of Socket.IO 4. */
export interface ServerLike<S extends SocketLike = SocketLike> {
  /** The namespace `/`. */
  readonly sockets: NamespaceLike<S>;
  /** Tells a server from a namespace. */
  of(name: string): NamespaceLike<S>;
}

/** The namespace that is meant by `io`. */
export function namespaceOf<S extends SocketLike>(io: ServerLike<S> | NamespaceLike<S>): NamespaceLike<S> {
  return 'of' in io ? io.sockets : io;
}

/** True for what has the shape of a server or namespace. */
export function isServerOrNamespace(io: unknown): io is ServerLike | NamespaceLike {
  if (typeof io !== 'object' || io === null) return false;
  const given = io as Partial<ServerLike & NamespaceLike>;
  const space: Partial<NamespaceLike> | undefined =
    typeof given.of === 'function' ? (given.sockets as unknown as NamespaceLike) : given;
  return (
    typeof space?.name === 'string' &&
    typeof space.prependListener === 'function' &&
    typeof (space.sockets as unknown as Map<string, unknown> | undefined)?.get === 'function'
  );
}
