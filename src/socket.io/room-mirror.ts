import { toRollcallError } from '../redis/replies.js';
import type { TrackedPresence } from './options.js';
import { Retry, type RetryOptions } from './retry.js';
import type { AdapterLike, SocketLike } from './socket-io-types.js';
import type { TrackedSocket } from './tracked-socket.js';

/** What {@link RoomMirror} needs. */
export interface RoomMirrorOptions<S extends SocketLike> extends RetryOptions {
  readonly presence: TrackedPresence;
  /** The connected socket with that id. */
  readonly find: (socketId: string) => TrackedSocket<S> | undefined;
  /** The presence room of a room. */
  readonly nameOf: (room: string, socket: S) => string | undefined;
}

/** The listeners on one adapter, as long as a tracked socket has it. */
interface AdapterListeners {
  sockets: number;
  readonly joined: (room: string, socketId: string) => void;
  readonly left: (room: string, socketId: string) => void;
}

/**
 * Puts sockets into presence rooms as an adapter says that they join and leave rooms. When a socket is removed
 * it leaves them with that, so what its disconnection makes it leave is no news: it may be recovered.
 */
export class RoomMirror<S extends SocketLike> {
  readonly #options: RoomMirrorOptions<S>;
  readonly #ears = new Map<AdapterLike, AdapterListeners>();
  readonly #rooms = new Map<
    TrackedSocket<S>,
    Map<string, { readonly name: string; readonly retry: Retry }>
  >();

  constructor(options: RoomMirrorOptions<S>) {
    this.#options = options;
  }

  /** A socket is registered: it comes into the rooms it is in. */
  registered(tracked: TrackedSocket<S>): void {
    if (!tracked.connected) return;
    if (!this.#rooms.has(tracked)) {
      this.#rooms.set(tracked, new Map());
      this.#listen(tracked.socket.nsp.adapter);
    }
    for (const room of tracked.socket.rooms) this.#join(tracked, room);
  }

  /** A socket disconnects. */
  gone(tracked: TrackedSocket<S>): void {
    const rooms = this.#rooms.get(tracked);
    if (rooms === undefined) return;
    this.#rooms.delete(tracked);
    for (const { retry } of rooms.values()) retry.stop();
    const { adapter } = tracked.socket.nsp;
    const ears = this.#ears.get(adapter);
    if (ears === undefined || --ears.sockets > 0) return;
    this.#ears.delete(adapter);
    adapter.off('join-room', ears.joined);
    adapter.off('leave-room', ears.left);
  }

  #listen(adapter: AdapterLike): void {
    const known = this.#ears.get(adapter);
    if (known !== undefined) {
      known.sockets++;
      return;
    }
    const found = (socketId: string, then: (tracked: TrackedSocket<S>) => void) => {
      const tracked = this.#options.find(socketId);
      if (tracked !== undefined && this.#rooms.has(tracked)) then(tracked);
    };
    const ears: AdapterListeners = {
      sockets: 1,
      joined: (room, socketId) => found(socketId, (tracked) => this.#join(tracked, room)),
      left: (room, socketId) => found(socketId, (tracked) => this.#leave(tracked, room)),
    };
    this.#ears.set(adapter, ears);
    adapter.on('join-room', ears.joined);
    adapter.on('leave-room', ears.left);
  }

  #join(tracked: TrackedSocket<S>, room: string): void {
    const { registration, socket, id } = tracked;
    if (room === id || registration === undefined) return;
    let name: string | undefined;
    // Called by Socket.IO in the middle of `socket.join`.
    this.#options.reporter.runHandler(() => {
      name = this.#options.nameOf(room, socket);
    }, {});
    if (name === undefined) return;
    const into = name;
    const retry = new Retry(this.#options, () => this.#options.presence.join(into, registration.userId, id));
    this.#rooms.get(tracked)?.get(room)?.retry.stop();
    this.#rooms.get(tracked)?.set(room, { name: into, retry });
    retry.start();
  }

  #leave(tracked: TrackedSocket<S>, room: string): void {
    const rooms = this.#rooms.get(tracked);
    const joined = rooms?.get(room);
    // Socket.IO empties the rooms of a socket that disconnects, too.
    if (joined === undefined || tracked.registration === undefined || !tracked.connected) return;
    rooms?.delete(room);
    joined.retry.stop();
    // Two rooms may have one name.
    if ([...(rooms?.values() ?? [])].some(({ name }) => name === joined.name)) return;
    const { presence, reporter } = this.#options;
    presence.leave(joined.name, tracked.registration.userId, tracked.id).catch((error: unknown) => {
      // Made up for by the presence service.
      reporter.report(toRollcallError(error), { stage: 'repair' });
    });
  }
}
