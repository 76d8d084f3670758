/**
 * The part of Socket.IO 4 that is used, by shape, so that rollcall does not depend on Socket.IO. `Server`,
 * `Namespace` and `Socket` fit with any event maps.
 */

/** A listener of any arguments; as type of a method it accepts listeners with narrower arguments. */
export type Listener = {
  /** Called with the arguments of the event. */
  call(...args: unknown[]): void;
}['call'];

/** A target of broadcasts, as `to` returns it. */
export interface BroadcastLike {
  /** Sends an event. */
  emit(event: string, ...args: unknown[]): unknown;
}

/** The adapter of a namespace, which emits `join-room` and `leave-room`. */
export interface AdapterLike {
  /** Adds a listener. */
  on(event: string, listener: Listener): unknown;
  /** Removes a listener. */
  off(event: string, listener: Listener): unknown;
}

/** A `Socket` of Socket.IO 4, on the server's side. */
export interface SocketLike {
  /** The session's id; a recovery keeps it. */
  readonly id: string;
  /** True if the session was recovered; Socket.IO 4.6 and later. */
  readonly recovered?: boolean;
  /** False once the socket is disconnected. */
  readonly connected: boolean;
  /** Rooms the socket has joined, including the one named after its id. */
  readonly rooms: ReadonlySet<string>;
  /** Application data attached to the socket. */
  readonly data: unknown;
  /** The socket's namespace. */
  readonly nsp: NamespaceBase;
  /** The connection of Engine.IO. Without it missed messages are not paced. */
  readonly conn?: unknown;
  /** Adds a listener. */
  on(event: string, listener: Listener): unknown;
  /** Removes a listener. */
  off(event: string, listener: Listener): unknown;
  /** Adds a listener of all events that the client sends. */
  onAny(listener: Listener): unknown;
  /** Removes a listener. */
  offAny(listener: Listener): unknown;
}

/** A namespace without its sockets. */
export interface NamespaceBase {
  /** The name, such as `/` or `/chat`. */
  readonly name: string;
  /** The adapter, which holds the rooms. */
  readonly adapter: AdapterLike;
  /** Sends to the sockets of this process only. */
  readonly local: BroadcastLike & {
    /** Sends to the sockets in these rooms. */
    to(room: string | string[]): BroadcastLike;
  };
  /** Adds a listener of events from other servers. */
  on?(event: string, listener: Listener): unknown;
  /** Removes a listener. */
  off?(event: string, listener: Listener): unknown;
  /** Sends an event to the other servers of the cluster. */
  serverSideEmit?(event: string, ...args: unknown[]): unknown;
}

/** A `Namespace` of Socket.IO 4, for example `io.of('/chat')`; also the parent of dynamic namespaces. */
export interface NamespaceLike<S extends SocketLike = SocketLike> extends NamespaceBase {
  /** The sockets connected to this process, by id. */
  readonly sockets: ReadonlyMap<string, S>;
  /** Adds a listener before the others. */
  prependListener(event: string, listener: Listener): unknown;
  /** Removes a listener. */
  off(event: string, listener: Listener): unknown;
}

/** A `Server` of Socket.IO 4. */
export interface ServerLike<S extends SocketLike = SocketLike> {
  /** The namespace `/`. */
  readonly sockets: NamespaceLike<S>;
  /** Returns a namespace; only a server has this method. */
  of(name: string): NamespaceLike<S>;
}

/** `/` of a server, or the namespace itself. */
export function namespaceOf<S extends SocketLike>(io: ServerLike<S> | NamespaceLike<S>): NamespaceLike<S> {
  return 'of' in io ? io.sockets : io;
}

export function isServerOrNamespace(io: unknown): io is ServerLike | NamespaceLike {
  if (typeof io !== 'object' || io === null) return false;
  const given = io as Partial<ServerLike & NamespaceLike>;
  const namespace: Partial<NamespaceLike> | undefined =
    typeof given.of === 'function' ? (given.sockets as unknown as NamespaceLike) : given;
  return (
    typeof namespace?.name === 'string' &&
    typeof namespace.prependListener === 'function' &&
    typeof (namespace.sockets as unknown as Map<string, unknown> | undefined)?.get === 'function'
  );
}
