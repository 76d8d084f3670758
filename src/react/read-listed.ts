import type { ClientDiscontinuity, HistoryEvent, Room } from '../client/index.js';

/** Limit of the server, in events. */
const MAX_PAGE = 1_000;

export interface ListedRequest {
  /** `before`: from newer to older events. */
  readonly direction: 'before' | 'since';
  /** Start position; undefined: the latest event. */
  readonly position: string | undefined;
  /** Counts events that are listed; at least 1. */
  readonly limit: number;
  /** Only some events of a page are listed, so that large pages are read. */
  readonly isSelective: boolean;
  readonly isListed: (event: HistoryEvent) => boolean;
}

export interface ListedEvents {
  /** In the order of the direction. */
  readonly events: readonly HistoryEvent[];
  /** Start position of the next call. */
  readonly end: string | undefined;
  /** There are further events in this direction. */
  readonly more: boolean;
  /** Events may be missing before the first of these. */
  readonly discontinuity: ClientDiscontinuity | undefined;
}

/** Reads pages of the room's history until `limit` events are listed. */
export async function readListed(room: Room, request: ListedRequest): Promise<ListedEvents> {
  const { direction, limit, isSelective, isListed } = request;
  const events: HistoryEvent[] = [];
  let end = request.position;
  let more = true;
  let discontinuity: ClientDiscontinuity | undefined;
  while (more && events.length < limit) {
    const missing = limit - events.length;
    const page = await room.history({
      limit: isSelective ? MAX_PAGE : missing,
      ...(end !== undefined && { [direction]: end }),
    });
    discontinuity ??= page.discontinuity;
    const listed = page.events.filter(isListed);
    const taken = listed.slice(0, missing);
    events.push(...taken);
    const isCut = listed.length > taken.length;
    // The next call reads the events of this page beyond `limit` again.
    const last = (isCut ? taken : page.events).at(-1);
    // Without any event, the next page would be the same.
    more = isCut || (page.more && last !== undefined);
    end = last?.position ?? end;
  }
  return { events, end, more, discontinuity };
}
