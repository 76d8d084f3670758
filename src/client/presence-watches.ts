import type { UserPresence } from '../protocol/frames.js';
import { assertValid } from './client-error.js';
import { createEmitter } from './emitter.js';
import { createReconciler } from './reconciler.js';
import type { ReconnectingSocket } from './reconnecting-socket.js';
import type { ClientPresenceWatch } from './types.js';

/** Even with the longest ids, a frame stays below the limit of any server. */
const BATCH_SIZE = 100;

interface Watch {
  readonly users: Set<string>;
  onChange(presence: UserPresence): void;
}

/** The server is asked once per user, however many watches include the user. */
export function createPresenceWatches(socket: ReconnectingSocket) {
  const watches = new Set<Watch>();
  /** On this connection. */
  const subscribed = new Set<string>();
  let batchSize = BATCH_SIZE;
  const presences = new Map<string, UserPresence>();

  const { reconcile, clear } = createReconciler(socket, () => {
    const desired = new Set([...watches].flatMap((watch) => [...watch.users]));
    for (const user of presences.keys()) if (!desired.has(user)) presences.delete(user);
    const removed = [...subscribed].filter((user) => !desired.has(user));
    const unwatch = removed[0];
    const added = [...desired].filter((user) => !subscribed.has(user));
    const users = (unwatch ? removed : added).slice(0, batchSize);
    if (!users[0]) return;
    return {
      frame: { type: unwatch ? 'unwatch' : 'watch', users },
      onReply(error) {
        if (error && users[1]) {
          // A user who may not be watched must not prevent the others.
          batchSize = 1;
          return;
        }
        // Refused users are not requested again on this connection.
        for (const user of users) subscribed[unwatch ? 'delete' : 'add'](user);
        if (error) socket.report(error);
      },
    };
  });

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
        assertValid(typeof list !== 'string', 'users: not a list');
        for (const user of [...list]) users[change](user);
        snapshot = undefined;
        reconcile();
      };
      const add = (list: Iterable<string>) => update('add', list);
      if (handler) on('', handler);
      watches.add(watch);
      add(list);
      return {
        current() {
          snapshot ??= new Map([...presences].filter(([user]) => users.has(user)));
          return snapshot;
        },
        add,
        remove: (list) => update('delete', list),
        close() {
          clear();
          watches.delete(watch);
          update('delete', users);
        },
      };
    },
    receive(users: readonly UserPresence[]): void {
      for (const presence of users) {
        const { user, status, lastSeen } = presence;
        const known = presences.get(user);
        // After a reconnect the server repeats the known state.
        if (known?.status === status && known.lastSeen === lastSeen) continue;
        for (const watch of watches) {
          if (!watch.users.has(user)) continue;
          presences.set(user, presence);
          watch.onChange(presence);
        }
      }
    },
    onOpen(): void {
      subscribed.clear();
      batchSize = BATCH_SIZE;
      clear();
      reconcile();
    },
    close(): void {
      clear();
      watches.clear();
    },
  };
}
