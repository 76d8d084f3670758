import type { OptionValue } from './command.js';
import { UsageError } from './usage-error.js';

/** @throws {@link UsageError} for anything but a whole number of at least `min`. */
export function numberOption(name: string, value: OptionValue, fallback: number, min: number): number {
  if (value === undefined) return fallback;
  const number = Number(value);
  if (typeof value !== 'string' || !/^\d+$/.test(value) || number < min || !Number.isSafeInteger(number)) {
    throw new UsageError(`--${name} must be a whole number of at least ${min}, not ${JSON.stringify(value)}`);
  }
  return number;
}

/** Given several times, or separated by commas. */
export function listOption(value: OptionValue): string[] | undefined {
  if (!Array.isArray(value)) return undefined;
  return value.flatMap((each) => String(each).split(',')).filter((each) => each !== '');
}
