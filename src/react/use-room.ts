import { useMemo } from 'react';
import { copyJson } from '../client/client-error.js';
import type { EventMap, EventName, Jsonify, MemberInfo, RoomName } from '../client/index.js';
import { useRegistry } from './context.js';
import { useSyncExternalStore } from './react-hooks.js';
import { RoomStore, StableCalls } from './room-store.js';
import type { RoomView, UseRoomOptions } from './types.js';
import {
  assertLimit,
  assertLinger,
  assertPositionText,
  assertRoomName,
  parseNamesKey,
  toNamesKey,
} from './validate.js';

/** Number of events to begin with around a position. */
const AROUND = 50;

/**
 * Joins a room while the component is mounted, and returns its state. Components share the room: the first joins it,
 * the last leaves it. Another name leaves the room and joins the other one; null joins none. A `RoomName` brings the
 * types: `E`, the data of the room's events by name, and `I`, the `info` of members.
 *
 * If the options of components in a room differ, the first `info` counts, the largest `last` of those that mount
 * together, and the largest `limit` of those with the same `events`.
 *
 * @example
 * ```tsx
 * const { events, send } = useRoom('lobby', { last: 50 });
 * ```
 * @throws {ClientError} `INVALID` for an empty name, a `limit` or `maxLoaded` below 1, a `linger` out of bounds, `events` that is a
 * string, an empty `around`, or `info` that is not JSON.
 * @throws {Error} Without a {@link RollcallProvider}.
 */
export function useRoom<E extends object = EventMap, I = unknown, N extends EventName<E> = EventName<E>>(
  name: RoomName<E, I> | string | null,
  options?: UseRoomOptions<N, NoInfer<I>> & { readonly select?: undefined },
): RoomView<E, N, I>;
/** As above, but returns the result of `select`: the component renders only when the result has changed. */
export function useRoom<
  E extends object = EventMap,
  S = unknown,
  I = unknown,
  N extends EventName<E> = EventName<E>,
>(
  name: RoomName<E, I> | string | null,
  options: UseRoomOptions<N, NoInfer<I>> & { readonly select: (view: RoomView<E, N, I>) => S },
): S;
export function useRoom(
  roomName: string | null,
  options: UseRoomOptions & { readonly select?: ((view: never) => unknown) | undefined } = {},
): unknown {
  const { select } = options;
  const { store } = useRoomStore(roomName, options);
  const getSnapshot = useMemo(() => selectFrom(store.snapshot, select as Select), [store, select]);
  const getServerSnapshot = useMemo(
    () => selectFrom(store.serverSnapshot, select as Select),
    [store, select],
  );
  return useSyncExternalStore(store.subscribe, getSnapshot, getServerSnapshot);
}

/**
 * {@link useRoom} for Suspense: suspends until the room is joined and the list has its `last` events, and throws the
 * error of a room that is refused first, for an error boundary. Later, for example during a lost connection, it returns
 * the view as `useRoom` does. Never suspends without a name.
 *
 * @throws {ClientError} Why the room was refused; `INVALID` as {@link useRoom}.
 * @throws {Error} Without a {@link RollcallProvider}, or where its client is null, as on the server: React then shows
 * the fallback, and renders again in the browser.
 */
export function useSuspenseRoom<
  E extends object = EventMap,
  I = unknown,
  N extends EventName<E> = EventName<E>,
>(name: RoomName<E, I> | string | null, options: UseRoomOptions<N, NoInfer<I>> = {}): RoomView<E, N, I> {
  const { store, id, registry } = useRoomStore(name, options as UseRoomOptions);
  const view = useSyncExternalStore(store.subscribe, store.snapshot, store.serverSnapshot);
  if (id !== undefined) {
    if (!registry) throw new Error('rollcall/react: there is no client here to wait for');
    if (!store.isSettled()) throw registry.load(id, store.subscribe, store.isSettled);
    if (store.refusal) throw store.refusal;
  }
  return view as unknown as RoomView<E, N, I>;
}

function useRoomStore(roomName: string | null, options: UseRoomOptions) {
  const registry = useRegistry();
  const {
    around,
    last = around === undefined ? 0 : AROUND,
    info,
    events,
    linger = 0,
    enabled = true,
    maxLoaded,
  } = options;
  const { limit = Math.max(200, last) } = options;
  const name = enabled ? roomName : null;
  const members = options.members === 'count' ? 'count' : options.members === true;
  assertRoomName(name);
  assertLimit(limit);
  if (maxLoaded !== undefined) assertLimit(maxLoaded, 'maxLoaded');
  assertLinger(linger);
  assertPositionText(around, 'around');
  const key = toNamesKey(events, 'events');
  // biome-ignore lint/correctness/useExhaustiveDependencies: of one room
  const stable = useMemo(() => new StableCalls(), [registry, name]);
  // `last` and `info` only matter when the room is joined: a change of them does not join again.
  // biome-ignore lint/correctness/useExhaustiveDependencies: see above
  const store = useMemo(() => {
    if (info !== undefined) copyJson(info, 'info');
    return new RoomStore(
      registry,
      name,
      // Around a position, the latest events are not listed.
      { last: around === undefined ? last : 0, info, members, linger },
      { key, names: parseNamesKey(key), limit, last, around, maxLoaded },
      stable,
    );
  }, [stable, registry, name, key, members, limit, linger, around, maxLoaded]);
  const id = `room ${key} ${members} ${last} ${around} ${maxLoaded} ${name}`;
  return { store, registry, id: name === null ? undefined : id };
}

/** The number of users in a room, without the list of them. Renders only when it changes. */
export function useRoomCount(room: string | null): number {
  return useRoom(room, { members: 'count', events: NONE, select: countMembers });
}

/** One member of a room; undefined while the user is not in it. Renders only when it changes. */
export function useMember<I = unknown>(
  room: RoomName<object, I> | string | null,
  userId: string,
): MemberInfo<Jsonify<I> | null> | undefined {
  const member = useRoom(room as string | null, {
    members: true,
    events: NONE,
    select: ({ members }: RoomView) => members.get(userId),
  });
  return member as MemberInfo<Jsonify<I> | null> | undefined;
}

const NONE: readonly string[] = [];
const countMembers = ({ count }: RoomView): number => count;

type Select = ((view: RoomView) => unknown) | undefined;

/** Once per view, so that the result is the same until the view changes. */
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
