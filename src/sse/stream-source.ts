import { publishedAt } from '../history/position.js';
import type { Clock } from '../internal/clock.js';
import type { Json } from '../internal/codec.js';
import type { Lifetime } from '../internal/lifetime.js';
import type { StreamPositions, TrackedPosition } from './last-event-id.js';

export interface StreamSink {
  readonly open: boolean;
  readonly clock: Clock;
  /** Not yet taken by the client. */
  readonly buffered: number;
  /** Of the stream. */
  readonly lifetime: Lifetime;
  /** `moved`: with the id of the new positions. */
  send(event: Uint8Array, moved: boolean): void;
  /** rollcall's own events, such as `$ready`. */
  sendControl(event: string, data: Json): void;
  close(code: number, reason: string): unknown;
}

export interface StreamSource {
  /** The client's position in each channel or room. */
  readonly positions: StreamPositions;
  /** The client sent a last event id. */
  readonly isResumed: boolean;
  /** Its service is closed: no event can follow. */
  readonly ended?: boolean;
  /** Resolves with further fields of `$ready`, once later messages cannot be missed. */
  start(sink: StreamSink): Promise<Record<string, Json>>;
  /** Never rejects. */
  stop(): Promise<void>;
}

/** Events after the client's position may be missing. */
export function sendDiscontinuity(
  sink: StreamSink,
  where: { channel: string } | { room?: string },
  reason: string,
  tracked?: Pick<TrackedPosition, 'position'>,
): void {
  const since = tracked?.position === undefined ? {} : { since: publishedAt(tracked.position) };
  sink.sendControl('$discontinuity', { ...where, reason, ...since, recovered: false });
}
