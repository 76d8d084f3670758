/** Time in ms to send buffered bytes before the connection is cut. */
export const FLUSH_TIMEOUT = 30_000;

export interface ResponseWriter {
  /** Not yet taken by the client. */
  readonly buffered: number;
  /** The first text. It may wait until the end of this turn of the event loop, for data that is written with it. */
  begin(text: string): void;
  write(data: Uint8Array | string): void;
  /** After the buffered bytes; cuts the connection after {@link FLUSH_TIMEOUT}. */
  end(): void;
  /** Cuts the connection; buffered bytes are lost. */
  destroy(): void;
  /** At once if it is closed already. */
  onClose(listener: () => void): void;
}
