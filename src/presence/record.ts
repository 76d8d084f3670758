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

/** The value of a socket entry. update-users.lua copies it into the record unchanged. */
export function encodeEntry(status: string, connectedAt: number, meta: string | undefined): string {
  const entry = `"${status}",${connectedAt}`;
  return meta === undefined ? entry : `${entry},${meta}`;
}

/** A record as update-users.lua writes it. `reveal`: also show an invisible user's sockets. */
export function decodeRecord(userId: string, text: string, reveal = false): PresenceData {
  const [status, version, lastSeen, visible, hidden] = JSON.parse(text) as EncodedRecord;
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

/** One change of a published batch. */
export function decodeChange(encoded: unknown): PresenceChange {
  const [userId, status, previous, lastSeen, version, sockets] = encoded as EncodedChange;
  return { userId, status, previous, lastSeen: new Date(lastSeen), version, sockets };
}
