import type { Position } from '../history/position.js';

/** The second argument of a handler. */
export interface MessageContext {
  /** The channel the message was published to. */
  readonly channel: string;
  /** The pattern that matched; only for handlers of a pattern. */
  readonly pattern?: string;
  /** The message's position in the channel's history; only if it was published with history. */
  readonly position?: Position;
  /** The payload before decoding: a string, or a Buffer if the codec is binary. */
  readonly raw: string | Buffer;
}

/** A returned promise is not awaited; a rejection counts as a failure. */
export type RawHandler = (message: unknown, context: MessageContext) => unknown;
