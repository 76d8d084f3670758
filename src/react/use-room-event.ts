import { useEffect } from 'react';
import type { EventHandler } from '../client/index.js';
import { useRegistry } from './context.js';
import { useLatest } from './use-latest.js';
import { assertRoomName } from './validate.js';

/**
 * Calls `handler`, that of the latest render, for each event of this name in a room, or for all with `*`; is in the
 * room as long as the component is there. It hears what the room begins with (`last` of {@link useRoom}) only when it
 * comes together with the first component that wants the room. What it throws goes to `error` of the client.
 *
 * @throws {ClientError} `INVALID` for an empty name of a room.
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
 * Calls `handler`, that of the latest render, for each event of this name that servers send to the user, or for all
 * with `*`.
 *
 * @throws {Error} Without a {@link RollcallProvider}.
 */
export function useUserEvent<T = unknown>(event: string, handler: EventHandler<T>): void {
  const registry = useRegistry();
  const call = useLatest(handler);
  useEffect(() => registry?.client.events.on(event, call as EventHandler<unknown>), [registry, event, call]);
}
