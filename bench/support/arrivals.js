// @ts-check
// What the processes of clients share: counting messages, and opening a bounded number of connections at a time.

/** Connections that are opened concurrently. */
const AT_ONCE = 50;

let received = 0;
let expected = Number.POSITIVE_INFINITY;

/** Since the last {@link expectMessages}. */
export const receivedMessages = () => received;

/** Counts from 0. The message that completes `count` is reported to the parent process. */
export function expectMessages(count = Number.POSITIVE_INFINITY) {
  received = 0;
  expected = count;
}

export function countMessage() {
  if (++received < expected) return;
  expected = Number.POSITIVE_INFINITY;
  process.send?.({ received });
}

/**
 * @param {number} length
 * @param {(n: number) => Promise<unknown>} task
 */
export async function someAtOnce(length, task) {
  let started = 0;
  const worker = async () => {
    while (started < length) await task(started++);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}
