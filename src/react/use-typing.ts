import { useMemo, useSyncExternalStore } from 'react';
import { useRegistry } from './context.js';
import { TypingStore, type TypingView } from './typing-store.js';
import { assertRoomName } from './validate.js';

/**
 * Who types in a room, and how to say that the user does; is in the room as long as the component is there.
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
