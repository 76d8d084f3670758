import type { Reply } from './driver.js';

/** From INFO. A field is undefined if the server does not report it, or does not permit INFO. */
export interface ServerInfo {
  readonly replica: boolean;
  /** New for each process of a server. */
  readonly runId: string | undefined;
  readonly replicationId: string | undefined;
  /** All zeros unless the server was a replica before. */
  readonly previousReplicationId: string | undefined;
  /** In seconds. */
  readonly uptime: number;
}

export const INFO_SECTIONS = ['server', 'replication'] as const;

export function parseServerInfo(sections: readonly Reply[]): ServerInfo {
  const text = sections.map(String).join('\n');
  const field = (name: string) => new RegExp(`^${name}:(\\w+)`, 'm').exec(text)?.[1];
  return {
    replica: isReplicaRole(field('role')),
    runId: field('run_id'),
    replicationId: field('master_replid'),
    previousReplicationId: field('master_replid2'),
    uptime: Number(field('uptime_in_seconds') ?? 0),
  };
}

export function isReplicaRole(role: string | undefined): boolean {
  return role === 'slave' || role === 'replica';
}
