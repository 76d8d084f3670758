import { useEffect } from 'react';
import type { EventHandler } from '../client/index.js';
import { useRegistry } from './context.js';
import { useLatest } from './use-latest.js';
import { assertRoomName } from './validate.js';

/**
 * Calls the latest render's `handler` for each event with this name in a room, or with `*` for every event. The room
 * is joined while the component is mounted. The initial events (`last` of {@link useRoom}) are received only if the
 * component mounts together with the room's first one. An error of `handler` is emitted as `error` of the client.
 *
 * @throws {ClientError} `INVALID` for an empty room name.
 * @throws {Error} Without a {@link RollcallProvider}.
 */
export function useRoomEvent<T = unknown>(
  room: string | null,
  event: string,
  handler: EventHandler<T>,
): void {
  const registry = useRegistry();
  assertRoomName(room);
  const call = useLatest(handler);
  useEffect(() => {
    if (!registry || room === null) return;
    const shared = registry.room(room);
    const detach = shared.attach((joined) => joined.on(event, call as EventHandler<unknown>));
    const release = shared.acquire({}, () => {});
    return () => {
      detach();
      release();
    };
  }, [registry, room, event, call]);
}

/**
 * Calls the latest render's `handler` for each event with this name that servers send to the user, or with `*` for
 * every event.
 *
 * @throws {Error} Without a {@link RollcallProvider}.
 */
export function useUserEvent<T = unknown>(event: string, handler: EventHandler<T>): void {
  const registry = useRegistry();
  const call = useLatest(handler);
  useEffect(() => registry?.client.events.on(event, call as EventHandler<unknown>), [registry, event, call]);
}
