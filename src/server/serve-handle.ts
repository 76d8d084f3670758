import type { ServeCloseOptions, ServeStats } from './options.js';

/** Handle of a served transport. */
export interface ServeHandle {
  /** Counters and gauges. */
  stats(): ServeStats;
  /**
   * Closes all connections with 1012 (service restart) and accepts no new ones; resolves when all sockets are
   * detached. Does not close the transport's own server. Repeated calls return the same promise.
   *
   * @throws `InvalidArgumentError` for an option out of range; no connection is closed.
   */
  close(options?: ServeCloseOptions): Promise<void>;
  /** Calls `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}
