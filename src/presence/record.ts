import type { Json } from '../internal/codec.js';
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

/** The value of a socket's field: what settle copies into the record as it stands. */
export function encodeEntry(status: string, connectedAt: number, meta: string | undefined): string {
  const fact = `"${status}",${connectedAt}`;
  return meta === undefined ? fact : `${fact},${meta}`;
}

/** A record as settle wrote it; with `reveal` also what an invisible person hides. */
export function decodeRecord(userId: string, text: string, reveal = false): PresenceData {
  const [status, version, lastSeen, visible, hidden] = JSON.parse(text) as EncodedRecord;
  const revealed = reveal && hidden !== undefined;
  const sockets = (revealed ? hidden : visible).map(decodeSocket);
  if (sockets.length > 1) sockets.sort(byAge);
  return {
    userId,
    status: revealed ? 'invisible' : status,
    lastSeen: new Date(lastSeen),
    socketIds: sockets.map(idOf),
    sockets,
    version,
  };
}

function decodeSocket(packed: EncodedSocket): SocketPresence {
  const socket: SocketPresence = {
    socketId: packed[0],
    nodeId: packed[1],
    status: packed[2],
    connectedAt: new Date(packed[3]),
  };
  if (packed.length > 4) socket.meta = packed[4] as Json;
  return socket;
}

function byAge(a: SocketPresence, b: SocketPresence): number {
  return a.connectedAt.getTime() - b.connectedAt.getTime() || (a.socketId < b.socketId ? -1 : 1);
}

function idOf(socket: SocketPresence): string {
  return socket.socketId;
}

/** One of the changes in an event message. */
export function decodeChange(packed: unknown): PresenceChange {
  const [userId, status, previous, lastSeen, version, sockets] = packed as EncodedChange;
  return { userId, status, previous, lastSeen: new Date(lastSeen), version, sockets };
}
