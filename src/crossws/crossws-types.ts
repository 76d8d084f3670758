// By shape, so that crossws is not needed for the types, and every version with these members fits.

/** The part of a crossws `Peer` that is used. */
export interface CrosswsPeer {
  /** Request of the handshake. */
  readonly request?: Request;
  /** Data of `upgrade` for this connection. */
  readonly context?: Record<string, unknown>;
  /** Bytes that wait to be sent. */
  readonly bufferedAmount?: number;
  /** The WebSocket of the runtime. */
  readonly websocket?: object;
  /** Sends a message. */
  send(data: string): unknown;
  /** Starts the closing handshake. */
  close(code?: number, reason?: string): unknown;
  /** Cuts the connection. */
  terminate?(): unknown;
  /** Sends a ping. */
  ping?(data?: string): unknown;
}

/** The part of a crossws `Message` that is used. */
export interface CrosswsMessage {
  /** A string for a text frame; with uWebSockets.js an ArrayBuffer for every frame. */
  readonly rawData: unknown;
  /** The content as text. */
  text(): string;
}

/** Hooks for an adapter of crossws. */
export interface CrosswsHooks {
  /** Answers the handshake. */
  upgrade(request: Request): Promise<
    | Response
    | {
        /** `Sec-WebSocket-Protocol`, if the client offers the protocol. */
        headers: Record<string, string>;
        /** Passes the result of the handshake on. */
        context: Record<string, unknown>;
      }
  >;
  /** Attaches the connection. */
  open(peer: CrosswsPeer): void;
  /** Handles a frame of the client. */
  message(peer: CrosswsPeer, message: CrosswsMessage): void;
  /** Shows that the client is alive. */
  ping(peer: CrosswsPeer): void;
  /** Shows that the client is alive, and how far it has read. */
  pong(peer: CrosswsPeer, data?: Uint8Array): void;
  /** Closes a connection whose client broke the WebSocket protocol. */
  error(peer: CrosswsPeer): void;
  /** Detaches the connection. */
  close(peer: CrosswsPeer): void;
}
