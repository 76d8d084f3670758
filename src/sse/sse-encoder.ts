import type { Position } from '../history/position.js';
import type { FrameEncoder } from '../rooms/peer.js';
import { escapeEventName, formatEvent } from './event-stream-format.js';

/** That a frame is what a place in a history holds. */
export interface PositionUpdate {
  /** `undefined` for what is sent to the user. */
  readonly room: string | undefined;
  readonly position: Position;
}

/**
 * Where a frame moves its reader to. Frames are the same for everybody in a room, and only what is behind an
 * id is: each client stands elsewhere in its other rooms.
 */
const positionUpdates = new WeakMap<Buffer, PositionUpdate>();

/** Where `frame` moves its reader to, if anywhere. */
export function positionUpdateOf(frame: Buffer): PositionUpdate | undefined {
  return positionUpdates.get(frame);
}

/** As the payload begins: a member that is never sent, for it is the event's name. */
const EVENT_NAME = /^\{"event":("[^"\\]*(?:\\.[^"\\]*)*"),/;

/** Rooms as events of a stream. What was published is taken over as it is, unparsed but for its name. */
export const sseEncoder: FrameEncoder = {
  message({ room, position, at, json }) {
    const [head, name] = EVENT_NAME.exec(json) ?? [];
    let frame: Buffer;
    // It only looked like one of ours.
    if (head === undefined || name === undefined) frame = Buffer.from('\n');
    else {
      let start = '{';
      if (room !== undefined) start += `"room":${JSON.stringify(room)},`;
      if (position !== undefined) start += `"position":"${position}","at":${at},`;
      const event = escapeEventName(JSON.parse(name) as string);
      frame = Buffer.from(formatEvent(event, start + json.slice(head.length)));
    }
    if (position !== undefined) positionUpdates.set(frame, { room, position });
    return frame;
  },
  notice(notice) {
    const { type, ...rest } = notice;
    // An id alone is no event, and yet it counts.
    const frame = Buffer.from(type === 'position' ? '\n' : formatEvent(`$${type}`, JSON.stringify(rest)));
    if (notice.type === 'position')
      positionUpdates.set(frame, { room: notice.room, position: notice.position });
    return frame;
  },
};
