import { InvalidArgumentError } from './errors.js';

/** In bytes of UTF-8. */
export const MAX_NAME_BYTES = 512;

export function describeValue(value: unknown): string {
  let text: string;
  if (typeof value === 'string') text = JSON.stringify(value);
  else if (typeof value === 'bigint') text = `${value}n`;
  else if (typeof value === 'function') text = 'a function';
  else if (typeof value === 'object' && value !== null)
    text = Array.isArray(value) ? 'an array' : 'an object';
  else text = String(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** Non-empty, well-formed, at most `maxBytes` bytes. */
export function assertName(
  argument: string,
  value: unknown,
  maxBytes = MAX_NAME_BYTES,
): asserts value is string {
  if (typeof value !== 'string') {
    throw new InvalidArgumentError(argument, `must be a string, not ${describeValue(value)}`);
  }
  if (value.length === 0) throw new InvalidArgumentError(argument, 'must not be empty');
  // A UTF-16 unit has at most three bytes of UTF-8.
  if (value.length * 3 > maxBytes && Buffer.byteLength(value) > maxBytes) {
    throw new InvalidArgumentError(
      argument,
      `must be at most ${maxBytes} bytes long, not ${Buffer.byteLength(value)}`,
    );
  }
  // Lone surrogates have no UTF-8 form: two names could become one in Redis.
  if (!isWellFormed(value)) {
    throw new InvalidArgumentError(argument, `must be well-formed Unicode, not ${describeValue(value)}`);
  }
}

const LONE_SURROGATE = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/;
const ANY_SURROGATE = /[\uD800-\uDFFF]/;

function isWellFormed(value: string): boolean {
  return !ANY_SURROGATE.test(value) || !LONE_SURROGATE.test(value);
}

export function assertFunction(argument: string, value: unknown): void {
  if (typeof value !== 'function') {
    throw new InvalidArgumentError(argument, `must be a function, not ${describeValue(value)}`);
  }
}

/** The compiler checks that no option is missing. */
export type OptionNames<T> = { readonly [Name in keyof T]-?: true };

/** With `known`, other options are refused, because a misspelt option would have no effect. */
export function assertOptions(
  argument: string,
  value: unknown,
  known?: Readonly<Record<string, unknown>>,
): void {
  if (value === undefined) return;
  if (typeof value !== 'object' || value === null) {
    throw new InvalidArgumentError(argument, `must be an object, not ${describeValue(value)}`);
  }
  if (known === undefined) return;
  for (const name of Object.keys(value)) {
    if (!Object.hasOwn(known, name)) throw unknownOption(argument, name, Object.keys(known));
  }
}

function unknownOption(argument: string, name: string, known: readonly string[]): InvalidArgumentError {
  const nearest = nearestName(name, known);
  const hint = nearest === undefined ? `known are ${known.join(', ')}` : `did you mean "${nearest}"?`;
  return new InvalidArgumentError(argument, `has an unknown option ${describeValue(name)}; ${hint}`);
}

/** Undefined if none is close enough for a typo. */
function nearestName(name: string, known: readonly string[]): string | undefined {
  let nearest: string | undefined;
  let least = Math.floor(name.length / 3) + 1;
  const given = name.toLowerCase();
  for (const each of known) {
    const other = each.toLowerCase();
    // An abbreviation counts as close at any length.
    const distance = given.length > 3 && other.startsWith(given) ? 1 : editDistance(given, other);
    if (distance < least || (distance === least && nearest === undefined)) {
      nearest = each;
      least = distance;
    }
  }
  return nearest;
}

function editDistance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, at) => at);
  for (let at = 1; at <= one.length; at++) {
    const next = [at];
    for (let to = 1; to <= other.length; to++) {
      const replace = (row[to - 1] as number) + Number(one[at - 1] !== other[to - 1]);
      next[to] = Math.min(replace, (row[to] as number) + 1, (next[to - 1] as number) + 1);
    }
    row = next;
  }
  return row[other.length] as number;
}

/** Throws unless the result is a finite number in [min, max]. */
export function numberOption(
  argument: string,
  value: unknown,
  fallback: number,
  limits: { min: number; max?: number; integer?: boolean; unit?: 'ms' },
): number {
  if (value === undefined) return fallback;
  const { min, max = Number.MAX_SAFE_INTEGER, integer = false, unit } = limits;
  const fits = typeof value === 'number' && Number.isFinite(value) && value >= min && value <= max;
  if (!fits || (integer && !Number.isInteger(value))) {
    const kind = `a${integer ? ' whole' : ''} number${unit === undefined ? '' : ` of ${unit}`}`;
    const atLeast = unit === undefined ? `of at least ${min}` : `, at least ${min}`;
    const range = max === Number.MAX_SAFE_INTEGER ? atLeast : `from ${min} to ${max}`;
    throw new InvalidArgumentError(argument, `must be ${kind} ${range}, not ${describeValue(value)}`);
  }
  return value;
}

export function booleanOption(argument: string, value: unknown, fallback: boolean): boolean {
  if (value === undefined) return fallback;
  if (typeof value === 'boolean') return value;
  throw new InvalidArgumentError(argument, `must be true or false, not ${describeValue(value)}`);
}

export function choiceOption<T extends string, F extends T | undefined>(
  argument: string,
  value: unknown,
  fallback: F,
  choices: readonly T[],
): T | F {
  if (value === undefined) return fallback;
  if (!choices.includes(value as T)) {
    throw new InvalidArgumentError(
      argument,
      `must be one of ${choices.join(', ')}, not ${describeValue(value)}`,
    );
  }
  return value as T;
}

/** Throws the reason of an aborted signal; an InvalidArgumentError if it is no AbortSignal. */
export function assertSignal(signal: unknown): void {
  if (signal === undefined) return;
  if (
    typeof signal !== 'object' ||
    signal === null ||
    !('aborted' in signal) ||
    !('addEventListener' in signal)
  ) {
    throw new InvalidArgumentError('signal', `must be an AbortSignal, not ${describeValue(signal)}`);
  }
  (signal as AbortSignal).throwIfAborted();
}

const PREFIX = /^[A-Za-z0-9_.:-]{1,64}$/;

/** Throws unless the result fits in a Redis hash tag and a pattern. */
export function prefixOption(argument: string, value: unknown, fallback: string): string {
  if (value === undefined) return fallback;
  if (typeof value !== 'string' || !PREFIX.test(value)) {
    throw new InvalidArgumentError(
      argument,
      `must be 1 to 64 letters, digits or any of "_ . : -", not ${describeValue(value)}`,
    );
  }
  return value;
}
