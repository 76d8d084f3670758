// @ts-check

/**
 * A chat message that is `bytes` long as JSON; messages of one size differ in `n` only.
 *
 * @param {number} n 0 to 999
 * @param {number} bytes
 */
export function message(n, bytes) {
  const text = { n: n + 1_000, room: 'room-42', user: 'user-0001234', sentAt: 1_780_000_000_000, text: '' };
  text.text = 'lorem ipsum '.repeat(bytes / 12 + 1).slice(0, bytes - JSON.stringify(text).length);
  return text;
}

/** How many different messages there are; floods repeat them. */
export const VARIETY = 1_000;

/**
 * What is received of `count` messages from {@link message}, in turn: the sum of their `n`.
 *
 * @param {number} count a multiple of {@link VARIETY}
 */
export function sumOf(count) {
  return (count / VARIETY) * (VARIETY * 1_000 + (VARIETY * (VARIETY - 1)) / 2);
}
