import type { Json } from '../internal/codec.js';
import { messageOf } from '../internal/diagnostics.js';
import { DecodeError } from '../internal/errors.js';
import type { PresenceChange, PresenceData, SocketPresence } from './types.js';

type EncodedSocket = [socketId: string, nodeId: string, status: string, connectedAt: number, meta?: Json];
type EncodedRecord = [
  status: string,
  version: number,
  lastSeen: number,
  sockets: EncodedSocket[],
  hidden?: EncodedSocket[],
];
type EncodedChange = [
  userId: string,
  status: string,
  previous: string,
  lastSeen: number,
  version: number,
  sockets: number,
];

/** The value of a socket entry. update-users.lua copies it into the record unchanged. */
export function encodeEntry(status: string, connectedAt: number, meta: string | undefined): string {
  const entry = `"${status}",${connectedAt}`;
  return meta === undefined ? entry : `${entry},${meta}`;
}

/**
 * A record as update-users.lua writes it. `reveal`: also show an invisible user's sockets.
 *
 * @throws {@link DecodeError} for any other text: it is damaged, or of another release.
 */
export function decodeRecord(userId: string, text: string, reveal = false): PresenceData {
  const [status, version, lastSeen, visible, hidden] = parseRecord(userId, text);
  const revealed = reveal && hidden !== undefined;
  const sockets = (revealed ? hidden : visible).map(decodeSocket);
  if (sockets.length > 1) sockets.sort(byConnectedAt);
  return {
    userId,
    status: revealed ? 'invisible' : status,
    lastSeen: new Date(lastSeen),
    socketIds: sockets.map(idOf),
    sockets,
    version,
  };
}

function parseRecord(userId: string, text: string): EncodedRecord {
  let record: unknown;
  try {
    record = JSON.parse(text);
  } catch (cause) {
    throw unreadable(userId, messageOf(cause), cause);
  }
  if (!isRecord(record)) throw unreadable(userId, 'unknown format');
  return record;
}

function isRecord(value: unknown): value is EncodedRecord {
  if (!Array.isArray(value)) return false;
  const [status, version, lastSeen, visible, hidden] = value as unknown[];
  return (
    typeof status === 'string' &&
    Number.isSafeInteger(version) &&
    Number.isSafeInteger(lastSeen) &&
    isSocketList(visible) &&
    (hidden === undefined || isSocketList(hidden))
  );
}

function isSocketList(value: unknown): value is EncodedSocket[] {
  return Array.isArray(value) && value.every(isSocket);
}

function isSocket(value: unknown): value is EncodedSocket {
  if (!Array.isArray(value)) return false;
  const [socketId, nodeId, status, connectedAt] = value as unknown[];
  return (
    typeof socketId === 'string' &&
    typeof nodeId === 'string' &&
    typeof status === 'string' &&
    Number.isSafeInteger(connectedAt)
  );
}

function unreadable(userId: string, why: string, cause?: unknown): DecodeError {
  return new DecodeError(
    `the presence record of user ${JSON.stringify(userId)} cannot be read (${why}): it is damaged, or was written by another release`,
    { cause },
  );
}

function decodeSocket(encoded: EncodedSocket): SocketPresence {
  const socket: SocketPresence = {
    socketId: encoded[0],
    nodeId: encoded[1],
    status: encoded[2],
    connectedAt: new Date(encoded[3]),
  };
  if (encoded.length > 4) socket.meta = encoded[4] as Json;
  return socket;
}

function byConnectedAt(a: SocketPresence, b: SocketPresence): number {
  return a.connectedAt.getTime() - b.connectedAt.getTime() || (a.socketId < b.socketId ? -1 : 1);
}

function idOf(socket: SocketPresence): string {
  return socket.socketId;
}

/**
 * One change of a published batch.
 *
 * @throws {@link DecodeError} for anything that update-users.lua of this release does not publish.
 */
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
