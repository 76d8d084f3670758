import type { ConnectionPeer } from '../server/connection-peer.js';
import type { CrosswsPeer } from './crossws-types.js';

/** Members that the WebSockets of some runtimes have, and crossws has not. */
interface RuntimeSocket {
  readonly readyState?: number;
  pause?(): void;
  resume?(): void;
}

/** A crossws peer as a connection of the handler. */
export class CrosswsConnection implements ConnectionPeer {
  readonly #peer: CrosswsPeer;

  constructor(peer: CrosswsPeer) {
    this.#peer = peer;
  }

  get bufferedAmount(): number | undefined {
    return this.#peer.bufferedAmount;
  }

  get readyState(): number | undefined {
    return this.#socket?.readyState;
  }

  /** `undefined` for adapters that cannot send pings: they inherit a method that does nothing. */
  get ping(): ((data?: string) => void) | undefined {
    return Object.hasOwn(Object.getPrototypeOf(this.#peer), 'ping') ? this.#ping : undefined;
  }

  send(frame: string): void {
    // Some adapters return a number of bytes, 0 too: nothing to conclude from.
    this.#peer.send(frame);
  }

  close(code: number, reason: string): void {
    this.#peer.close(code, reason);
  }

  terminate(): void {
    try {
      this.#peer.terminate?.();
    } catch {
      // In Deno, whose WebSocket has no such method.
      this.#peer.close();
    }
  }

  pause(): void {
    this.#callSocket('pause');
  }

  resume(): void {
    this.#callSocket('resume');
  }

  #callSocket(method: 'pause' | 'resume'): void {
    try {
      this.#socket?.[method]?.();
    } catch {
      // `websocket` is a proxy, which the methods of Bun refuse. Reading does not pause then: too many frames close the
      // connection.
    }
  }

  #ping(data?: string): void {
    this.#peer.ping?.(data);
  }

  get #socket(): RuntimeSocket | undefined {
    return this.#peer.websocket as RuntimeSocket | undefined;
  }
}
