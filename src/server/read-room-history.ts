import {
  assertPosition,
  isOrigin,
  type Position,
  positionAfter,
  publishedAt as timeOf,
} from '../history/position.js';
import type { HistoryEvent, HistoryFrame, HistoryResult } from '../protocol/frames.js';
import type { HistoryMessage } from '../pubsub/options.js';
import type { RoomEvent } from '../rooms/room-message.js';
import type { RoomService } from '../rooms/room-service.js';
import { RequestError } from './request-error.js';

/** Default page, in events. */
const PAGE = 50;

/** @throws {@link RequestError} `INVALID` for positions that exclude each other; all errors of `RoomService.history`. */
export async function readRoomHistory(
  rooms: Pick<RoomService, 'history'>,
  { room, before, since, around, limit = PAGE }: HistoryFrame,
): Promise<HistoryResult> {
  if ([before, since, around].filter((position) => position !== undefined).length > 1) {
    throw new RequestError('INVALID', 'before, since and around exclude each other');
  }
  if (around !== undefined) return readAround(rooms, room, around, limit);
  if (since !== undefined) {
    const { messages, more, reason } = await rooms.history(room, { since, limit });
    return { events: messages.flatMap(toHistoryEvent), more, ...toDiscontinuity(since, reason) };
  }
  const options = { reverse: true, limit, ...(before === undefined ? {} : { before }) };
  const { messages, more } = await rooms.history(room, options);
  return { events: messages.flatMap(toHistoryEvent), more };
}

/** The event at the position counts as one of the older half. */
async function readAround(
  rooms: Pick<RoomService, 'history'>,
  room: string,
  around: Position,
  limit: number,
): Promise<HistoryResult> {
  assertPosition('around', around);
  const olderLimit = Math.ceil(limit / 2);
  const newerLimit = limit - olderLimit;
  // Both share a round trip.
  const [older, newer] = await Promise.all([
    rooms.history(room, { reverse: true, before: positionAfter(around), limit: olderLimit }),
    // Also for a limit of 1: whether there are newer ones.
    rooms.history(room, { since: around, limit: Math.max(newerLimit, 1) }),
  ]);
  const isKept = older.messages[0]?.position === around || isOrigin(around);
  const messages = [...older.messages.reverse(), ...newer.messages.slice(0, newerLimit)];
  return {
    events: messages.flatMap(toHistoryEvent),
    more: newer.more || newer.messages.length > newerLimit,
    older: older.more,
    // The message after it may be the oldest one that is kept.
    ...toDiscontinuity(around, newer.reason ?? (isKept ? undefined : 'trimmed')),
  };
}

function toDiscontinuity(
  position: Position,
  reason: string | undefined,
): Pick<HistoryResult, 'discontinuity'> {
  if (reason === undefined) return {};
  return { discontinuity: { reason, since: timeOf(position), recovered: false } };
}

/** Empty for payloads of other programs that are no events. */
function toHistoryEvent({ message, position, publishedAt }: HistoryMessage<RoomEvent>): HistoryEvent[] {
  const { event, from, data = null } = (message ?? {}) as Partial<RoomEvent>;
  if (typeof event !== 'string' || event.startsWith('$')) return [];
  return [
    { event, ...(typeof from === 'string' ? { from } : {}), data, position, at: publishedAt.getTime() },
  ];
}
