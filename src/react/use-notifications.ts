import { useSyncExternalStore } from 'react';
import { useRegistry } from './context.js';
import { NO_NOTIFICATIONS, type NotificationsView } from './notification-store.js';

/**
 * The user's notifications and how many are unread, kept up to date. Needs the request handlers of
 * `NotificationService.requestHandlers()` on the server. Components share one list. `T`: the data of a notification.
 *
 * @throws {Error} Without a {@link RollcallProvider}.
 */
export function useNotifications<T = unknown>(): NotificationsView<T> {
  const store = useRegistry()?.notifications;
  return useSyncExternalStore(
    store?.subscribe ?? subscribeToNothing,
    store?.snapshot ?? getServerSnapshot,
    getServerSnapshot,
  ) as NotificationsView<T>;
}

const subscribeToNothing = () => () => {};
const getServerSnapshot = () => NO_NOTIFICATIONS;
