/**
 * One connection of a transport: what {@link createConnectionHandler} needs of it. The WebSockets of `ws`, Bun and Deno
 * have this form. Pass the same object to every call of the handler.
 */
export interface ConnectionPeer {
  /**
   * Sends a text message without waiting. `false`: the buffer is full, which matters for a peer without
   * `bufferedAmount`. Other results are ignored. After an error the connection is closed.
   */
  send(frame: string): unknown;
  /** Starts the end of the connection, with a code of docs/protocol.md. The reason has at most 123 bytes. */
  close(code: number, reason: string): unknown;
  /**
   * Bytes that wait to be sent; a slow consumer is detected by them. Without it and `getBufferedAmount`, bytes count
   * as waiting from a `send` that returns `false` until `drain`; if `send` never does, a slow consumer is not
   * detected.
   */
  readonly bufferedAmount?: number | undefined;
  /** `bufferedAmount` as a function. */
  getBufferedAmount?(): number;
  /** Nothing is sent unless this is 1 (open). @default 1 */
  readonly readyState?: number | undefined;
  /**
   * Sends a ping; the pong repeats `data`. Without it the client's own pings show that it is alive: see
   * `heartbeatInterval`.
   */
  readonly ping?: ((data?: string) => unknown) | undefined;
  /** Cuts the connection at once. @default `close` */
  terminate?(): unknown;
  /**
   * Stops reading, while too many frames of the client wait. Without it a client that sends faster than the application
   * answers is closed with 4529 at 2 MiB.
   */
  pause?(): unknown;
  /** Resumes reading. */
  resume?(): unknown;
}
