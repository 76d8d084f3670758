import { messageOf } from '../internal/diagnostics.js';
import { ConnectionError } from '../internal/errors.js';
import type { HostAndPort } from '../redis/cluster-slots.js';
import { splitAddress } from '../redis/cluster-slots.js';
import { databaseSuffix } from '../redis/database.js';
import { addingRule, applicationNeeds, applicationRules, readOnlyRules } from './acl-rules.js';
import type { CliConnection } from './cli-connection.js';
import type { CliCommand, CommandContext } from './command.js';
import { type Finding, finding, type Level } from './finding.js';
import { readLeases } from './node-leases.js';
import { countOf } from './output.js';
import { checkOtherUser, checkOwnUser, type PermissionReport } from './permissions.js';
import { parseInfo } from './replies.js';
import { checkSentinels, masterOf, readSentinels } from './sentinel-report.js';
import { checkClocks, checkServer } from './server-checks.js';
import { readServer, type ServerReport } from './server-report.js';
import { checkStoredData, readStoredData } from './stored-data.js';
import { listOption, numberOption, pubsubPrefix } from './values.js';

/** Rooms and messages to users; only those who use RoomService need them. */
function roomChannels({ values, database }: CommandContext): string[] {
  const suffix = databaseSuffix(database);
  return ['room', 'user'].map((kind) => `${pubsubPrefix(values)}${kind}${suffix}:*`);
}

export const doctor: CliCommand = {
  name: 'doctor',
  args: [],
  summary: 'checks the server, its settings and permissions, and what is stored',
  options: {
    user: { type: 'string', help: 'check the permissions of this ACL user instead of the one in the URL' },
    channels: {
      type: 'string',
      multiple: true,
      help: 'patterns of your channels, for the check of permissions and for --acl (default: room:*,user:*; in database 1 of the URL room@1:*,user@1:*)',
    },
    'pubsub-prefix': {
      type: 'string',
      help: 'prefix of your PubSubService (default: none); patterns in --channels contain it already',
    },
    sample: {
      type: 'string',
      help: 'how many keys to look at for other prefixes and formats (default: 10000)',
    },
    acl: {
      type: 'boolean',
      help: 'print the ACL rules of an application and of this command, without connecting',
    },
  },
  async run(context) {
    return context.values['acl'] === true ? printRules(context) : diagnose(context);
  },
};

function printRules(context: CommandContext): number {
  const { prefix, values, database, output } = context;
  const channels = listOption(values['channels']) ?? roomChannels(context);
  const user = typeof values['user'] === 'string' ? values['user'] : 'app';
  const rules = applicationRules({ user, prefix, channels, pubsubPrefix: pubsubPrefix(values) });
  const readOnly = readOnlyRules({ user: 'rollcall-read', prefix, channels, database });
  output.print({ application: rules, readOnly }, () => [
    '# Your application. In redis-cli; ACL SAVE or CONFIG REWRITE stores the rules.',
    ...rules.always,
    '# On a Cluster also, on every node:',
    ...rules.onCluster,
    '# For the Cluster client of ioredis also:',
    ...rules.ofIoredisCluster,
    '# For the Sentinel client of redis (node-redis) also:',
    ...rules.ofNodeRedisSentinel,
    '# With a NotificationService also:',
    ...rules.ofNotifications,
    '# Where clients may fall back to HTTP (createHttpHandler) also:',
    ...rules.ofHttpFallback,
    '# With trackPresence of rollcall/socket.io and its option pubsub also:',
    ...rules.ofSocketIo,
    `# In a logical database other than 0 also; the URL given here names database ${database}:`,
    ...rules.inOtherDatabase,
    '# From Redis 7.2 on, and on Valkey, also +client|setinfo. Before Redis 7.0 without the line with +ssubscribe.',
    '',
    '# The commands of rollcall that only read, on any topology.',
    ...readOnly,
  ]);
  return 0;
}

async function diagnose(context: CommandContext): Promise<number> {
  const { output, values, prefix } = context;
  const sample = numberOption('sample', values['sample'], 10_000, 1);
  const connection = await context.open();
  const findings: Finding[] = [];
  const masters = await connection.masters();
  const reports = await Promise.all(masters.map((master) => readServer(connection, master)));
  const { findings: topology, nodes } = await checkTopology(connection, reports);
  findings.push(...topology, ...reports.flatMap(checkServer), ...checkClocks(reports));
  findings.push(
    ...(await attempt('permissions', () => checkPermissions(context, connection, reports, nodes))),
    ...(await attempt('format', async () =>
      checkStoredData(prefix, await readStoredData(connection, masters, sample)),
    )),
    ...(await attempt('nodes', () => checkNodes(connection))),
  );
  const count = (level: Level) => findings.filter((each) => each.level === level).length;
  const [errors, warnings] = [count('error'), count('warning')];
  const ok = errors + warnings === 0;
  output.print({ ok, url: connection.url, client: connection.library, errors, warnings, findings }, () => [
    `${connection.url} by ${connection.library}`,
    '',
    ...findings.flatMap((each) => linesOf(each, output)),
    '',
    ok ? 'no problem found' : `errors: ${errors}, warnings: ${warnings}`,
  ]);
  return ok ? 0 : 1;
}

/** A refused command ends one check. A lost connection ends all of them. */
async function attempt(check: string, run: () => Promise<Finding[]>): Promise<Finding[]> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof ConnectionError) throw error;
    return [finding('unknown', check, `not checked: ${messageOf(error)}`)];
  }
}

const STYLE = { ok: 'green', note: 'cyan', unknown: 'magenta', warning: 'yellow', error: 'red' } as const;

function linesOf({ level, check, message, action }: Finding, output: CommandContext['output']): string[] {
  const line = `${output.paint(STYLE[level], level.padEnd(7))}  ${check.padEnd(17)}  ${message}`;
  return action === undefined ? [line] : [line, `${' '.repeat(28)}→ ${action}`];
}

interface TopologyResult {
  readonly findings: Finding[];
  /** Address of the server of each report; undefined if unknown. */
  readonly nodes: readonly (HostAndPort | undefined)[];
}

async function checkTopology(
  connection: CliConnection,
  reports: readonly ServerReport[],
): Promise<TopologyResult> {
  const { address, timeout } = connection;
  const [first] = reports;
  if (address.topology === 'sentinel') {
    const views = await readSentinels(address, timeout);
    const min = first?.config?.get('min-replicas-to-write');
    return { findings: checkSentinels(address.masterName ?? '', views, min), nodes: [masterOf(views)] };
  }
  if (connection.cluster) {
    const nodes = reports.map(({ name }) => splitAddress(name));
    return { findings: await checkCluster(connection, reports), nodes };
  }
  const replicas = Number(first?.info?.get('connected_slaves') ?? 0);
  return {
    findings: [finding('ok', 'topology', `one server, ${countOf(replicas, 'replica')}`)],
    nodes: [address.nodes[0]],
  };
}

async function checkCluster(connection: CliConnection, reports: readonly ServerReport[]): Promise<Finding[]> {
  const [reply] = await connection.attempt([['CLUSTER', 'INFO']]);
  const check = 'topology';
  if (reply instanceof Error) {
    return [finding('unknown', check, `Cluster: ${reply.message}`, 'allow +cluster|info')];
  }
  const info = parseInfo(String(reply));
  const state = info.get('cluster_state');
  const known = Number(info.get('cluster_known_nodes'));
  const text = `Cluster ${state}: ${reports.length} masters, ${known - reports.length} other nodes, ${info.get('cluster_slots_ok')} of 16384 slots served`;
  const findings =
    state === 'ok' && info.get('cluster_slots_fail') === '0'
      ? [finding('ok', check, text)]
      : [
          finding(
            'error',
            check,
            text,
            'redis-cli --cluster check HOST:PORT shows the slots without a master',
          ),
        ];
  for (const { name, info: of } of reports) {
    if (of?.get('connected_slaves') !== '0') continue;
    const lost = `${name} has no replica: if it dies, its users and channels are gone until it is back`;
    findings.push(finding('warning', check, lost, 'add a replica, or restart the one that failed'));
  }
  return findings;
}

async function checkPermissions(
  context: CommandContext,
  connection: CliConnection,
  reports: readonly ServerReport[],
  nodes: readonly (HostAndPort | undefined)[],
): Promise<Finding[]> {
  const { values, prefix, database } = context;
  const given = listOption(values['channels']);
  const guesses = given === undefined ? roomChannels(context) : [];
  const user = values['user'];
  const findings: Finding[] = [];
  for (const [at, report] of reports.entries()) {
    const version = Number(report.info?.get('redis_version')?.split('.')[0] ?? 7);
    const server = { cluster: connection.cluster, sharded: version >= 7 };
    const needs = applicationNeeds({ prefix, channels: given ?? guesses, database }, server);
    const node = nodes[at];
    if (node === undefined) continue;
    const ask = (name: string) => checkOtherUser(connection, report.key, name, needs);
    let checked: PermissionReport;
    if (typeof user === 'string') {
      checked = await ask(user);
    } else {
      checked = await checkOwnUser(connection.address, node, connection.timeout, needs);
      // Without a transaction only ACL DRYRUN tells the rest, where the user may run it.
      if (lacks(checked, '+multi')) checked = await ask(checked.user).catch(() => checked);
    }
    findings.push(...describePermissions(report.name, checked, guesses));
  }
  return findings;
}

/** A user who lacks all of these is no application. */
const READER_LACKS = ['+multi', '+set', '+publish'];

function lacks({ missing }: PermissionReport, rule: string): boolean {
  return missing.some((need) => need.rule === rule);
}

/** `guesses`: channels of which it is not known whether the application uses them. */
function describePermissions(
  server: string,
  report: PermissionReport,
  guesses: readonly string[],
): Finding[] {
  const { user, missing } = report;
  const check = 'permissions';
  if (READER_LACKS.every((rule) => lacks(report, rule))) {
    const text = `${server}: user ${user} may only read; the permissions of the application are not checked`;
    return [finding('unknown', check, text, "name the application's user with --user")];
  }
  const isGuess = (rule: string) => guesses.some((channel) => rule === `&${channel}`);
  const guessed = missing.filter(({ rule }) => isGuess(rule)).map(({ rule }) => rule);
  const optional = missing.filter((need) => need.optional).map(({ rule }) => rule);
  const needed = missing.filter((need) => !need.optional && !isGuess(need.rule)).map(({ rule }) => rule);
  const findings: Finding[] = [];
  const add = (level: Level, rules: readonly string[], why: string) => {
    if (rules.length === 0) return;
    const text = `${server}: user ${user} lacks ${rules.join(' ')}${why}`;
    findings.push(finding(level, check, text, addingRule(user, rules)));
  };
  add('error', needed, '; if the application connects as another user, name it with --user');
  add('warning', optional, ', without which rollcall works but notices less');
  add('note', guessed, ', which RoomService needs');
  if (findings.length === 0) {
    findings.push(
      finding('ok', check, `${server}: user ${user} may use all commands, keys and channels of rollcall`),
    );
  }
  return findings;
}

async function checkNodes(connection: CliConnection): Promise<Finding[]> {
  const presence = await connection.presence().catch(() => undefined);
  // Another finding names the reason.
  if (presence === undefined) return [];
  const leases = await readLeases(connection, presence.keys);
  const suspects = leases.filter(({ state }) => state !== 'alive');
  const text = `${countOf(leases.length - suspects.length, 'process', 'processes')} alive`;
  if (suspects.length === 0) return [finding('ok', 'nodes', text)];
  const names = suspects.map(({ nodeId }) => nodeId).join(', ');
  return [
    finding(
      'warning',
      'nodes',
      `${text}, ${suspects.length} with an expired lease: ${names}`,
      'living processes remove them within a lease; if they stay, no process runs a PresenceService under this prefix',
    ),
  ];
}
