import type { ServerInfo } from '../redis/server-info.js';

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

/** The same text as read.lua returns. */
export function historyServerOf({ runId, replicationId, previousReplicationId }: ServerInfo): HistoryServer {
  return runId === undefined ? '' : `${runId}:${replicationId ?? ''}:${previousReplicationId ?? ''}`;
}
