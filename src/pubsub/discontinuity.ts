import type { UnrecoverableReason } from '../history/chain.js';

/**
 * Why messages may be missing.
 *
 * The connection that carried the subscription: `reconnected`, it broke (a network failure, a restart, a
 * failover, an output buffer that ran over) and another has taken its place; `failover`, so it did, and the
 * server is another one or was restarted, and may have lost messages that it had acknowledged (only with
 * history); `unresponsive`, a probe did not come through, so it was given up; `withdrawn`, Redis took the
 * subscription away (the slot of a sharded channel has moved) and it is back.
 *
 * A channel with history: `missed`, a message came whose predecessor had not; `trimmed`, messages are
 * not kept any more; `wiped`, the server knows nothing of before; `forked`, the server has lost messages
 * and went on from before them; `unavailable`, history could not be read.
 *
 * This process: `overflow`, the queue of a `messages()` loop was full.
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

/** A stretch in which messages may have been missed. */
export interface Discontinuity {
  /** Why. */
  readonly reason: DiscontinuityReason;
  /** Up to when all is known to be well. */
  readonly since: Date;
  /**
   * True when everything missed has been delivered after all; only with history. A stretch that was
   * recovered is told of when it is over, any other one at its place among the messages; one by a
   * failover before those that are recovered, for they cannot tell where others are missing.
   */
  readonly recovered: boolean;
}
