import type { UserPresence } from '../protocol/frames.js';
import { assertValid } from './client-error.js';
import { createEmitter } from './emitter.js';
import { createReconciler } from './reconciler.js';
import type { ReconnectingSocket } from './reconnecting-socket.js';
import type { ClientPresenceWatch } from './types.js';
import type { Watch, WatchRequests } from './watch-requests.js';

export type PresenceWatches = ReturnType<typeof createPresenceWatches>;

/** The code that asks the server is loaded with the first watch. */
export function createPresenceWatches(socket: ReconnectingSocket) {
  const watches = new Set<Watch>();
  const presences = new Map<string, UserPresence>();
  let requests: WatchRequests | undefined;

  const load = async (): Promise<void> => {
    const { createWatchRequests } = await import('./watch-requests.js');
    requests ??= createWatchRequests(socket, createReconciler, watches, presences);
    requests.reconcile();
  };
  const reconcile = (): void => {
    if (requests) requests.reconcile();
    else load().catch(socket.report);
  };

  return {
    watch(
      list: Iterable<string>,
      handler: ((presence: UserPresence) => unknown) | undefined,
    ): ClientPresenceWatch {
      const users = new Set<string>();
      const { on, emit, clear } = createEmitter(socket.report);
      let snapshot: Map<string, UserPresence> | undefined;
      const watch: Watch = {
        users,
        onChange(presence) {
          snapshot = undefined;
          emit('', presence);
        },
      };
      const update = (change: 'add' | 'delete', list: Iterable<string>) => {
        assertValid(typeof list === 'object', 'users: not a list');
        for (const user of list) users[change](user);
        snapshot = undefined;
        reconcile();
      };
      if (handler) on('', handler);
      watches.add(watch);
      update('add', list);
      return {
        current() {
          snapshot ??= new Map([...presences].filter(([user]) => users.has(user)));
          return snapshot;
        },
        add: (list) => update('add', list),
        remove: (list) => update('delete', list),
        close() {
          clear();
          watches.delete(watch);
          update('delete', users);
        },
      };
    },
    receive(users: readonly UserPresence[]): void {
      requests?.receive(users);
    },
    onOpen(): void {
      requests?.onOpen();
    },
    close(): void {
      requests?.clear();
      watches.clear();
    },
  };
}
