import { assertValid, toJson } from './client-error.js';
import { createEmitter } from './emitter.js';
import { type ConnectOptions, resolveSettings } from './options.js';
import { createPresenceWatches } from './presence-watches.js';
import { createReconnectingSocket, type EmitClientEvent } from './reconnecting-socket.js';
import { createRecovery } from './recovery.js';
import { createRequestQueue, NO_TIMEOUT } from './request-queue.js';
import { createRoomRegistry } from './room-registry.js';
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
  const report = (error: unknown): void => emit('error', error);
  const events = createEmitter(report);
  const recovery = createRecovery((discontinuity) => emit('discontinuity', discontinuity));
  let status: string;
  /** The server has confirmed the latest status; it is sent again on each connection. */
  let isStatusSet = false;

  const sendStatus = async (): Promise<void> => {
    isStatusSet = false;
    await queue.request(() => JSON.stringify({ type: 'status', status }), NO_TIMEOUT);
    isStatusSet = true;
  };

  const socket = createReconnectingSocket(settings, emit, recovery, {
    onOpen({ user, socket: id, position }, reconnected) {
      if (isStatusSet) sendStatus().catch(report);
      watches.onOpen();
      rooms.onOpen();
      queue.flush();
      emit('state', socket.state());
      emit('open', { user, socket: id, reconnected });
      recovery.onResumed(position);
    },
    receive(frame) {
      if (frame.type === 'presence') return watches.receive(frame.users);
      if ('room' in frame && frame.room) return rooms.receive(frame.room, frame);
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
      events.clear();
      clientEvents.clear();
    },
  });
  const queue = createRequestQueue(socket);
  const watches = createPresenceWatches(socket);
  const rooms = createRoomRegistry(socket, queue);

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
    watch: watches.watch,
    async setStatus(next) {
      assertValid(next && typeof next === 'string', 'status: empty, or not a string');
      status = next;
      await sendStatus();
    },
    async request(method, data, options = {}) {
      if (data !== undefined) toJson(data, 'data');
      const body = JSON.stringify({ type: 'request', method, data });
      return queue.request(
        () => body,
        options,
        undefined,
        () => false,
      );
    },
    wake: socket.wake,
    reconnect: socket.reconnect,
    close: socket.close,
  };
}
