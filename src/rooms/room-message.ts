import { type Position, publishedAt } from '../history/position.js';
import type { Json } from '../internal/codec.js';
import {
  DISCONNECT_EVENT,
  type DiscontinuityFrame,
  type ErrorFrame,
  KICK_EVENT,
  type MembersFrame,
  type PositionFrame,
  type PresenceFrame,
  REMOVED_EVENT,
  REVOKE_EVENT,
} from '../protocol/frames.js';
import type { MessageContext } from '../pubsub/message-context.js';

// Payloads of rooms and users become frames: parsed once per process, encoded once per frame format.

/**
 * Payload on a room's or user's channel. rollcall writes the members in this order; payloads of other programs
 * are parsed once per process instead of relayed.
 */
export interface RoomEvent {
  /** Id of a socket that must not receive it. First, so that it is found without parsing. */
  readonly except?: string;
  /** Name of the event. */
  readonly event: string;
  /** Id of the sender; missing if a server sent it. */
  readonly from?: string;
  /** Data of the event. */
  readonly data: Json;
}

/** An event for peers, parsed on demand. */
export class RoomMessage {
  /** An event between servers, or a removed message: peers receive only its position. */
  readonly internal: boolean;
  #parsed: RoomEvent | undefined;

  constructor(
    /** `undefined` for a message to one user. */
    readonly room: string | undefined,
    /** `undefined` if the message is not stored. */
    readonly position: Position | undefined,
    /** The event as JSON: begins with `{"event":` and has no `except`. */
    readonly json: string,
    /** Id of a socket that must not receive it. */
    readonly except: string | undefined,
    /** Read from the history. */
    readonly replayed = false,
  ) {
    this.internal = json.startsWith(OWN_EVENT) && INTERNAL_EVENTS.some((event) => isEvent(json, event));
  }

  /** Time of publishing by Redis's clock, in ms since the epoch; only with a position. */
  get at(): number | undefined {
    return this.position === undefined ? undefined : publishedAt(this.position);
  }

  /** Name of the event. The first access parses `json`. */
  get event(): string {
    return this.#parse().event;
  }

  /** Id of the sender. */
  get from(): string | undefined {
    return this.#parse().from;
  }

  /** Data of the event. */
  get data(): Json {
    return this.#parse().data;
  }

  #parse(): RoomEvent {
    this.#parsed ??= JSON.parse(this.json) as RoomEvent;
    return this.#parsed;
  }
}

const EVENT_PREFIX = '{"event":"';
const OWN_EVENT = `${EVENT_PREFIX}$`;
const INTERNAL_EVENTS = [DISCONNECT_EVENT, KICK_EVENT, REMOVED_EVENT, REVOKE_EVENT];
/** May be data, or written by another program: only parsing shows which. */
const LATE_EXCEPT = '"except"';
const EXCEPT_PREFIX = /^\{"except":("(?:[^"\\]|\\.)*"),(?="event":")/;

/**
 * `undefined` for a payload that is no event. rollcall's own payloads are not parsed; one that only begins like
 * an event is relayed unchanged, and clients ignore it.
 */
export function parseRoomMessage(
  room: string | undefined,
  position: Position | undefined,
  payload: string,
  replayed = false,
): RoomMessage | undefined {
  if (payload.startsWith(EVENT_PREFIX) && !payload.includes(LATE_EXCEPT)) {
    return new RoomMessage(room, position, payload, undefined, replayed);
  }
  const match = EXCEPT_PREFIX.exec(payload);
  if (match !== null) {
    const [prefix, id] = match as unknown as [string, string];
    const except = parseJsonString(id);
    if (except === undefined) return undefined;
    return new RoomMessage(room, position, `{${payload.slice(prefix.length)}`, except, replayed);
  }
  return parseForeignMessage(room, position, payload, replayed);
}

/** Compares with the form that rollcall writes. */
export function isEvent(payload: string, event: string): boolean {
  return payload.startsWith(`${EVENT_PREFIX}${event}"`);
}

function parseForeignMessage(
  room: string | undefined,
  position: Position | undefined,
  payload: string,
  replayed: boolean,
): RoomMessage | undefined {
  let value: Partial<RoomEvent> | null;
  try {
    value = JSON.parse(payload);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null || typeof value.event !== 'string') return undefined;
  const { event, from, data = null, except } = value;
  const json = JSON.stringify(typeof from === 'string' ? { event, from, data } : { event, data });
  return new RoomMessage(room, position, json, typeof except === 'string' ? except : undefined, replayed);
}

/** The text matched a pattern, but may not be valid JSON. */
function parseJsonString(json: string): string | undefined {
  try {
    return JSON.parse(json) as string;
  } catch {
    return undefined;
  }
}

/** Frames besides messages. An error with a room: the server has removed the socket from it. */
export type Notice = DiscontinuityFrame | ErrorFrame | MembersFrame | PositionFrame | PresenceFrame;

/** Encodes frames. Peers with the same encoder object share encoded frames. */
export interface FrameEncoder {
  /** Encodes a message. */
  message(message: RoomMessage): string | Buffer;
  /** `undefined` if peers of this format do not receive it. */
  notice(notice: Notice): string | Buffer | undefined;
}

/** Member of a frame for an event from the history. */
export const REPLAYED = '"replayed":true,';

/** The frames of docs/protocol.md as text. Published JSON is copied without parsing. */
export const textEncoder: FrameEncoder = {
  message({ room, position, at, json, replayed }) {
    let prefix = '{"type":"event",';
    if (room !== undefined) prefix += `"room":${JSON.stringify(room)},`;
    if (position !== undefined) prefix += `"position":"${position}","at":${at},`;
    if (replayed) prefix += REPLAYED;
    return prefix + json.slice(1);
  },
  notice: (notice) => JSON.stringify(notice),
};

/** The frames of {@link textEncoder} as bytes. */
export const jsonEncoder: FrameEncoder = {
  message: (message) => Buffer.from(textEncoder.message(message) as string),
  notice: (notice) => Buffer.from(textEncoder.notice(notice) as string),
};

/** For many peers; encoded once per encoder. */
export class EncodedFrame {
  readonly #encode: (encoder: FrameEncoder) => string | Buffer | undefined;
  /** Nearly always the only encoder, so without a Map. */
  #encoder: FrameEncoder | undefined;
  #frame: string | Buffer | undefined;
  #others: Map<FrameEncoder, string | Buffer | undefined> | undefined;

  private constructor(encode: (encoder: FrameEncoder) => string | Buffer | undefined) {
    this.#encode = encode;
  }

  static message(message: RoomMessage): EncodedFrame {
    return new EncodedFrame((encoder) => encoder.message(message));
  }

  static notice(notice: Notice): EncodedFrame {
    return new EncodedFrame((encoder) => encoder.notice(notice));
  }

  /** If the encoder throws, only the first call throws; later ones return `undefined`. */
  encode(encoder: FrameEncoder): string | Buffer | undefined {
    if (this.#encoder === encoder) return this.#frame;
    if (this.#encoder === undefined) {
      this.#encoder = encoder;
      this.#frame = this.#encode(encoder);
      return this.#frame;
    }
    this.#others ??= new Map();
    if (!this.#others.has(encoder)) {
      this.#others.set(encoder, undefined);
      this.#others.set(encoder, this.#encode(encoder));
    }
    return this.#others.get(encoder);
  }
}

export interface ParsedMessage {
  readonly message: RoomMessage;
  readonly frame: EncodedFrame;
}

/** Parses each message once for all peers: their handlers run one after the other with the same context object. */
export class MessageParser {
  readonly #onUndecodable: (channel: string) => void;
  #context: MessageContext | undefined;
  #parsed: ParsedMessage | undefined;

  constructor(onUndecodable: (channel: string) => void) {
    this.#onUndecodable = onUndecodable;
  }

  /** `undefined` for a payload that is no event; reported once per message. */
  parse(room: string | undefined, payload: string, context: MessageContext): ParsedMessage | undefined {
    if (context === this.#context) return this.#parsed;
    this.#context = context;
    const message = parseRoomMessage(room, context.position, payload, context.replayed);
    this.#parsed = message && { message, frame: EncodedFrame.message(message) };
    if (message === undefined) this.#onUndecodable(context.channel);
    return this.#parsed;
  }
}
