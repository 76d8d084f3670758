import { useMemo } from 'react';
import type { UserPresence } from '../client/index.js';
import { useRegistry } from './context.js';
import { useSyncExternalStore } from './react-hooks.js';
import type { ClientRegistry } from './registry.js';
import { parseNamesKey, toNamesKey } from './validate.js';

type Presences = ReadonlyMap<string, UserPresence>;

const NO_PRESENCES: Presences = new Map();

/**
 * The presence of users reported so far: the same Map until it changes. `userIds` may be a new array in each
 * render. The server is asked once per user, however many components watch the user.
 *
 * @throws {ClientError} `INVALID` when `userIds` is a string.
 * @throws {Error} Without a {@link RollcallProvider}.
 */
export function usePresence(userIds: Iterable<string>): ReadonlyMap<string, UserPresence> {
  const registry = useRegistry();
  const key = toNamesKey(userIds, 'userIds');
  const { subscribe, snapshot } = useMemo(
    () => presenceStore(registry, parseNamesKey(key) ?? []),
    [registry, key],
  );
  return useSyncExternalStore(subscribe, snapshot, getServerSnapshot);
}

const getServerSnapshot = (): Presences => NO_PRESENCES;

/** One component's view. No effect before `subscribe`. */
function presenceStore(registry: ClientRegistry | undefined, users: readonly string[]) {
  let view = NO_PRESENCES;
  return {
    subscribe: (listener: () => void) => registry?.presences.subscribe(users, listener) ?? (() => {}),
    snapshot: (): Presences => {
      const known = users.flatMap((user) => registry?.presences.presence(user) ?? []);
      const same = known.length === view.size && known.every((each) => view.get(each.user) === each);
      if (!same) view = new Map(known.map((each) => [each.user, each]));
      return view;
    },
  };
}
