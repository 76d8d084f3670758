import { useMemo } from 'react';
import { useRegistry } from './context.js';
import { useSyncExternalStore } from './react-hooks.js';
import { TypingStore, type TypingView } from './typing-store.js';
import { assertRoomName } from './validate.js';

/**
 * The other users who are typing in a room, and functions to report that this user types. Joins the room while the
 * component is mounted.
 *
 * @throws {ClientError} `INVALID` for an empty name.
 * @throws {Error} Without a {@link RollcallProvider}.
 */
export function useTyping(room: string | null): TypingView {
  const registry = useRegistry();
  assertRoomName(room);
  const store = useMemo(() => new TypingStore(registry, room), [registry, room]);
  return useSyncExternalStore(store.subscribe, store.snapshot, store.serverSnapshot);
}
