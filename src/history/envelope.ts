import type { Payload } from '../redis/driver.js';
import type { ChainLink } from './chain.js';

/**
 * On the wire a message with history is its payload behind one line, `rc1:<position>:<previous>`,
 * which append.lua writes. No JSON text begins like that; another payload that does gets an empty such
 * line before it, `rc1::`, so that every payload comes back as it was. `rc1:~` is the line of a transient
 * message: one without a place in the chain, whose loss is none.
 */
const MAGIC = 'rc1:';
const MAGIC_BYTES = Buffer.from(MAGIC);
const EMPTY_HEADER = 'rc1::\n';
const TRANSIENT_HEADER = 'rc1:~\n';
const MAGIC_FIRST_BYTE = MAGIC.charCodeAt(0);
const HEADER = /^rc1:(?:(\d{1,16}-\d{1,10}):(\d{1,16}-\d{1,10})|:|(~))$/;
const MAX_HEADER = 64;

/** A payload taken out of its envelope, and its place in the chain, where it has one. */
export interface Envelope {
  readonly payload: Payload;
  readonly link: ChainLink | undefined;
  /** Its loss is none. */
  readonly transient: boolean;
}

/** What is in the envelope; `undefined` when there is none, as with most messages. */
export function unwrap(payload: Payload): Envelope | undefined {
  if (typeof payload === 'string') {
    if (payload.charCodeAt(0) !== MAGIC_FIRST_BYTE || !payload.startsWith(MAGIC)) return undefined;
    const end = payload.slice(0, MAX_HEADER).indexOf('\n');
    return end < 0 ? undefined : parseHeader(payload.slice(0, end), payload.slice(end + 1));
  }
  if (!hasMagic(payload)) return undefined;
  const end = payload.subarray(0, MAX_HEADER).indexOf(0x0a);
  return end < 0 ? undefined : parseHeader(payload.toString('latin1', 0, end), payload.subarray(end + 1));
}

/** `payload` as it can be published without history, and mistaken for nothing else. */
export function escapePayload(payload: Payload): Payload {
  if (typeof payload === 'string') return payload.startsWith(MAGIC) ? EMPTY_HEADER + payload : payload;
  return hasMagic(payload) ? Buffer.concat([Buffer.from(EMPTY_HEADER), payload]) : payload;
}

/** `payload` as a transient message. */
export function wrapTransient(payload: Payload): Payload {
  return typeof payload === 'string'
    ? TRANSIENT_HEADER + payload
    : Buffer.concat([Buffer.from(TRANSIENT_HEADER), payload]);
}

function hasMagic(payload: Buffer): boolean {
  return payload[0] === MAGIC_FIRST_BYTE && payload.subarray(0, MAGIC_BYTES.length).equals(MAGIC_BYTES);
}

function parseHeader(header: string, payload: Payload): Envelope | undefined {
  const match = HEADER.exec(header);
  if (match === null) return undefined;
  const [, position, previous, mark] = match;
  const link = position === undefined || previous === undefined ? undefined : { position, previous };
  return { payload, link, transient: mark !== undefined };
}
