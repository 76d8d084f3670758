import type { FrameEncoder } from './peer.js';

/** The frames of docs/protocol.md. What was published is taken over as it is, unparsed. */
export const jsonEncoder: FrameEncoder = {
  message({ room, position, at, json }) {
    let head = '{"type":"event",';
    if (room !== undefined) head += `"room":${JSON.stringify(room)},`;
    if (position !== undefined) head += `"position":"${position}","at":${at},`;
    return Buffer.from(head + json.slice(1));
  },
  notice: (notice) => Buffer.from(JSON.stringify(notice)),
};
