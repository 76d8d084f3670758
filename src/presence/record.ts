import type { Json } from '../internal/codec.js';
import { messageOf } from '../internal/diagnostics.js';
import { DecodeError } from '../internal/errors.js';
import { unescapeId } from './ids.js';
import type { OwnStatus, PresenceChange, PresenceData, SocketPresence } from './types.js';

/**
 * Version mark of everything stored per user and room; see update-users.lua and update-rooms.lua. The record of a user with a
 * status of their own has the mark 3.
 */
export const FORMAT = 2;

type EncodedChange = [
  userId: string,
  status: string,
  previous: string,
  lastSeen: number,
  version: number,
  sockets: number,
];

/** Stored status of an idle socket. */
const IDLE = '~';

/** update-users.lua copies it into the record. `meta`: JSON text. */
export function encodeEntry(
  status: string,
  connectedAt: number,
  meta: string | undefined,
  idle = false,
): string {
  const since = encodeRegistration(connectedAt);
  const word = idle ? IDLE : status === 'online' ? '' : status;
  if (meta !== undefined) return `${since}"${word}"${meta}`;
  return word === '' ? since : `${since}"${word}`;
}

/** True if the record lists the socket as idle. */
export function listsIdle(record: string, socket: string): boolean {
  const line = record.split('\n').find((one, at) => at > 0 && one.startsWith(`${socket}"`));
  return line?.split('"')[3] === IDLE;
}

/** The part of an entry behind the time of registration, which update-users.lua adds. `meta`: JSON text. */
export function encodeTtlEntry(status: string, meta: string | undefined): string {
  const word = status === 'online' ? '' : status;
  if (meta !== undefined) return `"${word}"${meta}`;
  return word === '' ? '' : `"${word}`;
}

/** `info`: JSON text. `grace` in ms, 0 for none: the user stays in the room for that long after their last socket. */
export function encodeMembership(info: string, grace: number): string {
  return grace === 0 ? info : `~${grace}"${info}`;
}

/** The JSON text in what {@link encodeMembership} returns. */
export function infoOf(membership: string): string {
  return membership.startsWith('~') ? membership.slice(membership.indexOf('"') + 1) : membership;
}

/** The stored time of registration, which identifies the registration. */
export function encodeRegistration(connectedAt: number): string {
  return connectedAt.toString(36);
}

/** Stored own status of a user whose sockets decide the status. */
const OF_SOCKETS = '~';

/** A layer. `null`: the status of the sockets. `until`: 0 without an end. `meta`: JSON text. */
export function encodeOwnStatus(status: string | null, until: number, meta?: string): string {
  const layer = `${status ?? OF_SOCKETS}"${until}`;
  return meta === undefined ? layer : `${layer}"${meta}`;
}

const LAYER = /^([^"]*)"(\d+)(?:"(.+))?$/;

/**
 * The first layer, with those below as `next`; `undefined`: none, or it was removed. Without `reveal`, the status `invisible`
 * and what follows it are left out.
 *
 * @throws TypeError for text that update-users.lua does not write.
 */
export function decodeOwnStatus(text: string, reveal: boolean): OwnStatus | undefined {
  let own: OwnStatus | undefined;
  for (const layer of text.split('\t').reverse()) {
    const match = LAYER.exec(layer);
    if (match === null) throw new TypeError('not a status');
    const [, status, until, meta] = match as unknown as [string, string, string, string | undefined];
    if (status === '' || (status === 'invisible' && !reveal)) {
      own = undefined;
      continue;
    }
    const next = own;
    own = { status: status === OF_SOCKETS ? null : status };
    if (until !== '0') own.until = new Date(Number(until));
    if (meta !== undefined) own.meta = JSON.parse(meta) as Json;
    if (next !== undefined) own.next = next;
  }
  return own;
}

const HIDDEN = /^[23]offline"\d+"\d*"h(\d*)/;

/**
 * End of invisibility in ms; 0: none. `undefined`: a visible user. On the path of every write, so it checks the
 * beginning first.
 */
export function hiddenUntil(record: string): number | undefined {
  if (!record.startsWith('offline"', 1)) return undefined;
  const until = HIDDEN.exec(record)?.[1];
  return until === undefined ? undefined : Number(until);
}

const CONCEALED = /^3[^"\n]*"\d+"\d*(?:"h\d*)?"l/;

/** True if the user hides `lastSeen`. On the path of every write, so it checks the beginning first. */
export function concealsLastSeen(record: string): boolean {
  return record[0] === '3' && CONCEALED.test(record);
}

/** True if the record lists a socket of a node for which `isOwn` is true. */
export function listsSocketOf(record: string, isOwn: (nodeId: string) => boolean): boolean {
  for (let at = record.indexOf('\n'); at >= 0; at = record.indexOf('\n', at + 1)) {
    const socketEnd = record.indexOf('"', at + 1);
    if (isOwn(record.slice(socketEnd + 1, record.indexOf('"', socketEnd + 1)))) return true;
  }
  return false;
}

/**
 * `reveal`: also the sockets and status of an invisible user, and the own status of one who is offline.
 *
 * @throws {@link DecodeError} for text that update-users.lua of this release does not write.
 */
export function decodeRecord(userId: string, text: string, reveal = false): PresenceData {
  // A lookup of thousands of users spends most of its time here: no arrays of parts and no match objects.
  const lineEnd = text.indexOf('\n');
  const end = lineEnd < 0 ? text.length : lineEnd;
  const statusEnd = text.indexOf('"');
  const versionEnd = text.indexOf('"', statusEnd + 1);
  const hasMarks = text[0] === '3';
  if ((text[0] !== '2' && !hasMarks) || statusEnd < 0 || versionEnd < 0 || versionEnd > end)
    throw unreadable(userId, 'unknown format');
  const quote = text.indexOf('"', versionEnd + 1);
  const hasMark = quote >= 0 && quote < end;
  const isHidden = hasMark && text[quote + 1] === 'h';
  const markAt = isHidden && hasMarks ? text.indexOf('"', quote + 1) : quote;
  const isConcealed = hasMarks && text[markAt + 1] === 'l' && markAt < end;
  const layersAt = isConcealed ? markAt + 2 : markAt;
  const hasOwnStatus = hasMarks && text[layersAt] === '"' && text[layersAt + 1] === 's' && layersAt < end;
  if (hasMarks ? !hasOwnStatus && !isConcealed : hasMark && !isHidden)
    throw unreadable(userId, 'unknown format');
  const version = toInteger(text.slice(statusEnd + 1, versionEnd));
  const lastSeen = text.slice(versionEnd + 1, hasMark ? quote : end);
  const lastSeenMs = lastSeen === '' ? Math.trunc(version / 1_000) : toInteger(lastSeen);
  if (Number.isNaN(version) || Number.isNaN(lastSeenMs)) throw unreadable(userId, 'unknown format');

  const status = isHidden && reveal ? 'invisible' : text.slice(1, statusEnd);
  let sockets: SocketPresence[] = [];
  let ownStatus: OwnStatus | undefined;
  try {
    if (lineEnd >= 0 && (!isHidden || reveal)) sockets = decodeSockets(text, lineEnd + 1);
    // Of users who are offline only with `reveal`: an invisible one must look the same.
    if (hasOwnStatus && (reveal || status !== 'offline'))
      ownStatus = decodeOwnStatus(text.slice(layersAt + 2, end), reveal);
  } catch (cause) {
    throw unreadable(userId, messageOf(cause), cause);
  }
  const presence: PresenceData = {
    userId,
    status,
    lastSeen: new Date(isConcealed && !reveal ? 0 : lastSeenMs),
    socketIds: sockets.map(idOf),
    sockets,
    version,
  };
  if (ownStatus !== undefined) presence.ownStatus = ownStatus;
  if (isConcealed && reveal) presence.lastSeenHidden = true;
  return presence;
}

/** `NaN` for text that is not made of digits alone. */
function toInteger(digits: string): number {
  // Number() also accepts spaces, signs, fractions and exponents.
  return /^\d+$/.test(digits) ? Number(digits) : Number.NaN;
}

/** Of a user whose socket was removed again before the reply arrived. */
export function offlinePresence(userId: string): PresenceData {
  return { userId, status: 'offline', lastSeen: new Date(0), socketIds: [], sockets: [], version: 0 };
}

function unreadable(userId: string, why: string, cause?: unknown): DecodeError {
  return new DecodeError(
    `the presence record of user ${JSON.stringify(userId)} cannot be read (${why}): it is damaged, or was written by another release`,
    { cause },
  );
}

/** The lines of `text` from `from` on. */
function decodeSockets(text: string, from: number): SocketPresence[] {
  let to = text.indexOf('\n', from);
  // Most users have one socket. A literal takes the memory of one element, the first push() that of 17.
  if (to < 0) return [decodeSocket(text, from, text.length)];
  const sockets: SocketPresence[] = [];
  for (; to >= 0; to = text.indexOf('\n', from)) {
    sockets.push(decodeSocket(text, from, to));
    from = to + 1;
  }
  sockets.push(decodeSocket(text, from, text.length));
  return sockets.sort(byConnectedAt);
}

/** The line of `text` from `from` to `to`: socket"node"since["status["meta]]; only `meta` can contain double quotes. */
function decodeSocket(text: string, from: number, to: number): SocketPresence {
  const socketEnd = text.indexOf('"', from);
  const nodeEnd = text.indexOf('"', socketEnd + 1);
  if (socketEnd < 0 || nodeEnd < 0 || nodeEnd >= to) throw new TypeError('not a socket');
  const sinceEnd = endOf(text, nodeEnd + 1, to);
  const since = text.slice(nodeEnd + 1, sinceEnd);
  if (!/^[\da-z]+$/.test(since)) throw new TypeError('not a socket');
  const statusEnd = sinceEnd === to ? to : endOf(text, sinceEnd + 1, to);
  const word = text.slice(sinceEnd + 1, statusEnd);
  const socket: SocketPresence = {
    socketId: unescapeId(text.slice(from, socketEnd)),
    nodeId: decodeNodeId(text, socketEnd + 1, nodeEnd),
    status: word === '' ? 'online' : word === IDLE ? 'away' : word,
    connectedAt: new Date(Number.parseInt(since, 36)),
  };
  if (statusEnd < to) socket.meta = JSON.parse(text.slice(statusEnd + 1, to)) as Json;
  return socket;
}

let lastEscapedNodeId = '';
let lastNodeId = '';

/** Thousands of sockets in a row belong to one node: they share one string. */
function decodeNodeId(text: string, from: number, to: number): string {
  if (to - from !== lastEscapedNodeId.length || !text.startsWith(lastEscapedNodeId, from)) {
    lastEscapedNodeId = text.slice(from, to);
    lastNodeId = unescapeId(lastEscapedNodeId);
  }
  return lastNodeId;
}

/** The place of the next double quote, or `to`. */
function endOf(text: string, from: number, to: number): number {
  const at = text.indexOf('"', from);
  return at < 0 || at > to ? to : at;
}

function idOf(socket: SocketPresence): string {
  return socket.socketId;
}

function byConnectedAt(a: SocketPresence, b: SocketPresence): number {
  return a.connectedAt.getTime() - b.connectedAt.getTime() || (a.socketId < b.socketId ? -1 : 1);
}

/** @throws {@link DecodeError} for anything that update-users.lua of this release does not publish. */
export function decodeChange(encoded: unknown): PresenceChange {
  if (!isChange(encoded)) {
    throw new DecodeError(
      'a published presence change cannot be read: another release may have published it',
    );
  }
  const [userId, status, previous, lastSeen, version, sockets] = encoded;
  return { userId, status, previous, lastSeen: new Date(lastSeen), version, sockets };
}

function isChange(value: unknown): value is EncodedChange {
  if (!Array.isArray(value)) return false;
  const [userId, status, previous, lastSeen, version, sockets] = value as unknown[];
  return (
    typeof userId === 'string' &&
    typeof status === 'string' &&
    typeof previous === 'string' &&
    Number.isSafeInteger(lastSeen) &&
    Number.isSafeInteger(version) &&
    Number.isSafeInteger(sockets)
  );
}
