import type { ServerFrame, UserPresence, WelcomeFrame } from '../protocol/frames.js';
import { closedError } from './client-error.js';
import { Emitter, type Unsubscribe } from './emitter.js';
import { assertValid, type ConnectOptions, resolveSettings } from './options.js';
import { PresenceWatches } from './presence-watches.js';
import {
  type ClientState,
  type CloseInfo,
  type Reconnecting,
  ReconnectingSocket,
} from './reconnecting-socket.js';
import { type CallOptions, NO_TIMEOUT, RequestQueue } from './request-queue.js';
import { RoomRegistry } from './room-registry.js';
import type {
  ClientDiscontinuity,
  ClientPresenceWatch,
  EventMap,
  EventSubscriber,
  JoinOptions,
  Room,
} from './types.js';

/** There is a connection. */
export interface OpenEvent {
  /** Who the server says this is. */
  readonly user: string;
  /** The server's id of the connection. */
  readonly socket: string;
  /** It is not the first one. */
  readonly reconnected: boolean;
}

/** What a client itself tells. */
export interface ClientEvents {
  /** `client.state` has changed. */
  state: ClientState;
  /** There is a connection. */
  open: OpenEvent;
  /** The connection broke, or an attempt failed; the client will be back. */
  reconnecting: Reconnecting;
  /** It is over, by `close()` or by a server that says not to come back. The last one to be told. */
  closed: CloseInfo;
  /** What nobody awaits: a handler's throw, a malformed frame, a room or watch refused, a URL that can't be had. */
  error: unknown;
  /** Some events sent to the user may be missing. */
  discontinuity: ClientDiscontinuity;
}

/**
 * A connection to a server of `rollcall/ws` that comes back by itself. `E`: the events sent to the user, by name.
 * Made by {@link connect}.
 */
export class Client<E extends object = EventMap> {
  readonly #clientEvents: Emitter;
  readonly #events: Emitter;
  readonly #line: ReconnectingSocket;
  readonly #outbox: RequestQueue;
  readonly #rooms: RoomRegistry;
  readonly #watches: PresenceWatches;
  #status: string | undefined;
  /** How many calls say it. */
  #pendingStatusCalls = 0;

  /** Events that servers send to the user, in whichever room he is. */
  readonly events: EventSubscriber<E>;

  /** @throws {ClientError} `INVALID` for options that can't be. */
  constructor(options: ConnectOptions) {
    const settings = resolveSettings(options);
    const report = (error: unknown) => this.#clientEvents.emit('error', error);
    // What a handler of errors throws has nowhere to go.
    this.#clientEvents = new Emitter((error, name) => name !== 'error' && report(error));
    this.#events = new Emitter(report);
    this.events = this.#events as EventSubscriber<E>;
    const line = new ReconnectingSocket(settings, {
      state: (state) => this.#clientEvents.emit('state', state),
      open: (welcome, lostAt) => this.#opened(welcome, lostAt),
      frame: (frame) => this.#receive(frame),
      error: report,
      connectionLost: (code, lostAt) => {
        this.#outbox.onConnectionLost(code);
        this.#rooms.onConnectionLost(lostAt);
      },
      reconnecting: (info) => this.#clientEvents.emit('reconnecting', info),
      closed: (info) => {
        this.#outbox.fail(closedError());
        this.#watches.close();
        this.#rooms.close();
        this.#clientEvents.emit('state', 'closed');
        this.#clientEvents.emit('closed', info);
        this.#events.clear();
        this.#clientEvents.clear();
      },
    });
    this.#line = line;
    this.#outbox = new RequestQueue(line);
    this.#watches = new PresenceWatches(line);
    this.#rooms = new RoomRegistry(line, this.#outbox);
  }

  /** Whether there is a connection. */
  get state(): ClientState {
    return this.#line.state;
  }

  /** Who the server says this is; undefined before the first connection. */
  get user(): string | undefined {
    return this.#line.welcome?.user;
  }

  /** The server's id of the latest connection; undefined before the first. */
  get socket(): string | undefined {
    return this.#line.welcome?.socket;
  }

  /** Calls `handler` for what the client itself tells; for events of the application's there is `events`. */
  on<K extends keyof ClientEvents>(event: K, handler: (info: ClientEvents[K]) => unknown): Unsubscribe {
    return this.#clientEvents.on(event, handler);
  }

  /**
   * Comes into a room, and again after each break. Returns at once, so that handlers can be attached before anything
   * comes. While it is joined, another `join` gives the same Room, which then has to be left as often.
   *
   * @throws {ClientError} `INVALID` when `name` is no text, or empty.
   */
  join<R extends object = EventMap>(name: string, options: JoinOptions = {}): Room<R> {
    assertValid(name && typeof name === 'string', 'room: no name');
    return this.#rooms.join(name, options) as unknown as Room<R>;
  }

  /**
   * Follows users' presence. `handler` hears of each change of `current()`, where those are at once whom another watch
   * follows already. However many watch a user, the server is told once.
   *
   * @throws {ClientError} `INVALID` when `users` is a single text.
   */
  watch(users: Iterable<string>, handler?: (presence: UserPresence) => unknown): ClientPresenceWatch {
    assertValid(typeof users !== 'string', 'users: no list');
    return this.#watches.watch(users, handler);
  }

  /**
   * Sets the status of this connection and those that follow it. Resolves when the server knows this one or a later,
   * however long that takes.
   *
   * @throws {ClientError} (rejects) When the server refuses, or `CLOSED`.
   */
  async setStatus(status: string): Promise<void> {
    assertValid(status && typeof status === 'string', 'status: no text');
    this.#status = status;
    await this.#sendStatus();
  }

  /**
   * Makes a request of the application's own. Without a connection it waits for one; it is never repeated.
   *
   * @throws {ClientError} (rejects) `CONNECTION_LOST` with the outcome `unknown` when the connection breaks after it was
   * written; `TIMEOUT`, `QUEUE_FULL`, `TOO_LARGE`, `CLOSED`, or what the server says.
   */
  request(method: string, data?: unknown, options: CallOptions = {}): Promise<unknown> {
    return this.#outbox.request({ type: 'request', method, data }, options, () => false);
  }

  /** Drops the connection and comes back after a back-off, as after any break; while waiting, tries at once. */
  reconnect(): void {
    this.#line.reconnect();
  }

  /** Ends it for good: what is pending rejects with `CLOSED`, and after `closed` no handler is called any more. */
  close(): void {
    this.#line.close();
  }

  #opened(welcome: WelcomeFrame, lostAt: number | undefined): void {
    const line = this.#line;
    // Without a position before and after it, nothing makes up for the break.
    const gap = line.position === undefined || welcome.position === undefined;
    line.position = welcome.position;
    // Calls on their way say the latest one.
    if (this.#status !== undefined && !this.#pendingStatusCalls) this.#sendStatus().catch(line.report);
    this.#watches.open();
    this.#rooms.onOpen();
    this.#outbox.flush();
    const { user, socket } = welcome;
    this.#clientEvents.emit('state', line.state);
    this.#clientEvents.emit('open', { user, socket, again: lostAt !== undefined });
    if (gap && lostAt !== undefined) {
      this.#clientEvents.emit('discontinuity', { reason: 'reconnected', since: lostAt, recovered: false });
    }
  }

  async #sendStatus(): Promise<void> {
    const status = this.#status;
    this.#pendingStatusCalls++;
    try {
      await this.#outbox.request(
        () => ({ type: 'status', status: this.#status }),
        NO_TIMEOUT,
        () => true,
      );
    } catch (error) {
      // What was refused is not said to the next server.
      if (this.#status === status) this.#status = undefined;
      throw error;
    } finally {
      this.#pendingStatusCalls--;
    }
  }

  #receive(frame: ServerFrame): void {
    if (frame.type === 'presence') return this.#watches.receive(frame.users);
    if ('room' in frame && frame.room !== undefined) return this.#rooms.receive(frame.room, frame);
    // What is for the user himself.
    if ('position' in frame) this.#line.position = frame.position ?? this.#line.position;
    if (frame.type === 'event') this.#events.emitEvent(frame);
    if (frame.type === 'discontinuity') this.#clientEvents.emit('discontinuity', frame);
  }
}
