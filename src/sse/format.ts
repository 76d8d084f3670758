import type { Position } from '../history/position.js';
import type { FrameFormat } from '../rooms/peer.js';
import { eventBlock, eventName } from './encode.js';

/** That a frame is what a place in a history holds. */
export interface Moved {
  /** `undefined` for what is sent to the user. */
  readonly room: string | undefined;
  readonly position: Position;
}

/**
 * Where a frame moves its reader to. Frames are the same for everybody in a room, and only what is behind an
 * id is: each client stands elsewhere in its other rooms.
 */
const moves = new WeakMap<Buffer, Moved>();

/** Where `frame` moves its reader to, if anywhere. */
export function movedBy(frame: Buffer): Moved | undefined {
  return moves.get(frame);
}

/** As the payload begins: a member that is never sent, for it is the event's name. */
const NAME = /^\{"event":("[^"\\]*(?:\\.[^"\\]*)*"),/;

/** Rooms as events of a stream. What was published is taken over as it is, unparsed but for its name. */
export const sseFormat: FrameFormat = {
  message({ room, position, at, json }) {
    const [head, name] = NAME.exec(json) ?? [];
    let frame: Buffer;
    // It only looked like one of ours.
    if (head === undefined || name === undefined) frame = Buffer.from('\n');
    else {
      let start = '{';
      if (room !== undefined) start += `"room":${JSON.stringify(room)},`;
      if (position !== undefined) start += `"position":"${position}","at":${at},`;
      const event = eventName(JSON.parse(name) as string);
      frame = Buffer.from(eventBlock(event, start + json.slice(head.length)));
    }
    if (position !== undefined) moves.set(frame, { room, position });
    return frame;
  },
  notice(notice) {
    const { type, ...rest } = notice;
    // An id alone is no event, and yet it counts.
    const frame = Buffer.from(type === 'position' ? '\n' : eventBlock(`$${type}`, JSON.stringify(rest)));
    if (notice.type === 'position') moves.set(frame, { room: notice.room, position: notice.position });
    return frame;
  },
};
