/** The part of a request of `node:http` or `node:http2` that rollcall reads. */
export interface NodeRequest {
  /** `HEAD` is answered with headers only. */
  readonly method?: string | undefined;
  /** May have a parameter `lastEventId`, for clients that cannot set headers. */
  readonly url?: string | undefined;
  /** May have `Last-Event-ID`. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** With 1, the response gets the header `connection: keep-alive`. */
  readonly httpVersionMajor: number;
  /** The connection. */
  readonly socket?: NodeSocket | null;
}

/** The part of a connection of `node:net` that rollcall uses. */
export interface NodeSocket {
  /** True once the connection is closed. */
  readonly destroyed?: boolean;
  /** Adds a listener of `close` that is called once. */
  once(event: string, listener: () => void): unknown;
  /** Removes a listener. */
  off(event: string, listener: () => void): unknown;
}

/** The part of a response of `node:http` or `node:http2` that rollcall uses. */
export interface NodeResponse {
  /** True once the headers were sent; a stream cannot begin then. */
  readonly headersSent: boolean;
  /** True once the connection is closed; `node:http2` has no such property. */
  readonly destroyed?: boolean | undefined;
  /** The HTTP/2 stream; `node:http` has no such property. */
  readonly stream?: {
    /** True once the stream is closed. */
    readonly destroyed: boolean;
  } | null;
  /** Null while earlier responses to pipelined requests occupy the connection. */
  readonly socket?: object | null;
  /** Bytes that wait to be sent. */
  readonly writableLength: number;
  /** Sets a header. */
  setHeader(name: string, value: string | number | readonly string[]): unknown;
  /** Sends the headers. */
  writeHead(status: number): unknown;
  /** Sends bytes; false if the buffer is full. */
  write(bytes: Uint8Array): boolean;
  /** Ends the response. */
  end(): unknown;
  /** Closes the connection without sending the rest. */
  destroy(): unknown;
  /** Adds a listener of `close`, `drain` or `error`. */
  on(event: string, listener: () => void): unknown;
  /** Adds a listener that is called once. */
  once(event: string, listener: () => void): unknown;
}
