import type { ServerFrame } from '../protocol/frames.js';
import type { ClientDiscontinuity } from './types.js';

export type Recovery = ReturnType<typeof createRecovery>;

/**
 * The position of one stream of events (the user's own, or a room's), and the gap that a lost connection may have left
 * in it. A stream resumes after its position. Where it cannot, the gap is reported before any newer event.
 */
export function createRecovery(
  emitDiscontinuity: (discontinuity: ClientDiscontinuity) => void,
  position?: string,
) {
  /** Events may have been received, so that the next lost connection leaves a gap. */
  let started = false;
  /** Events after this time may be missing, in ms since the epoch; undefined while none is. */
  let gapSince: number | undefined;
  /** The position to resume after; undefined if the stream began, or had no history. */
  let since: string | undefined;
  /** An event arrived after `resume`; its position is newer than the one of the reply. */
  let advanced = false;

  const reportGap = (): void => {
    const since = gapSince;
    gapSince = undefined;
    if (since) emitDiscontinuity({ reason: 'reconnected', since, recovered: false });
  };

  return {
    /** Position of the last event; undefined without history. */
    position: () => position,
    /** The connection that was last heard from at `lostAt` is lost. */
    onConnectionLost(lostAt: number): void {
      if (started) gapSince ??= lostAt;
    },
    /** The position to ask the server for: events after it are missing here. */
    resume(): string | undefined {
      advanced = false;
      since = position;
      return since;
    },
    /** The server has accepted, and the stream continues at `at`. */
    onResumed(at: string | undefined): void {
      if (!advanced) position = at;
      if (!position || !since) reportGap();
      gapSince = undefined;
      started = true;
    },
    /** To be called before the event of the frame is emitted. */
    receive(frame: ServerFrame): void {
      if (frame.type === 'event' && !position) reportGap();
      if ('position' in frame) {
        position = frame.position;
        advanced = true;
      }
      started = true;
      if (frame.type !== 'discontinuity') return;
      // The server's report replaces the client's own.
      gapSince = undefined;
      emitDiscontinuity(frame);
    },
  };
}
