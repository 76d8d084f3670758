import { InvalidArgumentError } from '../internal/errors.js';
import { describeValue } from '../internal/validate.js';

const STATUS = /^[A-Za-z0-9_.:-]{1,64}$/;

/** A short word other than `offline`. */
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
