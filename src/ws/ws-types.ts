import type { IncomingMessage } from 'node:http';

/** What is needed of a `WebSocketServer` of `ws`; told by its shape, so that no version of it is imported. */
export interface WebSocketServerLike {
  /** The options it was made with; what is set here counts for the next handshake. */
  // biome-ignore lint/suspicious/noExplicitAny: the types of its functions differ from version to version
  readonly options: any;
  /** Tells of connections. */
  on(event: 'connection', listener: (socket: ServerWebSocketLike, request: IncomingMessage) => void): unknown;
  /** The opposite of `on`. */
  off(
    event: 'connection',
    listener: (socket: ServerWebSocketLike, request: IncomingMessage) => void,
  ): unknown;
}

/** What is needed of a `WebSocket` of `ws`. */
export interface ServerWebSocketLike {
  /** 1 while it is open. */
  readonly readyState: number;
  /** Bytes that wait to be sent. */
  readonly bufferedAmount: number;
  /** Sends one message. */
  send(data: string | Buffer, options: { binary: boolean }): void;
  /** Sends a ping. */
  ping(): void;
  /** Begins the closing handshake. */
  close(code: number, reason: string): void;
  /** Ends it at once. */
  terminate(): void;
  /** Reads no more for now. */
  pause(): void;
  /** Reads again. */
  resume(): void;
  /** Tells of messages, pongs, errors and the end. */
  on(event: string, listener: (...given: never[]) => void): unknown;
}
