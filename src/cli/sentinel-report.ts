import { messageOf } from '../internal/diagnostics.js';
import type { HostAndPort } from '../redis/cluster-slots.js';
import type { RedisAddress } from './address.js';
import { type Finding, finding } from './finding.js';
import { countOf } from './output.js';
import { RawConnection } from './raw-connection.js';
import { toPairs } from './replies.js';

/** One sentinel's view of the master. */
export interface SentinelView {
  readonly name: string;
  /** Undefined if the sentinel does not answer, or does not know the master. */
  readonly master: ReadonlyMap<string, string> | undefined;
  readonly error?: string;
}

export async function readSentinels(address: RedisAddress, timeout: number): Promise<SentinelView[]> {
  return Promise.all(
    address.nodes.map(async ({ host, port }): Promise<SentinelView> => {
      const name = `${host}:${port}`;
      let raw: RawConnection | undefined;
      try {
        raw = await RawConnection.open({ host, port, tls: address.tls, timeout });
        const [reply] = await raw.send([['SENTINEL', 'MASTER', address.masterName ?? '']]);
        if (reply instanceof Error) throw reply;
        return { name, master: toPairs(reply) };
      } catch (error) {
        return { name, master: undefined, error: messageOf(error) };
      } finally {
        raw?.close();
      }
    }),
  );
}

export function masterOf(views: readonly SentinelView[]): HostAndPort | undefined {
  const master = views.find((view) => view.master !== undefined)?.master;
  return master && { host: master.get('ip') ?? '', port: Number(master.get('port')) };
}

/** `minReplicasToWrite`: the setting of the master, if it is known. */
export function checkSentinels(
  masterName: string,
  views: readonly SentinelView[],
  minReplicasToWrite: string | undefined,
): Finding[] {
  const findings: Finding[] = [];
  const add = (...args: Parameters<typeof finding>) => findings.push(finding(...args));
  for (const { name, error } of views) {
    if (error !== undefined)
      add('error', 'topology', `sentinel ${name}: ${error}`, 'start it, or correct the URL');
  }
  const known = views.flatMap(({ master }) => (master === undefined ? [] : [master]));
  const [first] = known;
  if (first === undefined) return findings;
  const addresses = new Set(known.map((master) => `${master.get('ip')}:${master.get('port')}`));
  if (addresses.size > 1) {
    const text = `the sentinels disagree about the master: ${[...addresses].join(', ')}`;
    add('error', 'topology', text, 'a failover is in progress, or the network is divided: look again');
  }
  const down = known.some((master) => /[so]_down/.test(master.get('flags') ?? ''));
  const sentinels = 1 + Math.max(...known.map((master) => Number(master.get('num-other-sentinels') ?? 0)));
  const replicas = Number(first.get('num-slaves') ?? 0);
  const quorum = Number(first.get('quorum') ?? 0);
  const text = `master ${masterName} at ${[...addresses][0]}, ${countOf(replicas, 'replica')}, ${countOf(sentinels, 'sentinel')}, quorum ${quorum}`;
  if (down)
    add(
      'error',
      'topology',
      `${text}: a sentinel takes the master for dead`,
      'look again after the failover',
    );
  else add('ok', 'topology', text);
  if (sentinels < 3) {
    add(
      'warning',
      'topology',
      `${sentinels} sentinels cannot agree when one of them is gone`,
      'run at least 3',
    );
  }
  if (replicas === 0) {
    add('warning', 'topology', 'the master has no replica: nothing can replace it', 'add a replica');
  }
  const downAfter = Number(first.get('down-after-milliseconds') ?? 0);
  if (downAfter > 20_000) {
    const why = `down-after-milliseconds is ${downAfter}: a failover takes longer than the default lease of 30 s`;
    add('note', 'topology', why, 'lower it, or set a longer lease in PresenceService');
  }
  if (minReplicasToWrite === '0' && replicas > 0) {
    add(
      'note',
      'topology',
      'min-replicas-to-write is 0: a master that is cut off accepts writes that are lost later',
      'min-replicas-to-write 1 and min-replicas-max-lag 10 on every server',
    );
  }
  add(
    'note',
    'failover-detector',
    'ioredis stays with a frozen master unless it is told not to',
    'if the application uses ioredis: new Redis({ …, failoverDetector: true }); redis (node-redis) needs nothing',
  );
  return findings;
}
