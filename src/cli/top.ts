import { setTimeout as sleep } from 'node:timers/promises';
import type { PartitionKeys } from '../presence/keys.js';
import type { StoredLayout } from '../presence/partition-layout.js';
import { PubSubService } from '../pubsub/pubsub-service.js';
import type { CliConnection } from './cli-connection.js';
import type { CliCommand } from './command.js';
import { readLeases } from './node-leases.js';
import { formatCount, type Output } from './output.js';
import { parseInfo } from './replies.js';
import { numberOption } from './values.js';

/** Counters since the start, which rates are computed from. */
interface Counters {
  /** Users who came online. */
  connects: number;
  /** Users who went offline. */
  disconnects: number;
  /** Gaps in the subscription of this command. */
  gaps: number;
}

interface ServerCounters {
  /** PUBLISH and SPUBLISH of all clients, also in scripts. */
  readonly publishes: number;
  readonly commands: number;
  /** Connections that did not read fast enough. */
  readonly cutOff: number;
  readonly clients: number;
}

interface Sample {
  readonly at: Date;
  readonly usersOnline: number;
  readonly processes: { readonly alive: number; readonly suspect: number };
  readonly clients: number;
  /** Per second. */
  readonly rates: {
    readonly connects: number;
    readonly disconnects: number;
    readonly publishes: number;
    readonly commands: number;
  };
  /** Since the start of this command. */
  readonly discontinuities: { readonly gaps: number; readonly cutOff: number };
}

export const top: CliCommand = {
  name: 'top',
  args: [],
  summary: 'shows live counts and rates: users, connects, messages, discontinuities',
  endless: true,
  options: {
    interval: { type: 'string', help: 'ms between two samples (default: 2000)' },
    count: { type: 'string', help: 'end after this number of samples' },
  },
  async run({ open, output, values, signal }) {
    const interval = numberOption('interval', values['interval'], 2_000, 100);
    const count = numberOption('count', values['count'], Number.POSITIVE_INFINITY, 1);
    const connection = await open();
    const { keys, layout } = await connection.requirePresence();
    const counters: Counters = { connects: 0, disconnects: 0, gaps: 0 };
    const pubsub = await subscribeToChanges(connection, keys, layout, counters);
    try {
      const first = await readServers(connection);
      let before = { time: performance.now(), server: first, ...counters };
      for (let left = count; left > 0; left--) {
        await sleep(interval, undefined, { signal });
        const server = await readServers(connection);
        const now = { time: performance.now(), server, ...counters };
        const seconds = (now.time - before.time) / 1_000;
        // Counters begin again after a failover.
        const rate = (later: number, earlier: number) =>
          Math.round((Math.max(later - earlier, 0) / seconds) * 10) / 10;
        const leases = await readLeases(connection, keys);
        const alive = leases.filter(({ state }) => state === 'alive').length;
        const sample: Sample = {
          at: new Date(),
          usersOnline: await countOnline(connection, keys),
          processes: { alive, suspect: leases.length - alive },
          clients: server.clients,
          rates: {
            connects: rate(now.connects, before.connects),
            disconnects: rate(now.disconnects, before.disconnects),
            publishes: rate(server.publishes, before.server.publishes),
            commands: rate(server.commands, before.server.commands),
          },
          discontinuities: { gaps: now.gaps, cutOff: Math.max(server.cutOff - first.cutOff, 0) },
        };
        show(sample, connection.url, output);
        before = now;
      }
      return 0;
    } finally {
      await pubsub.close();
    }
  },
};

async function subscribeToChanges(
  connection: CliConnection,
  keys: readonly PartitionKeys[],
  layout: StoredLayout,
  counters: Counters,
): Promise<PubSubService> {
  const pubsub = new PubSubService({
    redis: connection.client,
    timeout: connection.timeout,
    // A user who may only read cannot publish probes.
    probeInterval: 0,
    onError: null,
  });
  const onChanges = (changes: unknown) => {
    if (!Array.isArray(changes)) return;
    for (const [, status, previous] of changes as string[][]) {
      if (status === previous) continue;
      if (previous === 'offline') counters.connects++;
      else if (status === 'offline') counters.disconnects++;
    }
  };
  const options = { sharded: layout.sharded, onDiscontinuity: () => void counters.gaps++ };
  try {
    await Promise.all(keys.map(({ events }) => pubsub.subscribe(events, onChanges, options)));
  } catch (error) {
    await pubsub.close();
    throw error;
  }
  return pubsub;
}

async function countOnline(connection: CliConnection, keys: readonly PartitionKeys[]): Promise<number> {
  const counts = await connection.run(keys.map(({ online }) => ['SCARD', online] as const));
  return counts.reduce<number>((sum, each) => sum + Number(each), 0);
}

async function readServers(connection: CliConnection): Promise<ServerCounters> {
  const masters = await connection.masters();
  const all = await Promise.all(
    masters.map(async ({ key }) => {
      const options = connection.cluster ? { key } : {};
      const sections = ['commandstats', 'stats', 'clients'];
      const replies = await connection.run(
        sections.map((section) => ['INFO', section] as const),
        options,
      );
      const info = parseInfo(replies.map(String).join('\n'));
      const number = (name: string) => Number(info.get(name) ?? 0);
      const calls = (name: string) => Number(/calls=(\d+)/.exec(info.get(`cmdstat_${name}`) ?? '')?.[1] ?? 0);
      return {
        publishes: calls('publish') + calls('spublish'),
        commands: number('total_commands_processed'),
        cutOff: number('client_output_buffer_limit_disconnections'),
        clients: number('connected_clients'),
      };
    }),
  );
  const sum = (name: keyof ServerCounters) => all.reduce((total, each) => total + each[name], 0);
  return {
    publishes: sum('publishes'),
    commands: sum('commands'),
    cutOff: sum('cutOff'),
    clients: sum('clients'),
  };
}

function show(sample: Sample, url: string, output: Output): void {
  if (!output.json && output.terminal) output.clear();
  const { at, usersOnline, processes, rates, discontinuities, clients } = sample;
  output.event(sample, () =>
    output.terminal
      ? [
          `${url}  ${at.toISOString()}  (Ctrl-C ends)`,
          '',
          `users online     ${formatCount(usersOnline)}   +${rates.connects}/s  -${rates.disconnects}/s`,
          `processes        ${processes.alive} alive, ${processes.suspect} suspect`,
          `messages         ${rates.publishes}/s published, by all clients`,
          `commands         ${rates.commands}/s`,
          `connections      ${formatCount(clients)}`,
          `discontinuities  ${discontinuities.gaps} here, ${discontinuities.cutOff} connections cut off as too slow`,
        ].join('\n')
      : `${at.toISOString()}  users ${usersOnline}  +${rates.connects}/s -${rates.disconnects}/s  processes ${processes.alive} alive ${processes.suspect} suspect  messages ${rates.publishes}/s  commands ${rates.commands}/s  connections ${clients}  gaps ${discontinuities.gaps}  cut off ${discontinuities.cutOff}`,
  );
}
