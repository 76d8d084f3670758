import { messageOf } from '../internal/diagnostics.js';
import { assertName, prefixOption } from '../internal/validate.js';
import type { OptionValue } from './command.js';
import { UsageError } from './usage-error.js';

/** @throws {@link UsageError} for anything but a whole number from `min` to `max`. */
export function numberOption(
  name: string,
  value: OptionValue,
  fallback: number,
  min: number,
  max = Number.MAX_SAFE_INTEGER,
): number {
  if (value === undefined) return fallback;
  const number = Number(value);
  if (typeof value !== 'string' || !/^\d+$/.test(value) || number < min || number > max) {
    const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
    throw new UsageError(`--${name} must be a whole number ${range}, not ${JSON.stringify(value)}`);
  }
  return number;
}

/** The name of a user or room. @throws {@link UsageError} for one that no service accepts. */
export function nameArgument(argument: string, value: OptionValue): string {
  return asUsage(() => {
    assertName(argument, value);
    return value;
  });
}

/** `prefix` of the pub/sub service. @throws {@link UsageError} for one that no service accepts. */
export function pubsubPrefix(values: Readonly<Record<string, OptionValue>>): string {
  const { 'pubsub-prefix': value = '' } = values;
  return value === '' ? '' : asUsage(() => prefixOption('--pubsub-prefix', value, ''));
}

/** Errors of the library's own rules are errors of usage here. */
export function asUsage<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
}

/** Given several times, or separated by commas. */
export function listOption(value: OptionValue): string[] | undefined {
  if (!Array.isArray(value)) return undefined;
  return value.flatMap((each) => String(each).split(',')).filter((each) => each !== '');
}
