import type { MessageContext } from '../pubsub/message-context.js';
import type { FrameEncoder, Notice } from './peer.js';
import type { RoomMessage } from './room-message.js';
import { parseRoomMessage } from './room-message.js';

/** Something on its way to some peers: made into a frame once per format, not once per peer. */
export class EncodedFrame {
  readonly #content: RoomMessage | Notice;
  readonly #isMessage: boolean;
  /** The first one, for nearly always all peers have the same. */
  #format: FrameEncoder | undefined;
  #frame: string | Buffer | undefined;
  #others: Map<FrameEncoder, string | Buffer | undefined> | undefined;

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
  encode(format: FrameEncoder): string | Buffer | undefined {
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

  #made(format: FrameEncoder): string | Buffer | undefined {
    return this.#isMessage
      ? format.message(this.#content as RoomMessage)
      : format.notice(this.#content as Notice);
  }
}

/** A message that was read, and is ready for peers. */
export interface ParsedMessage {
  readonly message: RoomMessage;
  readonly outgoing: EncodedFrame;
}

/**
 * Reads messages: each once, although every peer has a handler of its own. They are called one after the
 * other with one and the same context, so remembering the last one is enough.
 */
export class MessageParser {
  readonly #failed: (channel: string) => void;
  #context: MessageContext | undefined;
  #read: ParsedMessage | undefined;

  constructor(failed: (channel: string) => void) {
    this.#failed = failed;
  }

  /** What `payload` holds; `undefined` when it is no message, which is reported once. */
  read(room: string | undefined, payload: string, context: MessageContext): ParsedMessage | undefined {
    if (context === this.#context) return this.#read;
    this.#context = context;
    this.#read = undefined;
    const message = parseRoomMessage(room, context.position, payload);
    this.#read = message && { message, outgoing: EncodedFrame.message(message) };
    if (message === undefined) this.#failed(context.channel);
    return this.#read;
  }
}
