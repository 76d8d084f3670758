import { ClientError } from '../client/index.js';

/** Throws `INVALID` unless `valid`. */
function assertValid(valid: unknown, message: string): asserts valid {
  if (!valid) throw new ClientError('INVALID', message);
}

/** Throws `INVALID` unless it is the name of a room, or null for none. */
export function assertRoomName(name: unknown): void {
  assertValid(name === null || (name && typeof name === 'string'), 'room: no name');
}

/** Throws `INVALID` unless it is how many to list. */
export function assertLimit(limit: number): void {
  assertValid(Number.isInteger(limit) && limit > 0, 'limit: no number from 1');
}

/** The same text for the same names, in whichever order; undefined for all. */
export function toNamesKey(names: Iterable<string> | undefined, what: string): string {
  if (names === undefined) return '*';
  assertValid(typeof names !== 'string', `${what}: no list`);
  return JSON.stringify([...new Set(names)].sort());
}

/** The names in a key. */
export function parseNamesKey(key: string): readonly string[] | undefined {
  return key === '*' ? undefined : JSON.parse(key);
}
