import { useCallback, useRef } from 'react';
import { useInsertionEffect } from './react-hooks.js';

/** A stable function that calls the latest render's one. Not to be called while rendering. */
export function useLatest<A extends readonly unknown[], R>(latest: (...args: A) => R): (...args: A) => R {
  const ref = useRef(latest);
  // Insertion effects run before all others, and cause no warning on the server.
  useInsertionEffect(() => {
    ref.current = latest;
  });
  return useCallback((...args: A) => ref.current(...args), []);
}
