// @ts-check

/**
 * Makes calls 0 to `count - 1` with `callers` concurrent callers; each waits for its call before the next.
 *
 * @param {number} callers
 * @param {number} count
 * @param {(n: number) => Promise<unknown>} call
 */
export async function inFlight(callers, count, call) {
  let next = 0;
  const caller = async () => {
    while (next < count) await call(next++);
  };
  await Promise.all(Array.from({ length: callers }, caller));
}
