import type { UserPresence } from '../protocol/frames.js';
import type { createReconciler as CreateReconciler } from './reconciler.js';
import type { ReconnectingSocket } from './reconnecting-socket.js';

/** Even with the longest ids, a frame stays below the limit of any server. */
const BATCH_SIZE = 100;

export interface Watch {
  readonly users: Set<string>;
  onChange(presence: UserPresence): void;
}

export type WatchRequests = ReturnType<typeof createWatchRequests>;

/**
 * The server is asked once per user, however many watches include the user. `presences` receives the known state of
 * watched users.
 */
export function createWatchRequests(
  socket: ReconnectingSocket,
  /** Imported by the caller: bundlers would otherwise make a file of its own of it. */
  createReconciler: typeof CreateReconciler,
  watches: ReadonlySet<Watch>,
  presences: Map<string, UserPresence>,
) {
  /** On this connection. */
  const subscribed = new Set<string>();
  let batchSize = BATCH_SIZE;

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
    reconcile,
    clear,
    receive(users: readonly UserPresence[]): void {
      for (const presence of users) {
        const { user, status, lastSeen, code } = presence;
        const known = presences.get(user);
        // After a reconnect the server repeats the known state.
        if (known?.status === status && known.lastSeen === lastSeen && known.code === code) continue;
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
  };
}
