import type { Payload } from '../redis/driver.js';
import type { ChainLink } from './chain.js';

/**
 * A message with history has a header line, `rc1:<position>:<previous>`, written by append.lua. No JSON text
 * begins like that; any other payload that does gets an empty header, `rc1::`, so that every payload arrives
 * unchanged. `rc1:~` marks a transient message: no position, and missing it does not matter.
 * A channel belongs to the server, a history to a logical database. A header of database 1 begins with
 * `rc1@1:`; subscribers in other databases skip the message.
 */
const MAGIC = 'rc1';
const MAGIC_BYTES = Buffer.from(MAGIC);
const EMPTY_HEADER = 'rc1::\n';
const MAGIC_FIRST_BYTE = MAGIC.charCodeAt(0);
const HEADER = /^rc1(@\d{1,10})?:(?:(\d{1,16}-\d{1,10}):(\d{1,16}-\d{1,10})|:|(~))$/;
const MAX_HEADER = 64;

export interface Envelope {
  readonly payload: Payload;
  readonly link: ChainLink | undefined;
  /** Missing it does not matter. */
  readonly transient: boolean;
}

/** Every message of another logical database. */
export const OF_OTHER_DATABASE: Envelope = { payload: '', link: undefined, transient: true };

/** In the logical database with this {@link databaseSuffix}. */
export function headerStart(suffix: string): string {
  return `${MAGIC}${suffix}:`;
}

/** `undefined` without a header, as for most messages. `suffix`: the subscriber's {@link databaseSuffix}. */
export function unwrap(payload: Payload, suffix = ''): Envelope | undefined {
  if (typeof payload === 'string') {
    if (payload.charCodeAt(0) !== MAGIC_FIRST_BYTE || !payload.startsWith(MAGIC)) return undefined;
    const end = payload.slice(0, MAX_HEADER).indexOf('\n');
    return end < 0 ? undefined : parseHeader(payload.slice(0, end), payload.slice(end + 1), suffix);
  }
  if (!hasMagic(payload)) return undefined;
  const end = payload.subarray(0, MAX_HEADER).indexOf(0x0a);
  return end < 0
    ? undefined
    : parseHeader(payload.toString('latin1', 0, end), payload.subarray(end + 1), suffix);
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
