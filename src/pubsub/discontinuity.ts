import type { UnrecoverableReason } from '../history/merge-into-chain.js';

/**
 * Why messages may be missing.
 *
 * The subscriber connection:
 * - `reconnected`: it broke (network failure, restart, failover, output buffer limit) and was replaced.
 * - `failover`: the same, and the server is another one or was restarted: it may have lost messages that it had
 *   acknowledged. Only on channels with history.
 * - `unresponsive`: a probe did not arrive, so the connection was replaced.
 * - `withdrawn`: Redis ended the subscription (the slot of a sharded channel has moved); it is subscribed again.
 *
 * A channel with history:
 * - `missed`: a message arrived whose predecessor had not.
 * - `trimmed`: the messages are no longer kept.
 * - `wiped`: the server has no record of earlier messages.
 * - `forked`: the server has lost messages and continued from before them.
 * - `unavailable`: history could not be read.
 *
 * This process:
 * - `overflow`: the queue of a `messages()` loop was full.
 */
export type DiscontinuityReason =
  | 'reconnected'
  | 'failover'
  | 'unresponsive'
  | 'withdrawn'
  | 'missed'
  | UnrecoverableReason
  | 'unavailable'
  | 'overflow';

/** A period in which messages may have been missed. */
export interface Discontinuity {
  /** Why messages may be missing. */
  readonly reason: DiscontinuityReason;
  /** The last time at which no message was missing. */
  readonly since: Date;
  /**
   * True if every missed message was delivered; only with history. A recovered period is reported after its
   * messages, any other at its place among the messages. A failover is reported before the recovered messages,
   * because they cannot show where others are missing.
   */
  readonly recovered: boolean;
}
