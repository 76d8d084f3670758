import { AsyncLocalStorage, executionAsyncResource } from 'node:async_hooks';

/**
 * Before AsyncContextFrame (Node 24), a store is a visible property of the current async resource. Otherwise
 * a store is assumed.
 */
const storesAreVisible = detectVisibleStores();

/**
 * Keeps the AsyncLocalStorage stores of the caller. Without a store it returns `callback`: a bound function
 * takes about 200 bytes and 0.1 µs per call.
 */
export function bindAsyncContext<Arguments extends unknown[], Result>(
  callback: (...args: Arguments) => Result,
): (...args: Arguments) => Result {
  if (storesAreVisible && !hasStore()) return callback;
  return AsyncLocalStorage.bind(callback);
}

function hasStore(): boolean {
  const resource = executionAsyncResource() as Record<symbol, unknown>;
  return Object.getOwnPropertySymbols(resource).some(
    (key) => key.description === 'kResourceStore' && resource[key] !== undefined,
  );
}

function detectVisibleStores(): boolean {
  const probe = new AsyncLocalStorage<true>();
  const visible = probe.run(true, hasStore);
  // Otherwise the hooks stay enabled and make every promise more expensive.
  probe.disable();
  return visible;
}
