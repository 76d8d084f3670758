import type { Position } from '../history/position.js';
import { escapeEventName, formatEvent } from '../http/event-stream-format.js';
import { REPLAYED_COMMENT } from '../protocol/event-parser.js';
import { type FrameEncoder, REPLAYED } from '../rooms/room-message.js';

export interface PositionUpdate {
  /** `undefined` for messages to the user. */
  readonly room: string | undefined;
  readonly position: Position;
}

/**
 * Members of a room share a frame, but each client has its own positions, so the event id is written per client,
 * before the shared frame.
 */
const positionUpdates = new WeakMap<Buffer, PositionUpdate>();

export function positionUpdateOf(frame: Buffer): PositionUpdate | undefined {
  return positionUpdates.get(frame);
}

/** `rollcall/event-stream` reads the mark of replayed events; the browser's `EventSource` does not show it. */
export function formatStreamEvent(event: string, data: string, replayed: boolean): Buffer {
  const text = formatEvent(event, data);
  return Buffer.from(replayed ? `${REPLAYED_COMMENT}\n${text}` : text);
}

/** The first member becomes the event's name; the data omits it. */
const EVENT_NAME = /^\{"event":("[^"\\]*(?:\\.[^"\\]*)*"),/;

/** Published JSON is copied; only the event's name is parsed. */
export const sseEncoder: FrameEncoder = {
  message({ room, position, at, json, replayed }) {
    const [head, name] = EVENT_NAME.exec(json) ?? [];
    let frame: Buffer;
    // A payload of another program: only its position counts.
    if (head === undefined || name === undefined) frame = Buffer.from('\n');
    else {
      let start = '{';
      if (room !== undefined) start += `"room":${JSON.stringify(room)},`;
      if (position !== undefined) start += `"position":"${position}","at":${at},`;
      if (replayed) start += REPLAYED;
      const event = escapeEventName(JSON.parse(name) as string);
      frame = formatStreamEvent(event, start + json.slice(head.length), replayed);
    }
    if (position !== undefined) positionUpdates.set(frame, { room, position });
    return frame;
  },
  notice(notice) {
    const { type, ...rest } = notice;
    // An id without data dispatches no event, but is stored.
    const frame = Buffer.from(type === 'position' ? '\n' : formatEvent(`$${type}`, JSON.stringify(rest)));
    if (notice.type === 'position')
      positionUpdates.set(frame, { room: notice.room, position: notice.position });
    return frame;
  },
};
