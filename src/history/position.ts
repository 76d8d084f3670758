import { InvalidArgumentError } from '../internal/errors.js';

/**
 * Identifies one message of a channel's history: opaque, printable, safe in a URL, a header or an SSE event
 * id. Ordered like the channel's messages.
 */
export type Position = string;

/** The channel has had no messages, or was wiped. */
export const ORIGIN: Position = '0-0';

const ZERO = 0x30;
const POSITION = /^\d{1,16}-\d{1,10}$/;

export function isPosition(value: unknown): value is Position {
  return typeof value === 'string' && POSITION.test(value);
}

/** @throws {@link InvalidArgumentError} unless `value` has the form of a {@link Position}. */
export function assertPosition(argument: string, value: unknown): asserts value is Position {
  if (!isPosition(value)) {
    throw new InvalidArgumentError(argument, 'must be a position returned by rollcall');
  }
}

/**
 * Before the first message: {@link ORIGIN}, or the nonce 0, which read.lua creates for an empty channel.
 * Unlike ORIGIN, it does not survive a wipe.
 */
export function isOrigin(position: Position): boolean {
  return position.endsWith('-0');
}

/** In µs, by the server's clock. Positions are ordered by this. */
export function positionTime(position: Position): number {
  // A third of the time that Number() takes; it runs once per message with history.
  let time = 0;
  for (let at = 0; at < position.length; at++) {
    const digit = position.charCodeAt(at) - ZERO;
    if (!(digit >= 0 && digit <= 9)) break;
    time = time * 10 + digit;
  }
  return time;
}

/** The smallest position that is greater than `position`; `position` itself if there is none. */
export function positionAfter(position: Position): Position {
  const next = `${positionTime(position) + 1}-1`;
  return isPosition(next) ? next : position;
}

/** In whole ms since the epoch. */
export function publishedAt(position: Position): number {
  return Math.floor(positionTime(position) / 1_000);
}
