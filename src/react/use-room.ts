import { useMemo, useSyncExternalStore } from 'react';
import type { EventMap } from '../client/index.js';
import { useRegistry } from './context.js';
import { RoomStore } from './room-store.js';
import type { RoomView, UseRoomOptions } from './types.js';
import { assertLimit, assertRoomName, parseNamesKey, toNamesKey } from './validate.js';

/**
 * Is in a room as long as the component is there, and shows it: joined when the first component wants it, left when
 * the last one has gone. With another name it leaves the one and joins the other; with null it is in none. `E`: the
 * room's events, by name.
 *
 * Where components in the same room differ, the first `info` counts, the largest `last` of those that come together,
 * and the largest `limit` of those that list the same `events`.
 *
 * @example
 * ```tsx
 * const { events, send } = useRoom('lobby', { last: 50 });
 * ```
 * @throws {ClientError} `INVALID` for an empty name, for a `limit` below 1, and for `events` that are no list.
 * @throws {TypeError} When `info` is no JSON.
 * @throws {Error} Without a {@link RollcallProvider}.
 */
export function useRoom<E extends object = EventMap>(
  name: string | null,
  options: UseRoomOptions = {},
): RoomView<E> {
  const registry = useRegistry();
  const { last = 0, info, events, limit = Math.max(200, last) } = options;
  const members = options.members === true;
  assertRoomName(name);
  assertLimit(limit);
  const key = toNamesKey(events, 'events');
  // `last` and `info` are wishes for the joining: another one is no reason to join again.
  // biome-ignore lint/correctness/useExhaustiveDependencies: see above
  const store = useMemo(() => {
    JSON.stringify(info);
    return new RoomStore(registry, name, { last, info, members }, { key, names: parseNamesKey(key), limit });
  }, [registry, name, key, members, limit]);
  const view = useSyncExternalStore(store.subscribe, store.snapshot, store.serverSnapshot);
  return view as unknown as RoomView<E>;
}
