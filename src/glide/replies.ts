import type { Reply } from '../redis/driver.js';

/** GLIDE's maps in replies: lists of such pairs. */
interface Pair {
  readonly key: unknown;
  readonly value: unknown;
}

/** Codes that GLIDE replaces by names of its own, where the name does not spell the code. */
const CODES: Readonly<Record<string, string>> = { RESPONSE: 'ERR', BUSYLOADING: 'LOADING' };

/** "An error was signalled by the server: - NoScriptError: No matching script." */
const NAMED = /^An error was signalled by the server: - (\w+?)(?:Error)?: (.*)$/s;
/** "WRONGTYPE: Operation against a key …" */
const CODED = /^([A-Z][A-Z0-9_]+): (.*)$/s;

/**
 * The error as Redis sent it, beginning with its code, or undefined for errors of the client. GLIDE rewrites the
 * code, by which callers distinguish refusals.
 */
export function toServerError(error: Error): Error | undefined {
  const [, name, text] = NAMED.exec(error.message) ?? CODED.exec(error.message) ?? [];
  if (name === undefined) return undefined;
  const code = name.toUpperCase();
  return new Error(`${CODES[code] ?? code} ${text}`, { cause: error });
}

/** GLIDE converts replies of RESP3 by command: maps, sets, booleans and doubles. */
export function toReply(value: unknown): Reply {
  if (value === undefined || value === null) return null;
  if (typeof value === 'boolean') return value ? 1 : 0;
  if (typeof value === 'number') return Number.isInteger(value) ? value : String(value);
  if (typeof value === 'bigint') return Number(value);
  if (typeof value === 'string' || Buffer.isBuffer(value)) return value;
  if (value instanceof Error) return toServerError(value) ?? value;
  if (value instanceof Set) return [...value].map(toReply);
  if (!Array.isArray(value)) return String(value);
  if (value.length > 0 && value.every(isPair))
    return value.flatMap((pair) => [toReply(pair.key), toReply(pair.value)]);
  return value.map(toReply);
}

function isPair(value: unknown): value is Pair {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && 'key' in value && 'value' in value
  );
}
