/** How long, in ms, a stream that has ended may take to send what waits, before it is cut. */
export const FLUSH_TIMEOUT = 30_000;

/** What carries a stream's bytes to the client. */
export interface ResponseWriter {
  /** How many bytes wait to be sent. */
  readonly buffered: number;
  /** Sends some more. */
  write(bytes: Uint8Array): void;
  /** Ends the stream after what waits; cuts it after {@link FLUSH_TIMEOUT}. */
  end(): void;
  /** Resolves when nothing much waits any more, or the client has gone. */
  drained(): Promise<void>;
  /** Calls `gone` when the client goes, or is gone already. */
  onClose(gone: () => void): void;
}
