import type { Json } from '../internal/codec.js';
import { messageOf } from '../internal/diagnostics.js';
import { DecodeError } from '../internal/errors.js';
import { unescapeId } from './ids.js';
import type { PresenceChange, PresenceData, SocketPresence } from './types.js';

/** Version mark of everything stored per user and room; see update-users.lua and update-rooms.lua. */
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

/** The part of an entry behind the time of registration, which update-users.lua adds. `meta`: JSON text. */
export function encodeTtlEntry(status: string, meta: string | undefined): string {
  const word = status === 'online' ? '' : status;
  if (meta !== undefined) return `"${word}"${meta}`;
  return word === '' ? '' : `"${word}`;
}

/** The stored time of registration, which identifies the registration. */
export function encodeRegistration(connectedAt: number): string {
  return connectedAt.toString(36);
}

/** `until`: 0 without an end. */
export function encodeOwnStatus(status: string, until: number): string {
  return `${status}"${until}`;
}

const HEADER = /^2([^"]*)"(\d+)"(\d*)(?:"h(\d*))?$/;

/**
 * End of invisibility in ms; 0: none. `undefined`: a visible user. On the path of every write, so it checks the
 * beginning first.
 */
export function hiddenUntil(record: string): number | undefined {
  if (!record.startsWith('2offline"')) return undefined;
  const end = record.indexOf('\n');
  const until = HEADER.exec(end < 0 ? record : record.slice(0, end))?.[4];
  return until === undefined ? undefined : Number(until);
}

/** True if the record lists a socket of a node for which `isOwn` is true. */
export function listsSocketOf(record: string, isOwn: (nodeId: string) => boolean): boolean {
  return record
    .split('\n')
    .slice(1)
    .some((line) => isOwn(splitLine(line)[1]));
}

/**
 * `reveal`: also the sockets and status of an invisible user.
 *
 * @throws {@link DecodeError} for text that update-users.lua of this release does not write.
 */
export function decodeRecord(userId: string, text: string, reveal = false): PresenceData {
  const [header, ...lines] = text.split('\n') as [string, ...string[]];
  const match = HEADER.exec(header);
  if (match === null) throw unreadable(userId, 'unknown format');
  const [, status, version, lastSeen, hidden] = match as unknown as [
    string,
    string,
    string,
    string,
    string | undefined,
  ];
  let sockets: SocketPresence[];
  try {
    sockets = hidden === undefined || reveal ? lines.map(decodeSocket) : [];
  } catch (cause) {
    throw unreadable(userId, messageOf(cause), cause);
  }
  if (sockets.length > 1) sockets.sort(byConnectedAt);
  return {
    userId,
    status: hidden !== undefined && reveal ? 'invisible' : status,
    lastSeen: new Date(Number(lastSeen === '' ? version.slice(0, -3) : lastSeen)),
    socketIds: sockets.map(idOf),
    sockets,
    version: Number(version),
  };
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

function decodeSocket(line: string): SocketPresence {
  const [socketId, nodeId, since, word = '', meta] = splitLine(line);
  if (since === undefined || !/^[\da-z]+$/.test(since)) throw new TypeError('not a socket');
  const socket: SocketPresence = {
    socketId: unescapeId(socketId),
    nodeId: unescapeId(nodeId),
    status: word === '' ? 'online' : word === IDLE ? 'away' : word,
    connectedAt: new Date(Number.parseInt(since, 36)),
  };
  if (meta !== undefined) socket.meta = JSON.parse(meta) as Json;
  return socket;
}

/** socket"node"since["status["meta]]; only `meta` can contain double quotes. */
function splitLine(line: string): [string, string, string?, string?, string?] {
  const parts: string[] = [];
  let from = 0;
  while (parts.length < 4) {
    const at = line.indexOf('"', from);
    if (at < 0) break;
    parts.push(line.slice(from, at));
    from = at + 1;
  }
  parts.push(line.slice(from));
  return parts as [string, string, string?, string?, string?];
}

function byConnectedAt(a: SocketPresence, b: SocketPresence): number {
  return a.connectedAt.getTime() - b.connectedAt.getTime() || (a.socketId < b.socketId ? -1 : 1);
}

function idOf(socket: SocketPresence): string {
  return socket.socketId;
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
