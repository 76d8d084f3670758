import { useRegistry } from './context.js';
import { NO_NOTIFICATIONS, type NotificationsView } from './notification-store.js';
import { useSyncExternalStore } from './react-hooks.js';

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

/**
 * {@link useNotifications} for Suspense: suspends until the first page has arrived, or throws why it could not be read.
 *
 * @throws {ClientError} As `Client.request`.
 * @throws {Error} Without a {@link RollcallProvider}, or where its client is null, as on the server: React then shows
 * the fallback, and renders again in the browser.
 */
export function useSuspenseNotifications<T = unknown>(): NotificationsView<T> {
  const registry = useRegistry();
  const view = useNotifications<T>();
  if (view.state === 'ready') return view;
  if (!registry) throw new Error('rollcall/react: there is no client here to wait for');
  if (view.error) throw view.error;
  const { subscribe, snapshot } = registry.notifications;
  throw registry.load('notifications', subscribe, () => snapshot().state === 'ready' || !!snapshot().error);
}

const subscribeToNothing = () => () => {};
const getServerSnapshot = () => NO_NOTIFICATIONS;
