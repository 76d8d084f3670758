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

/** True if the server has been a replica before. */
export function wasPromoted(server: HistoryServer): boolean {
  return !NO_ID.test(server.split(':')[2] ?? '');
}

/** Reads the identity from the text of INFO, as read.lua does. */
export function parseServer(info: string): HistoryServer {
  const field = (name: string) => new RegExp(`^${name}:([0-9a-f]+)`, 'm').exec(info)?.[1] ?? '';
  const runId = field('run_id');
  return runId === '' ? '' : `${runId}:${field('master_replid')}:${field('master_replid2')}`;
}
