import type { IncomingMessage } from 'node:http';

/** The part of a `WebSocketServer` of `ws` that is used; by shape, so that its types fit with every version of `ws`. */
export interface WebSocketServerLike {
  /** Its options; `ws` reads them at every handshake. */
  // biome-ignore lint/suspicious/noExplicitAny: the types of its functions differ from version to version
  readonly options: any;
  /** Adds a listener for connections. */
  on(event: 'connection', listener: (socket: ServerWebSocketLike, request: IncomingMessage) => void): unknown;
  /** Removes a listener. */
  off(
    event: 'connection',
    listener: (socket: ServerWebSocketLike, request: IncomingMessage) => void,
  ): unknown;
}

/** The part of a `WebSocket` of `ws` that is used. */
export interface ServerWebSocketLike {
  /** 1 while it is open. */
  readonly readyState: number;
  /** Bytes that wait to be sent. */
  readonly bufferedAmount: number;
  /** Names of the negotiated extensions, separated by commas. */
  readonly extensions?: string;
  /** Sends one message. */
  send(data: string | Buffer, options: { binary: boolean; compress: boolean }): void;
  /** Sends a ping; the pong repeats `data`. */
  ping(data?: string): void;
  /** Starts the closing handshake. */
  close(code: number, reason: string): void;
  /** Cuts the connection at once. */
  terminate(): void;
  /** Stops reading. */
  pause(): void;
  /** Resumes reading. */
  resume(): void;
  /** Adds a listener for messages, pings, pongs, errors and the end. */
  on(event: string, listener: (...given: never[]) => void): unknown;
}
