/** Time in ms to send buffered bytes before the connection is cut. */
export const FLUSH_TIMEOUT = 30_000;

export interface ResponseWriter {
  /** Not yet taken by the client. */
  readonly buffered: number;
  write(bytes: Uint8Array): void;
  /** After the buffered bytes; cuts the connection after {@link FLUSH_TIMEOUT}. */
  end(): void;
  /** Cuts the connection; buffered bytes are lost. */
  destroy(): void;
  /** At once if it is closed already. */
  onClose(listener: () => void): void;
}
