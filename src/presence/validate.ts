import { InvalidArgumentError } from '../internal/errors.js';
import { assertName, assertOptions, booleanOption, describeValue } from '../internal/validate.js';
import { FORGET_OPTION_NAMES } from './option-names.js';
import type { ForgetOptions } from './options.js';

const STATUS = /^[A-Za-z0-9_.:-]{1,64}$/;

/** A socket's status: a short word other than `offline` and `invisible`. */
export function assertStatus(argument: string, value: unknown): asserts value is string {
  if (typeof value !== 'string' || !STATUS.test(value)) {
    throw new InvalidArgumentError(
      argument,
      `must be 1 to 64 letters, digits or any of "_ . : -", without spaces, not ${describeValue(value)}`,
    );
  }
  if (value === 'invisible') {
    throw new InvalidArgumentError(argument, 'must not be "invisible": that is for a person; call setStatus');
  }
  if (value === 'offline') {
    throw new InvalidArgumentError(
      argument,
      'must not be "offline": that is what a user without sockets is; call removeSocket',
    );
  }
}

export function toIdSet(argument: string, element: string, values: Iterable<string>): Set<string> {
  if (typeof values === 'string' || typeof values?.[Symbol.iterator] !== 'function') {
    throw new InvalidArgumentError(argument, `must be an iterable of strings, not ${describeValue(values)}`);
  }
  const ids = new Set(values);
  for (const id of ids) assertName(element, id);
  return ids;
}

/** Limit of a Date, in ms since the epoch. */
const MAX_DATE = 8.64e15;

/** When a status ends, in ms since the epoch; 0: never. */
export function parseExpiry(until: Date | number | undefined): number {
  if (until === undefined) return 0;
  const time = until instanceof Date ? until.getTime() : until;
  if (typeof time !== 'number' || !(time > 0 && time <= MAX_DATE)) {
    throw new InvalidArgumentError('until', 'must be a Date, or a number of milliseconds since the epoch');
  }
  return Math.ceil(time);
}

export function parseForgetOptions(options: ForgetOptions): Required<ForgetOptions> {
  assertOptions('options', options, FORGET_OPTION_NAMES);
  const { reason = '' } = options;
  if (typeof reason !== 'string') throw new InvalidArgumentError('reason', 'must be a string');
  return { keepSockets: booleanOption('keepSockets', options.keepSockets, false), reason };
}
