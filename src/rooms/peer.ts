import type { DiscontinuityFrame, MembersFrame, PositionFrame, PresenceFrame } from '../protocol/frames.js';
import type { RoomMessage } from './room-message.js';

/**
 * One connection to a person, whatever carries it: a WebSocket, an event stream, a test's array.
 */
export interface Peer {
  /** Sends a frame, as `format` makes them. Called for every message: it must not wait, nor parse. */
  send(frame: string | Buffer): void;
  /** Ends the connection; `code` is one of the protocol's close codes. */
  close(code: number, reason: string): void;
  /** How many bytes wait to be sent: what tells a slow reader. */
  readonly bufferedAmount: number;
  /** What its frames look like. @default the JSON of docs/protocol.md, as Buffers */
  readonly format?: FrameEncoder;
}

/** What a peer is told beside messages. */
export type Notice = DiscontinuityFrame | MembersFrame | PositionFrame | PresenceFrame;

/** Makes frames. Peers with the same one share what it makes, so use one object for all. */
export interface FrameEncoder {
  /** The frame of a message. */
  message(message: RoomMessage): string | Buffer;
  /** The frame of a notice; `undefined` when peers of this format are not told. */
  notice(notice: Notice): string | Buffer | undefined;
}
