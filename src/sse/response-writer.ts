/** Time in ms for an ended stream to send its buffered bytes before the connection is cut. */
export const FLUSH_TIMEOUT = 30_000;

export interface ResponseWriter {
  /** Bytes that the client has not taken yet. */
  readonly buffered: number;
  write(bytes: Uint8Array): void;
  /** Ends the response after the buffered bytes; cuts it after {@link FLUSH_TIMEOUT}. */
  end(): void;
  /** Resolves when the buffer has drained, or the connection has closed. */
  drained(): Promise<void>;
  /** Calls `listener` once the connection closes, at once if it is closed already. */
  onClose(listener: () => void): void;
}
