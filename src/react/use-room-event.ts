import { useEffect } from 'react';
import type { AnyEventContext, EventHandler, EventName, Jsonify, RoomName } from '../client/index.js';
import { useRegistry } from './context.js';
import { useLatest } from './use-latest.js';
import { assertRoomName } from './validate.js';

/**
 * Calls the latest render's `handler` for each event with this name in a room, or with `*` for every event. The room
 * is joined while the component is mounted. The initial events (`last` of {@link useRoom}) are received only if the
 * component mounts together with the room's first one. An error of `handler` is emitted as `error` of the client.
 * With a `RoomName` the name of the event gives the type of its data; otherwise `T` does.
 *
 * @throws {ClientError} `INVALID` for an empty room name.
 * @throws {Error} Without a {@link RollcallProvider}.
 */
export function useRoomEvent<E extends object, I, K extends EventName<E>>(
  room: RoomName<E, I>,
  event: K,
  handler: EventHandler<Jsonify<E[K]>, K>,
): void;
/** As above, for every event. */
export function useRoomEvent<E extends object, I>(
  room: RoomName<E, I>,
  event: '*',
  handler: (data: Jsonify<E[EventName<E>]>, context: AnyEventContext<E>) => unknown,
): void;
/** As above, for a room without declared types. */
export function useRoomEvent<T = unknown, N extends string = string>(
  room: N | null,
  event: N extends RoomName<object> ? never : string,
  handler: EventHandler<T>,
): void;
export function useRoomEvent(room: string | null, event: string, handler: EventHandler<never>): void {
  const registry = useRegistry();
  assertRoomName(room);
  const call = useLatest(handler as EventHandler<unknown>);
  useEffect(() => {
    if (!registry || room === null) return;
    const shared = registry.room(room);
    const detach = shared.attach((joined) => joined.on(event, call));
    const release = shared.acquire({}, () => {});
    return () => {
      detach();
      release();
    };
  }, [registry, room, event, call]);
}

/**
 * Calls the latest render's `handler` for each event with this name that servers send to the user, or with `*` for
 * every event. `T`: the data of the event.
 *
 * @throws {Error} Without a {@link RollcallProvider}.
 */
export function useUserEvent<T = unknown>(event: string, handler: EventHandler<T>): void {
  const registry = useRegistry();
  const call = useLatest(handler);
  useEffect(() => registry?.client.events.on(event, call as EventHandler<unknown>), [registry, event, call]);
}

/**
 * Calls the latest render's `handler` for each error that no caller awaits: of handlers, the URL function, refused rooms
 * and watches, and malformed frames.
 *
 * @throws {Error} Without a {@link RollcallProvider}.
 */
export function useErrorListener(handler: (error: unknown) => unknown): void {
  const registry = useRegistry();
  const call = useLatest(handler);
  useEffect(() => registry?.client.on('error', call), [registry, call]);
}
