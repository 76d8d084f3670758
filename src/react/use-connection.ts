import { type ConnectionView, NO_CONNECTION } from './connection-store.js';
import { useRegistry } from './context.js';
import { useSyncExternalStore } from './react-hooks.js';

/**
 * The client's connection: its state, its user, and why it was lost.
 *
 * @throws {Error} Without a {@link RollcallProvider}.
 */
export function useConnection(): ConnectionView {
  const connection = useRegistry()?.connection;
  return useSyncExternalStore(
    connection?.subscribe ?? noSubscribe,
    connection?.snapshot ?? getServerSnapshot,
    getServerSnapshot,
  );
}

const getServerSnapshot = (): ConnectionView => NO_CONNECTION;
const noSubscribe = () => () => {};
