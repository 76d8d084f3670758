import { useCallback, useInsertionEffect, useRef } from 'react';

/** A function that stays the same, and calls that of the latest render. Not to be called while rendering. */
export function useLatest<A extends readonly unknown[], R>(latest: (...args: A) => R): (...args: A) => R {
  const ref = useRef(latest);
  // Before all other effects, and without a warning on the server.
  useInsertionEffect(() => {
    ref.current = latest;
  });
  return useCallback((...args: A) => ref.current(...args), []);
}
