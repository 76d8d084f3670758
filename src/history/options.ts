import { InvalidArgumentError } from '../internal/errors.js';
import { assertOptions, numberOption, type OptionNames } from '../internal/validate.js';
import type { HistoryOptions } from './append.js';

/** 7 days, in ms. */
export const DEFAULT_POSITION_TTL = 7 * 24 * 60 * 60 * 1_000;
const NAMES: OptionNames<HistoryOptions> = { size: true, ttl: true, positionTtl: true };

export function resolveHistoryOptions(history: HistoryOptions): Required<HistoryOptions> {
  assertOptions('history', history, NAMES);
  const ttl = requiredCount('history.ttl', history.ttl);
  const positionTtl = numberOption(
    'history.positionTtl',
    history.positionTtl,
    Math.max(DEFAULT_POSITION_TTL, ttl),
    {
      min: ttl,
      integer: true,
    },
  );
  return Object.freeze({ size: requiredCount('history.size', history.size), ttl, positionTtl });
}

/** No default fits every channel. */
function requiredCount(argument: string, value: unknown): number {
  if (value === undefined) throw new InvalidArgumentError(argument, 'is missing');
  return numberOption(argument, value, 0, { min: 1, integer: true });
}
