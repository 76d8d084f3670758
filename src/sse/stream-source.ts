import { publishedAt } from '../history/position.js';
import type { Json } from '../internal/codec.js';
import type { StreamPositions, TrackedPosition } from './last-event-id.js';

/** What a source writes to. */
export interface StreamSink {
  /** False once the stream has ended. */
  readonly open: boolean;
  /** How many bytes wait for the client. */
  readonly buffered: number;
  /** Aborts when the stream ends. */
  readonly signal: AbortSignal;
  /** Sends an event, with the id of where the client stands now if `moved`. */
  send(block: Uint8Array, moved: boolean): void;
  /** Sends an event of rollcall's own. */
  sendControl(event: string, data: Json): void;
  /** Ends the stream with a close code. */
  close(code: number, reason: string): unknown;
  /** Resolves when there is room for more, or the stream has ended. */
  drained(): Promise<void>;
}

/** What a stream carries. */
export interface StreamSource {
  /** Where the client stands. */
  readonly places: StreamPositions;
  /** The client has been here before. */
  readonly isResumed: boolean;
  /** Nothing comes any more, whatever happens: what it was made from was closed. */
  readonly ended?: boolean;
  /** Begins to send; resolves with what `$ready` says beside, when from now on nothing is missed. */
  start(sink: StreamSink): Promise<Record<string, Json>>;
  /** Undoes everything. Never rejects. */
  stop(): Promise<void>;
}

/** Says that events between what the client has and what comes now may be missing. */
export function sendDiscontinuity(
  sink: StreamSink,
  where: { channel: string } | { room?: string },
  reason: string,
  place?: Pick<TrackedPosition, 'position'>,
): void {
  const since = place?.position === undefined ? {} : { since: publishedAt(place.position) };
  sink.sendControl('$discontinuity', { ...where, reason, ...since, recovered: false });
}
