import { useCallback } from 'react';
import type { EventMap, EventName, RoomName } from '../client/index.js';
import { useRegistry } from './context.js';
import { useSyncExternalStore } from './react-hooks.js';
import { NO_UNREAD, type UnreadView } from './unread-store.js';
import { assertPositionText, assertRoomName, parseNamesKey, toNamesKey } from './validate.js';

/** Options of {@link useUnread}. `N`: names of events. */
export interface UseUnreadOptions<N extends string = string> {
  /** The names of the events to count. @default all */
  readonly events?: readonly N[] | undefined;
  /**
   * Position up to which the user has read the room, as the application stored it. Another value replaces the mark, for
   * example when the user has read the room on another device. @default the room's position when it is first joined
   */
  readonly since?: string | undefined;
}

/**
 * Counts the events of other users that this user has not read. Joins the room while the component is mounted.
 * Components share the count and its mark, which stay as long as the client.
 *
 * @throws {ClientError} `INVALID` for an empty name, `events` that is a string, or an empty `since`.
 * @throws {Error} Without a {@link RollcallProvider}.
 */
export function useUnread<E extends object = EventMap, I = unknown>(
  room: RoomName<E, I> | string | null,
  { events, since }: UseUnreadOptions<EventName<E>> = {},
): UnreadView {
  const registry = useRegistry();
  assertRoomName(room);
  assertPositionText(since, 'since');
  const key = toNamesKey(events, 'events');
  const store = room === null ? undefined : registry?.unread(room, key, parseNamesKey(key));
  const subscribe = useCallback(
    (listener: () => void) => store?.subscribe(listener, since) ?? (() => {}),
    [store, since],
  );
  return useSyncExternalStore(subscribe, store?.snapshot ?? getServerSnapshot, getServerSnapshot);
}

const getServerSnapshot = () => NO_UNREAD;
