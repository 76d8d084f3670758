import { jsonEncoder } from '../rooms/room-message.js';
import type { ConnectionPeer } from '../server/connection-peer.js';
import type { TransportEncoder } from '../server/peer-adapter.js';
import type { ServerWebSocketLike } from './ws-types.js';

/** Compressed messages would wait for zlib inside `ws`, where they count as unread. */
const TEXT_FRAME = { binary: false, compress: false };

/** Bytes of a message, which `ws` frames, are shared by all peers. */
export const socketEncoder: TransportEncoder = { ...jsonEncoder, encode: (text) => text };

/** Sends through `ws`, where frames cannot be written to the TCP socket. */
export class SocketPeer implements ConnectionPeer {
  readonly #socket: ServerWebSocketLike;

  constructor(socket: ServerWebSocketLike) {
    this.#socket = socket;
  }

  get bufferedAmount(): number {
    return this.#socket.bufferedAmount;
  }

  get readyState(): number {
    return this.#socket.readyState;
  }

  send(frame: string | Buffer): void {
    this.#socket.send(frame, TEXT_FRAME);
  }

  ping(data?: string): void {
    this.#socket.ping(data);
  }

  close(code: number, reason: string): void {
    this.#socket.close(code, reason);
  }

  terminate(): void {
    this.#socket.terminate();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }
}
