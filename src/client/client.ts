import { assertValid, copyJson } from './client-error.js';
import { createEmitter } from './emitter.js';
import { type ConnectOptions, resolveSettings } from './options.js';
import { createPresenceWatches, type PresenceWatches } from './presence-watches.js';
import {
  createReconnectingSocket,
  type EmitClientEvent,
  type ReconnectingSocket,
} from './reconnecting-socket.js';
import { createRecovery, type Recovery } from './recovery.js';
import { createRequestQueue, NO_TIMEOUT, type RequestQueue } from './request-queue.js';
import { createRoomRegistry, type RoomRegistry } from './room-registry.js';
import type { Client, EventMap, EventSubscriber } from './types.js';

/**
 * Connects to a server of `rollcall/ws`; returns at once. Reconnects until {@link Client.close} or a close code
 * that forbids it. `E`: the events sent to the user, by name.
 *
 * @throws {ClientError} `INVALID` for invalid options.
 */
export function connect<E extends object = EventMap>(options: ConnectOptions): Client<E> {
  const settings = resolveSettings(options);
  // An error thrown by an `error` handler cannot be reported.
  const clientEvents = createEmitter((error, name) => name !== 'error' && report(error));
  const emit: EmitClientEvent = clientEvents.emit;
  /** Of the present socket: `connect` makes another. */
  const report = (error: unknown): void => socket.report(error);
  const events = createEmitter(report);
  let recovery: Recovery;
  let socket: ReconnectingSocket;
  let queue: RequestQueue;
  let watches: PresenceWatches;
  let rooms: RoomRegistry;
  let status: string;
  /** The server has confirmed the latest status; it is sent again on each connection. */
  let isStatusSet: boolean;

  const sendStatus = async (): Promise<void> => {
    isStatusSet = false;
    await queue.request(() => ({ type: 'status', status }), NO_TIMEOUT);
    isStatusSet = true;
  };

  /** Everything but the handlers starts again, also after `close`. */
  const start = (): void => {
    isStatusSet = false;
    recovery = createRecovery((discontinuity) => emit('discontinuity', discontinuity));
    socket = createReconnectingSocket(settings, emit, recovery, {
      onOpen({ user, socket: id, position }, reconnected) {
        recovery.resume();
        if (isStatusSet) sendStatus().catch(report);
        watches.onOpen();
        rooms.onOpen();
        queue.flush();
        emit('state', 'open');
        emit('open', { user, socket: id, reconnected });
        recovery.onResumed(position);
      },
      receive(frame) {
        if (frame.type === 'presence') return watches.receive(frame.users);
        const { room } = frame as { room?: string };
        if (room) return rooms.receive(room, frame);
        recovery.receive(frame);
        if (frame.type === 'event') events.emitEvent(frame);
      },
      onError: (error, room) => rooms.onError(error, room),
      onLost(code, lostAt) {
        recovery.onLost(lostAt);
        queue.onLost(code);
        rooms.onLost(lostAt);
      },
      onClosed(info) {
        queue.close(socket.closedError());
        watches.close();
        rooms.close();
        emit('state', 'closed');
        emit('closed', info);
      },
    });
    queue = createRequestQueue(socket);
    watches = createPresenceWatches(socket);
    rooms = createRoomRegistry(socket, queue);
    socket.wake();
  };
  start();

  return {
    get state() {
      return socket.state();
    },
    get user() {
      return socket.welcome()?.user;
    },
    get socket() {
      return socket.welcome()?.socket;
    },
    events: { on: events.on } as EventSubscriber<E>,
    on: clientEvents.on,
    join(name, options = {}) {
      assertValid(name && typeof name === 'string', 'room: empty, or not a string');
      return rooms.join(name, options) as never;
    },
    watch: (users, handler) => watches.watch(users, handler),
    async setStatus(next) {
      assertValid(next && typeof next === 'string', 'status: empty, or not a string');
      status = next;
      await sendStatus();
    },
    async request(method, data, options = {}) {
      const copy = data === undefined ? data : copyJson(data, 'data');
      return queue.request(
        () => ({ type: 'request', method, data: copy }),
        options,
        undefined,
        () => false,
      );
    },
    async refresh() {
      assertValid(settings.refreshes, 'url: not a function');
      await (await import('./refresh.js')).refreshNow(socket, queue);
    },
    wake: () => socket.wake(),
    reconnect: () => socket.reconnect(),
    close: () => socket.close(),
    connect() {
      if (socket.state() === 'closed') start();
    },
  };
}
