import type { Payload } from '../redis/driver.js';
import type { Link } from './chain.js';

/**
 * On the wire a message with history is its payload behind one line, `rc1:<position>:<previous>`,
 * which append.lua writes. No JSON text begins like that; another payload that does gets an empty such
 * line before it, `rc1::`, so that every payload comes back as it was. `rc1:~` is the line of a transient
 * message: one without a place in the chain, whose loss is none.
 */
const MAGIC = 'rc1:';
const MAGIC_BYTES = Buffer.from(MAGIC);
const EMPTY = 'rc1::\n';
const TRANSIENT = 'rc1:~\n';
const R = MAGIC.charCodeAt(0);
const HEADER = /^rc1:(?:(\d{1,16}-\d{1,10}):(\d{1,16}-\d{1,10})|:|(~))$/;
const MAX_HEADER = 64;

/** A payload taken out of its envelope, and its place in the chain, where it has one. */
export interface Unwrapped {
  readonly payload: Payload;
  readonly link: Link | undefined;
  /** Its loss is none. */
  readonly transient: boolean;
}

/** What is in the envelope; `undefined` when there is none, as with most messages. */
export function unwrap(payload: Payload): Unwrapped | undefined {
  if (typeof payload === 'string') {
    if (payload.charCodeAt(0) !== R || !payload.startsWith(MAGIC)) return undefined;
    const end = payload.slice(0, MAX_HEADER).indexOf('\n');
    return end < 0 ? undefined : parsed(payload.slice(0, end), payload.slice(end + 1));
  }
  if (!hasMagic(payload)) return undefined;
  const end = payload.subarray(0, MAX_HEADER).indexOf(0x0a);
  return end < 0 ? undefined : parsed(payload.toString('latin1', 0, end), payload.subarray(end + 1));
}

/** `payload` as it can be published without history, and mistaken for nothing else. */
export function guarded(payload: Payload): Payload {
  if (typeof payload === 'string') return payload.startsWith(MAGIC) ? EMPTY + payload : payload;
  return hasMagic(payload) ? Buffer.concat([Buffer.from(EMPTY), payload]) : payload;
}

/** `payload` as a transient message. */
export function transient(payload: Payload): Payload {
  return typeof payload === 'string' ? TRANSIENT + payload : Buffer.concat([Buffer.from(TRANSIENT), payload]);
}

function hasMagic(payload: Buffer): boolean {
  return payload[0] === R && payload.subarray(0, MAGIC_BYTES.length).equals(MAGIC_BYTES);
}

function parsed(header: string, payload: Payload): Unwrapped | undefined {
  const match = HEADER.exec(header);
  if (match === null) return undefined;
  const [, position, previous, mark] = match;
  const link = position === undefined || previous === undefined ? undefined : { position, previous };
  return { payload, link, transient: mark !== undefined };
}
