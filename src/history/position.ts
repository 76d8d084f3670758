import { InvalidArgumentError } from '../internal/errors.js';

/**
 * Names one message of a channel's history: opaque, printable, safe in a URL, a header or an SSE event
 * id. Equal positions of one channel name one message; their order is the order of the messages.
 */
export type Position = string;

/** What precedes the first message of a channel. */
export const ORIGIN: Position = '0-0';

const POSITION = /^\d{1,16}-\d{1,10}$/;

/** True for what can be a {@link Position}. */
export function isPosition(value: unknown): value is Position {
  return typeof value === 'string' && POSITION.test(value);
}

/** Throws unless `value` can be a {@link Position}. */
export function assertPosition(argument: string, value: unknown): asserts value is Position {
  if (!isPosition(value)) {
    throw new InvalidArgumentError(argument, 'is not a position that rollcall gave');
  }
}

/** When the message was appended, in µs by the server's clock: what positions are ordered by. */
export function positionTime(position: Position): number {
  return Number(position.slice(0, position.indexOf('-')));
}

/** The same in whole ms since the epoch: when the message was published. */
export function publishedAt(position: Position): number {
  return Math.floor(positionTime(position) / 1_000);
}
