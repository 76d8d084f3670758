import { ClientError } from '../client/index.js';

function assertValid(valid: unknown, message: string): asserts valid {
  if (!valid) throw new ClientError('INVALID', message);
}

export function assertRoomName(name: unknown): void {
  assertValid(name === null || (name && typeof name === 'string'), 'room: no name');
}

export function assertPositionText(position: unknown, what: string): void {
  assertValid(position === undefined || (position && typeof position === 'string'), `${what}: no position`);
}

export function assertLimit(limit: number, what = 'limit'): void {
  assertValid(Number.isInteger(limit) && limit > 0, `${what}: no number from 1`);
}

/** An hour. */
const MAX_LINGER = 3_600_000;

export function assertLinger(linger: number): void {
  assertValid(linger >= 0 && linger <= MAX_LINGER, `linger: no number of ms from 0 to ${MAX_LINGER}`);
}

/** Independent of order, so that a new array in each render changes nothing. */
export function toNamesKey(names: Iterable<string> | undefined, what: string): string {
  if (names === undefined) return '*';
  assertValid(typeof names !== 'string', `${what}: no list`);
  return JSON.stringify([...new Set(names)].sort());
}

export function parseNamesKey(key: string): readonly string[] | undefined {
  return key === '*' ? undefined : JSON.parse(key);
}
