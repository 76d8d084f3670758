import { useMemo, useSyncExternalStore } from 'react';
import type { EventMap, MemberInfo } from '../client/index.js';
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
  options?: UseRoomOptions,
): RoomView<E>;
/** As above, but returns what `select` makes of the view: the component renders only when that has changed. */
export function useRoom<E extends object = EventMap, S = unknown>(
  name: string | null,
  options: UseRoomOptions & { readonly select: (view: RoomView<E>) => S },
): S;
export function useRoom(
  roomName: string | null,
  options: UseRoomOptions & { readonly select?: (view: RoomView) => unknown } = {},
): unknown {
  const registry = useRegistry();
  const { last = 0, info, events, limit = Math.max(200, last), enabled = true, select } = options;
  const name = enabled ? roomName : null;
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
  const getSnapshot = useMemo(() => selectFrom(store.snapshot, select), [store, select]);
  const getServerSnapshot = useMemo(() => selectFrom(store.serverSnapshot, select), [store, select]);
  return useSyncExternalStore(store.subscribe, getSnapshot, getServerSnapshot);
}

/** The members of a room: how many users are in it. Renders only when that changes. */
export function useRoomCount(room: string | null): number {
  return useRoom(room, { members: true, events: NONE, select: countMembers });
}

/** One user's membership in a room; undefined while the user is not in it. Renders only when that changes. */
export function useMember(room: string | null, userId: string): MemberInfo | undefined {
  return useRoom(room, {
    members: true,
    events: NONE,
    select: ({ members }: RoomView) => members.get(userId),
  });
}

const NONE: readonly string[] = [];
const countMembers = ({ members }: RoomView): number => members.size;

/** Selects once per view, so that the result is the same until the view changes. */
function selectFrom<S>(
  getView: () => RoomView,
  select: ((view: RoomView) => S) | undefined,
): () => S | RoomView {
  if (!select) return getView;
  let view: RoomView | undefined;
  let selected: S;
  return () => {
    const next = getView();
    if (next !== view) selected = select(next);
    view = next;
    return selected;
  };
}
