import type { Payload } from '../redis/driver.js';
import type { ChainLink } from './merge-into-chain.js';
import type { Position } from './position.js';

/**
 * A message with history has a header line, `rc1:<position>:<previous>`, on the channel and in the history;
 * append.lua writes it. No JSON text begins like that; any other payload that does gets an empty header, `rc1::`, and
 * arrives unchanged. `rc1:~` marks a transient message, which has no position. A channel belongs to the server, a
 * history to a logical database: a header of database 1 begins with `rc1@1:`, and subscribers in other databases skip
 * the message.
 */
const MAGIC = 'rc1';
const MAGIC_BYTES = Buffer.from(MAGIC);
const EMPTY_HEADER = 'rc1::\n';
const MAGIC_FIRST_BYTE = MAGIC.charCodeAt(0);
const HEADER = /^rc1(@\d{1,10})?:(?:(\d{1,16}-\d{1,10}):(\d{1,16}-\d{1,10})|:|(~))$/;
const MAX_HEADER = 64;
const MAX_TIME_DIGITS = 16;
const MAX_NONCE_DIGITS = 10;
const NEWLINE = 0x0a;
const DASH = 0x2d;
const ZERO = 0x30;
const NINE = 0x39;
const COLON = 0x3a;

export interface Envelope {
  readonly payload: Payload;
  readonly link: ChainLink | undefined;
  /** Missing it does not matter. */
  readonly transient: boolean;
}

/** Stands for every message of another logical database. */
export const OF_OTHER_DATABASE: Envelope = { payload: '', link: undefined, transient: true };

/** In the logical database with this {@link databaseSuffix}. */
export function headerStart(suffix: string): string {
  return `${MAGIC}${suffix}:`;
}

/**
 * `undefined` without a header, as for most messages. `suffix`: the subscriber's {@link databaseSuffix}.
 * `expected`: most messages follow this position.
 */
export function unwrap(payload: Payload, suffix = '', expected?: Position): Envelope | undefined {
  if (typeof payload === 'string') {
    if (payload.charCodeAt(0) !== MAGIC_FIRST_BYTE || !payload.startsWith(MAGIC)) return undefined;
    const chained = unwrapChained(payload, payload, suffix, expected);
    if (chained !== undefined) return chained;
    const end = payload.slice(0, MAX_HEADER).indexOf('\n');
    return end < 0 ? undefined : parseHeader(payload.slice(0, end), payload.slice(end + 1), suffix);
  }
  if (!hasMagic(payload)) return undefined;
  const text = payload.toString('latin1', 0, MAX_HEADER);
  const chained = unwrapChained(payload, text, suffix, expected);
  if (chained !== undefined) return chained;
  const end = text.indexOf('\n');
  return end < 0 ? undefined : parseHeader(text.slice(0, end), payload.subarray(end + 1), suffix);
}

/** A message as append.lua stores it: the header of any database. Undefined if it is none. */
export function unwrapStored(message: Payload): (ChainLink & { readonly payload: Payload }) | undefined {
  const text = typeof message === 'string' ? message : message.toString('latin1', 0, MAX_HEADER);
  const suffix = text.slice(MAGIC.length, text.indexOf(':'));
  const envelope = unwrap(message, suffix);
  return envelope?.link === undefined ? undefined : { ...envelope.link, payload: envelope.payload };
}

/**
 * Reads the header of a message with history in a third of the time that {@link HEADER} takes; undefined for
 * any other. `text`: the payload, or at least its header.
 */
function unwrapChained(
  payload: Payload,
  text: string,
  suffix: string,
  expected: Position | undefined,
): Envelope | undefined {
  const start = MAGIC.length + suffix.length + 1;
  if (text.charCodeAt(start - 1) !== COLON || !text.startsWith(suffix, MAGIC.length)) return undefined;
  const middle = endOfPosition(text, start);
  if (text.charCodeAt(middle) !== COLON) return undefined;
  const isExpected = expected !== undefined && text.startsWith(expected, middle + 1);
  const end = isExpected ? middle + 1 + expected.length : endOfPosition(text, middle + 1);
  if (text.charCodeAt(end) !== NEWLINE) return undefined;
  return {
    payload: typeof payload === 'string' ? payload.slice(end + 1) : payload.subarray(end + 1),
    link: {
      position: text.slice(start, middle),
      previous: isExpected ? expected : text.slice(middle + 1, end),
    },
    transient: false,
  };
}

/** The index behind a position that begins at `start`, or -1. */
function endOfPosition(text: string, start: number): number {
  const dash = endOfDigits(text, start, MAX_TIME_DIGITS);
  return text.charCodeAt(dash) === DASH ? endOfDigits(text, dash + 1, MAX_NONCE_DIGITS) : -1;
}

/** -1 without a digit. */
function endOfDigits(text: string, start: number, most: number): number {
  let at = start;
  for (; at < start + most; at++) {
    const code = text.charCodeAt(at);
    if (!(code >= ZERO && code <= NINE)) break;
  }
  return at === start ? -1 : at;
}

/** For a message without history that looks like a header. */
export function escapePayload(payload: Payload): Payload {
  if (typeof payload === 'string') return payload.startsWith(MAGIC) ? EMPTY_HEADER + payload : payload;
  return hasMagic(payload) ? Buffer.concat([Buffer.from(EMPTY_HEADER), payload]) : payload;
}

export function wrapTransient(payload: Payload, suffix = ''): Payload {
  const header = `${headerStart(suffix)}~\n`;
  return typeof payload === 'string' ? header + payload : Buffer.concat([Buffer.from(header), payload]);
}

function hasMagic(payload: Buffer): boolean {
  return payload[0] === MAGIC_FIRST_BYTE && payload.subarray(0, MAGIC_BYTES.length).equals(MAGIC_BYTES);
}

function parseHeader(header: string, payload: Payload, suffix: string): Envelope | undefined {
  const match = HEADER.exec(header);
  if (match === null) return undefined;
  const [, database = '', position, previous, transient] = match;
  // An empty header only escapes a payload: no history, no database.
  const escapes = position === undefined && transient === undefined;
  if (database !== suffix && !escapes) return OF_OTHER_DATABASE;
  const link = position === undefined || previous === undefined ? undefined : { position, previous };
  return { payload, link, transient: transient !== undefined };
}
