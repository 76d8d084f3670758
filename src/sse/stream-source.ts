import { publishedAt } from '../history/position.js';
import type { Json } from '../internal/codec.js';
import type { StreamPositions, TrackedPosition } from './last-event-id.js';

export interface StreamSink {
  /** False once the stream has ended. */
  readonly open: boolean;
  /** Bytes that the client has not taken yet. */
  readonly buffered: number;
  /** Aborts when the stream ends. */
  readonly signal: AbortSignal;
  /** `moved`: with the id of the client's new positions. */
  send(event: Uint8Array, moved: boolean): void;
  /** Sends an event of rollcall's own, such as `$ready`. */
  sendControl(event: string, data: Json): void;
  close(code: number, reason: string): unknown;
  /** Resolves when the buffer has drained, or the stream has ended. */
  drained(): Promise<void>;
}

export interface StreamSource {
  /** The client's position in each channel or room. */
  readonly positions: StreamPositions;
  /** The client sent a last event id. */
  readonly isResumed: boolean;
  /** The service behind the source is closed, so no event can follow. */
  readonly ended?: boolean;
  /** Resolves, once later messages cannot be missed, with further fields of `$ready`. */
  start(sink: StreamSink): Promise<Record<string, Json>>;
  /** Ends subscriptions and memberships. Never rejects. */
  stop(): Promise<void>;
}

/** Sends `$discontinuity`: events after the client's position may be missing. */
export function sendDiscontinuity(
  sink: StreamSink,
  where: { channel: string } | { room?: string },
  reason: string,
  tracked?: Pick<TrackedPosition, 'position'>,
): void {
  const since = tracked?.position === undefined ? {} : { since: publishedAt(tracked.position) };
  sink.sendControl('$discontinuity', { ...where, reason, ...since, recovered: false });
}
