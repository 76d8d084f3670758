/**
 * Run id, replication id and previous replication id, joined by ':'; '' if the server does not permit INFO.
 * See read.lua.
 */
export type HistoryServer = string;

const NO_ID = /^0*$/;

/**
 * Same process, and a master without interruption. A server that was demoted and promoted again (A → B → A)
 * keeps its run id, but has the other's replication id as its previous one.
 */
export function isSameServer(before: HistoryServer, now: HistoryServer): boolean {
  if (before === now) return true;
  const [runId, replicationId] = before.split(':');
  const [runIdNow, replicationIdNow, previousId = ''] = now.split(':');
  // A master without replicas for an hour (repl-backlog-ttl) takes a new replication id; it then has no
  // previous one.
  return runId === runIdNow && (replicationId === replicationIdNow || NO_ID.test(previousId));
}

/** The server was a replica before. */
export function wasPromoted(server: HistoryServer): boolean {
  return !NO_ID.test(server.split(':')[2] ?? '');
}

/** As read.lua does. */
export function parseServer(info: string): HistoryServer {
  const field = (name: string) => new RegExp(`^${name}:([0-9a-f]+)`, 'm').exec(info)?.[1] ?? '';
  const runId = field('run_id');
  return runId === '' ? '' : `${runId}:${field('master_replid')}:${field('master_replid2')}`;
}
