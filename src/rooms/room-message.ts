import { type Position, publishedAt } from '../history/position.js';
import type { Json } from '../internal/codec.js';
import { DISCONNECT_EVENT } from '../protocol/frames.js';

/**
 * What is published on a room's or a user's channel, its members in this order. Others may publish
 * there too; those who write plain JSON in another order cost a parsing per process.
 */
export interface RoomEvent {
  /** The id of the socket that is not to get it; first, so that nobody has to look for it. */
  readonly except?: string;
  /** What happened. */
  readonly event: string;
  /** The user who said it; missing when a server did. */
  readonly from?: string;
  /** What belongs to it. */
  readonly data: Json;
}

/** An event on its way to peers. */
export class RoomMessage {
  /** It is for servers, not for peers. */
  readonly internal: boolean;
  #parsed: RoomEvent | undefined;

  constructor(
    /** The room; `undefined` for what is for one user. */
    readonly room: string | undefined,
    /** Its place in the history, where there is one. */
    readonly position: Position | undefined,
    /** The event as JSON, beginning with `{"event":`, without `except`. */
    readonly json: string,
    /** The socket that is not to get it. */
    readonly except: string | undefined,
  ) {
    this.internal = isEvent(json, DISCONNECT_EVENT);
  }

  /** When it was said, by Redis's clock, in ms since the epoch; only with a position. */
  get at(): number | undefined {
    return this.position === undefined ? undefined : publishedAt(this.position);
  }

  /** What happened; parses the event at the first call. */
  get event(): string {
    return this.#read().event;
  }

  /** The user who said it. */
  get from(): string | undefined {
    return this.#read().from;
  }

  /** What belongs to it. */
  get data(): Json {
    return this.#read().data;
  }

  #read(): RoomEvent {
    this.#parsed ??= JSON.parse(this.json) as RoomEvent;
    return this.#parsed;
  }
}

const EVENT_PREFIX = '{"event":"';
/** Anywhere but at the beginning others wrote it, or it is somewhere in the data. */
const LATE_EXCEPT = '"except"';
const EXCEPT_PREFIX = /^\{"except":("(?:[^"\\]|\\.)*"),(?="event":")/;

/**
 * The message that a payload holds, unparsed where it is as we write it; `undefined` when it is none.
 * A payload that only begins like one is passed on as it is: clients ignore what they can't read.
 */
export function parseRoomMessage(
  room: string | undefined,
  position: Position | undefined,
  payload: string,
): RoomMessage | undefined {
  if (payload.startsWith(EVENT_PREFIX) && !payload.includes(LATE_EXCEPT)) {
    return new RoomMessage(room, position, payload, undefined);
  }
  const excepting = EXCEPT_PREFIX.exec(payload);
  if (excepting !== null) {
    const [head, id] = excepting as unknown as [string, string];
    const except = parseJsonString(id);
    if (except === undefined) return undefined;
    return new RoomMessage(room, position, `{${payload.slice(head.length)}`, except);
  }
  return parseForeignMessage(room, position, payload);
}

function parseForeignMessage(
  room: string | undefined,
  position: Position | undefined,
  payload: string,
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
  return new RoomMessage(room, position, json, typeof except === 'string' ? except : undefined);
}

/** What a JSON string says; `undefined` when it only looks like one. */
function parseJsonString(json: string): string | undefined {
  try {
    return JSON.parse(json) as string;
  } catch {
    return undefined;
  }
}

/** True for a payload, as rollcall writes them, of this event. */
export function isEvent(payload: string, event: string): boolean {
  return payload.startsWith(`${EVENT_PREFIX}${event}"`);
}
