import type { Position } from '../history/position.js';

/** What comes with a message. */
export interface MessageContext {
  /** The channel it was published to. */
  readonly channel: string;
  /** The pattern that matched, for handlers of a pattern. */
  readonly pattern?: string;
  /** Its place in the channel's history, where it was published with one. */
  readonly position?: Position;
  /** The payload as it came, before decoding: text, or a Buffer where the codec is a binary one. */
  readonly raw: string | Buffer;
}

/** Gets a message; a rejected promise counts as a failure, and nobody waits for it. */
export type RawHandler = (message: unknown, context: MessageContext) => unknown;
