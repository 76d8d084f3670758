/**
 * Identifies the server that a page was read from: its run id, replication id and previous replication
 * id, joined by ':'; '' if the server does not permit INFO. See read.lua.
 */
export type HistoryServer = string;

const NO_ID = /^0*$/;

/**
 * True if `now` is the same process as `before`, and has been a master in between without interruption.
 * A server that was demoted and promoted again (A → B → A) has kept its run id, but has adopted the
 * replication id of the other one, and made that its previous one.
 */
export function isSameServer(before: HistoryServer, now: HistoryServer): boolean {
  if (before === now) return true;
  const [runId, replicationId] = before.split(':');
  const [runIdNow, replicationIdNow, previousId = ''] = now.split(':');
  // A master without replicas for an hour (repl-backlog-ttl) takes a new replication id by itself; it
  // then has no previous one.
  return runId === runIdNow && (replicationId === replicationIdNow || NO_ID.test(previousId));
}
