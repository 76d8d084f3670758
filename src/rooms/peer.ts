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
  readonly format?: FrameFormat;
}

/** What a peer is told beside messages. */
export type Notice = DiscontinuityFrame | MembersFrame | PositionFrame | PresenceFrame;

/** Makes frames. Peers with the same one share what it makes, so use one object for all. */
export interface FrameFormat {
  /** The frame of a message. */
  message(message: RoomMessage): string | Buffer;
  /** The frame of a notice; `undefined` when peers of this format are not told. */
  notice(notice: Notice): string | Buffer | undefined;
}

/** Something on its way to some peers: made into a frame once per format, not once per peer. */
export class EncodedFrame {
  readonly #content: RoomMessage | Notice;
  readonly #isMessage: boolean;
  /** The first one, for nearly always all peers have the same. */
  #format: FrameFormat | undefined;
  #frame: string | Buffer | undefined;
  #others: Map<FrameFormat, string | Buffer | undefined> | undefined;

  private constructor(content: RoomMessage | Notice, isMessage: boolean) {
    this.#content = content;
    this.#isMessage = isMessage;
  }

  static message(message: RoomMessage): EncodedFrame {
    return new EncodedFrame(message, true);
  }

  static notice(notice: Notice): EncodedFrame {
    return new EncodedFrame(notice, false);
  }

  /** The frame in `format`. What that throws is thrown once; for others of the format there is no frame. */
  encode(format: FrameFormat): string | Buffer | undefined {
    if (this.#format === format) return this.#frame;
    if (this.#format === undefined) {
      this.#format = format;
      this.#frame = this.#made(format);
      return this.#frame;
    }
    this.#others ??= new Map();
    if (!this.#others.has(format)) {
      this.#others.set(format, undefined);
      this.#others.set(format, this.#made(format));
    }
    return this.#others.get(format);
  }

  #made(format: FrameFormat): string | Buffer | undefined {
    return this.#isMessage
      ? format.message(this.#content as RoomMessage)
      : format.notice(this.#content as Notice);
  }
}
