import type { ServerFrame } from '../protocol/frames.js';
import type { ClientDiscontinuity } from './types.js';

export type Recovery = ReturnType<typeof createRecovery>;

/**
 * Position of one stream of events (the user's own, or a room's), and the gap of a lost connection. A gap that
 * cannot be recovered is reported before any newer event.
 */
export function createRecovery(emitGap: (discontinuity: ClientDiscontinuity) => void, position?: string) {
  /** Events may have been received: the next lost connection leaves a gap. */
  let started = false;
  /** In ms since the epoch; undefined without a gap. */
  let gapSince: number | undefined;
  /** The position to resume after; undefined if the stream began, or had no history. */
  let since: string | undefined;
  /** An event arrived after `resume`: its position is newer than that of the reply. */
  let advanced = false;

  const reportGap = (): void => {
    const since = gapSince;
    gapSince = undefined;
    if (since) emitGap({ reason: 'reconnected', since, recovered: false });
  };

  return {
    /** Undefined without history. */
    position: () => position,
    onLost(lostAt: number): void {
      if (started) gapSince ??= lostAt;
    },
    /** The position to send to the server. */
    resume(): string | undefined {
      advanced = false;
      since = position;
      return since;
    },
    /** The stream continues at `at`. */
    onResumed(at: string | undefined): void {
      if (!advanced) position = at;
      if (!position || !since) reportGap();
      gapSince = undefined;
      started = true;
    },
    /** Call it before the event is emitted. */
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
      emitGap(frame);
    },
  };
}
