import { toRollcallError } from '../redis/replies.js';
import type { TrackedPresence } from './options.js';
import { Retry, type RetryOptions } from './retry.js';
import type { AdapterLike, SocketLike } from './socket-io-types.js';
import type { TrackedSocket } from './tracked-socket.js';

export interface RoomMirrorOptions<S extends SocketLike> extends RetryOptions {
  readonly presence: TrackedPresence;
  readonly find: (socketId: string) => TrackedSocket<S> | undefined;
  /** `undefined`: not tracked. */
  readonly nameOf: (room: string, socket: S) => string | undefined;
}

/** Listeners on one adapter, with the number of sockets that use it. */
interface AdapterListeners {
  sockets: number;
  readonly onJoin: (room: string, socketId: string) => void;
  readonly onLeave: (room: string, socketId: string) => void;
}

/**
 * Joins and leaves presence rooms with the Socket.IO rooms. Leaves after a disconnection are ignored, because the
 * socket may be recovered.
 */
export class RoomMirror<S extends SocketLike> {
  readonly #options: RoomMirrorOptions<S>;
  readonly #listeners = new Map<AdapterLike, AdapterListeners>();
  readonly #rooms = new Map<
    TrackedSocket<S>,
    Map<string, { readonly name: string; readonly retry: Retry }>
  >();

  constructor(options: RoomMirrorOptions<S>) {
    this.#options = options;
  }

  /** Resolves after the first attempt of each join. */
  async addSocket(tracked: TrackedSocket<S>): Promise<void> {
    if (!tracked.connected) return;
    if (!this.#rooms.has(tracked)) {
      this.#rooms.set(tracked, new Map());
      this.#listen(tracked.socket.nsp.adapter);
    }
    await Promise.all(Array.from(tracked.socket.rooms, (room) => this.#join(tracked, room)));
  }

  /** Call it when the socket disconnects. */
  removeSocket(tracked: TrackedSocket<S>): void {
    const rooms = this.#rooms.get(tracked);
    if (rooms === undefined) return;
    this.#rooms.delete(tracked);
    for (const { retry } of rooms.values()) retry.stop();
    const { adapter } = tracked.socket.nsp;
    const listeners = this.#listeners.get(adapter);
    if (listeners === undefined || --listeners.sockets > 0) return;
    this.#listeners.delete(adapter);
    adapter.off('join-room', listeners.onJoin);
    adapter.off('leave-room', listeners.onLeave);
  }

  #listen(adapter: AdapterLike): void {
    const known = this.#listeners.get(adapter);
    if (known !== undefined) {
      known.sockets++;
      return;
    }
    const withSocket = (socketId: string, task: (tracked: TrackedSocket<S>) => void) => {
      const tracked = this.#options.find(socketId);
      if (tracked !== undefined && this.#rooms.has(tracked)) task(tracked);
    };
    const listeners: AdapterListeners = {
      sockets: 1,
      onJoin: (room, socketId) => withSocket(socketId, (tracked) => void this.#join(tracked, room)),
      onLeave: (room, socketId) => withSocket(socketId, (tracked) => this.#leave(tracked, room)),
    };
    this.#listeners.set(adapter, listeners);
    adapter.on('join-room', listeners.onJoin);
    adapter.on('leave-room', listeners.onLeave);
  }

  async #join(tracked: TrackedSocket<S>, room: string): Promise<void> {
    const { registration, socket, id } = tracked;
    if (room === id || registration === undefined) return;
    let name: string | undefined;
    // Runs within `socket.join`, which must not throw an error of `rooms`.
    this.#options.reporter.runHandler(() => {
      name = this.#options.nameOf(room, socket);
    }, {});
    if (name === undefined) return;
    const target = name;
    const retry = new Retry(this.#options, () =>
      this.#options.presence.join(target, registration.userId, id),
    );
    this.#rooms.get(tracked)?.get(room)?.retry.stop();
    this.#rooms.get(tracked)?.set(room, { name: target, retry });
    await retry.start();
  }

  #leave(tracked: TrackedSocket<S>, room: string): void {
    const rooms = this.#rooms.get(tracked);
    const joined = rooms?.get(room);
    // Socket.IO also leaves the rooms of a disconnected socket.
    if (joined === undefined || tracked.registration === undefined || !tracked.connected) return;
    rooms?.delete(room);
    joined.retry.stop();
    // `rooms` may map two Socket.IO rooms to one presence room.
    if ([...(rooms?.values() ?? [])].some(({ name }) => name === joined.name)) return;
    const { presence, reporter } = this.#options;
    presence.leave(joined.name, tracked.registration.userId, tracked.id).catch((error: unknown) => {
      // The service repeats the removal.
      reporter.report(toRollcallError(error), { stage: 'repair' });
    });
  }
}
