import type { Position } from '../history/position.js';

/** The second argument of a handler. */
export interface MessageContext {
  /** The channel the message was published to. */
  readonly channel: string;
  /** The pattern that matched; only for handlers of a pattern. */
  readonly pattern?: string;
  /** The message's position in the channel's history; only if it was published with history. */
  readonly position?: Position;
  /**
   * The message was read from the history: the handler begins at an earlier position, or messages were missed. Missing for
   * messages that arrived live, also if they waited until the history was read.
   */
  readonly replayed?: true;
  /** The payload before decoding: a string, or a Buffer if the codec is binary. */
  readonly raw: string | Buffer;
}

/** A returned promise is not awaited; a rejection counts as a failure. */
export type RawHandler = (message: unknown, context: MessageContext) => unknown;
