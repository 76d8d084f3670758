// @ts-check

/** Messages of this size in bytes or more carry a list of objects. */
const LARGE = 1_000;

/**
 * A message that is `bytes` long as JSON: a line of a chat, or, if it is large, a list of small objects
 * such as games and boards send. Messages of one size differ in `n` only.
 *
 * @param {number} n 0 to 999
 * @param {number} bytes
 */
export function message(n, bytes) {
  const text = { n: n + 1_000, room: 'room-42', user: 'user-0001234', sentAt: 1_780_000_000_000, text: '' };
  const whole = bytes < LARGE ? text : { ...text, moved: objects(bytes - 300) };
  whole.text = 'lorem ipsum '.repeat(bytes / 12 + 1).slice(0, bytes - JSON.stringify(whole).length);
  return whole;
}

/** @param {number} bytes about */
function objects(bytes) {
  const list = [];
  for (let id = 100; JSON.stringify(list).length < bytes; id++) {
    list.push({ id, kind: 'piece', x: id * 3.5, y: 720.25 - id, angle: 90, by: `user-${id}`, visible: true });
  }
  return list;
}

/** Number of different messages; publish-load.js repeats them. */
export const VARIETY = 1_000;

/**
 * What is received of `count` messages from {@link message}, in turn: the sum of their `n`.
 *
 * @param {number} count a multiple of {@link VARIETY}
 */
export function sumOf(count) {
  return (count / VARIETY) * (VARIETY * 1_000 + (VARIETY * (VARIETY - 1)) / 2);
}
