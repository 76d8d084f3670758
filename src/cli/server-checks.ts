import { type Finding, finding } from './finding.js';
import { countOf, formatBytes, formatDuration } from './output.js';
import type { ServerReport } from './server-report.js';
import { SCRIPTS } from './server-report.js';

/** In ms. A call of rollcall is one round trip, or two. */
const SLOW_ROUND_TRIP = 50;
/** In ms. */
const MAX_CLOCK_DIFFERENCE = 1_000;
/** One message may have this size (`maxMessageBytes`). */
const MIN_PUBSUB_BUFFER = 1_048_576;
/** Servers from Redis 7.4 on keep this number of scripts sent by EVAL. */
const MANY_SCRIPTS = 500;
const NEARLY_FULL = 0.9;

/** The rules of `doctor` that concern one server. */
export function checkServer(report: ServerReport): Finding[] {
  return [
    ...checkVersion(report),
    ...checkRole(report),
    ...checkLatency(report),
    ...checkEviction(report),
    ...checkOutputBuffers(report),
    ...checkWrites(report),
    ...checkClock(report),
    ...checkScripts(report),
  ];
}

function versionOf(info: ReadonlyMap<string, string>): { name: string; version: string } {
  const valkey = info.get('valkey_version');
  if (valkey !== undefined) return { name: 'Valkey', version: valkey };
  return { name: 'Redis', version: info.get('redis_version') ?? '?' };
}

function isOlder(version: string, major: number, minor: number): boolean {
  const [ofMajor = 0, ofMinor = 0] = version.split('.').map(Number);
  return ofMajor < major || (ofMajor === major && ofMinor < minor);
}

function checkVersion({ name, info }: ServerReport): Finding[] {
  if (info === undefined) {
    const lost =
      'without INFO rollcall does not notice failovers that lost messages, nor that its server became a replica';
    return [finding('warning', 'server', `${name}: INFO is refused: ${lost}`, 'allow +info')];
  }
  const server = versionOf(info);
  const uptime = formatDuration(Number(info.get('uptime_in_seconds') ?? 0) * 1_000);
  const text = `${name}: ${server.name} ${server.version}, up ${uptime}`;
  if (server.name === 'Valkey') return [finding('ok', 'server', text)];
  if (isOlder(server.version, 6, 2)) {
    return [finding('error', 'server', `${text}: rollcall needs Redis 6.2`, 'upgrade the server')];
  }
  if (isOlder(server.version, 7, 0)) {
    return [finding('note', 'server', `${text}: sharded channels need Redis 7.0`)];
  }
  return [finding('ok', 'server', text)];
}

function isReplica({ info }: ServerReport): boolean {
  return info?.get('role') === 'slave';
}

function checkRole(report: ServerReport): Finding[] {
  if (!isReplica(report)) return [];
  const master = `${report.info?.get('master_host')}:${report.info?.get('master_port')}`;
  return [
    finding(
      'error',
      'topology',
      `${report.name} is a replica of ${master}: rollcall reads and writes at the master`,
      'connect to the master, or by Sentinel (--sentinel NAME)',
    ),
  ];
}

function checkLatency({ name, latency }: ServerReport): Finding[] {
  const text = `${name}: ${latency.toFixed(latency < 10 ? 2 : 0)} ms per round trip (median)`;
  if (latency < SLOW_ROUND_TRIP) return [finding('ok', 'latency', text)];
  const action =
    'run the application near Redis; look for slow commands (SLOWLOG GET), swapping and a busy CPU';
  return [finding('warning', 'latency', text, action)];
}

function checkEviction({ name, info, config }: ServerReport): Finding[] {
  const policy = config?.get('maxmemory-policy') ?? info?.get('maxmemory_policy');
  const limit = Number(config?.get('maxmemory') ?? info?.get('maxmemory') ?? Number.NaN);
  const used = Number(info?.get('used_memory') ?? Number.NaN);
  if (policy === undefined) {
    return [
      finding('unknown', 'eviction', `${name}: maxmemory-policy is unknown`, 'allow +config|get or +info'),
    ];
  }
  if (policy !== 'noeviction') {
    return [
      finding(
        'warning',
        'eviction',
        `${name}: maxmemory-policy is ${policy}: when memory is full, Redis drops presence keys first, and users look offline`,
        'CONFIG SET maxmemory-policy noeviction, and the same in the configuration file',
      ),
    ];
  }
  if (!(limit > 0)) return [finding('ok', 'eviction', `${name}: noeviction, no maxmemory`)];
  const text = `${name}: noeviction, ${formatBytes(used)} of ${formatBytes(limit)} in use`;
  if (used < limit * NEARLY_FULL) return [finding('ok', 'eviction', text)];
  const action = 'raise maxmemory, or keep smaller histories (size, ttl): rollcall memory shows the largest';
  return [finding('warning', 'eviction', `${text}: a full server refuses presence writes`, action)];
}

function checkOutputBuffers({ name, info, config }: ServerReport): Finding[] {
  const check = 'output-buffer';
  const setting = config?.get('client-output-buffer-limit');
  const findings: Finding[] = [];
  const match = /\bpubsub (\d+) (\d+) (\d+)/.exec(setting ?? '');
  if (match === null) {
    findings.push(
      finding('unknown', check, `${name}: client-output-buffer-limit is unknown`, 'allow +config|get'),
    );
  } else {
    const [, hard, soft, seconds] = match.map(Number) as [number, number, number, number];
    const smallest = Math.min(hard || Number.POSITIVE_INFINITY, soft || Number.POSITIVE_INFINITY);
    const text = `${name}: a subscriber may lag by ${formatBytes(hard)}, or by ${formatBytes(soft)} for ${seconds} s`;
    const set =
      'CONFIG SET client-output-buffer-limit "pubsub 32mb 8mb 60", and the same in the configuration file';
    if (hard === 0) {
      const why = 'a process that stands still uses memory of Redis without limit';
      findings.push(finding('warning', check, `${name}: no hard limit for subscribers: ${why}`, set));
    } else if (smallest < MIN_PUBSUB_BUFFER) {
      findings.push(finding('warning', check, `${text}: one large message cuts it off`, set));
    } else findings.push(finding('ok', check, text));
  }
  const cut = Number(info?.get('client_output_buffer_limit_disconnections') ?? 0);
  if (cut > 0) {
    const text = `${name}: ${cut} connections cut off since the server started, because they did not read fast enough`;
    findings.push(finding('note', check, text, 'if they are subscribers: look for blocked event loops'));
  }
  return findings;
}

function checkWrites({ name, info }: ServerReport): Finding[] {
  if (info?.get('rdb_last_bgsave_status') !== 'err') return [];
  return [
    finding(
      'error',
      'writes',
      `${name}: the last snapshot failed: Redis refuses writes (MISCONF) unless stop-writes-on-bgsave-error is off`,
      'see the log of the server: mostly the disk is full or fork has no memory',
    ),
  ];
}

function checkClock({ name, clockOffset, clockError }: ServerReport): Finding[] {
  const difference = Math.abs(clockOffset);
  const text = `${name}: clock ${difference < 1 ? 'equal to' : `${formatDuration(difference)} ${clockOffset > 0 ? 'ahead of' : 'behind'}`} this machine's (± ${formatDuration(Math.ceil(clockError))})`;
  if (difference - clockError <= MAX_CLOCK_DIFFERENCE) return [finding('ok', 'clock', text)];
  return [
    finding(
      'warning',
      'clock',
      `${text}: lastSeen, publishedAt and the ends of statuses are by the server's clock`,
      'run NTP on both machines',
    ),
  ];
}

/** Of the masters of a Cluster. */
export function checkClocks(reports: readonly ServerReport[]): Finding[] {
  if (reports.length < 2) return [];
  const offsets = reports.map(({ clockOffset }) => clockOffset);
  const spread = Math.max(...offsets) - Math.min(...offsets);
  const error = 2 * Math.max(...reports.map(({ clockError }) => clockError));
  const text = `clocks of the masters: ${formatDuration(spread)} apart`;
  if (spread - error <= MAX_CLOCK_DIFFERENCE) return [finding('ok', 'clock', text)];
  return [finding('warning', 'clock', text, 'run NTP on all of them')];
}

function checkScripts({ name, info, scripts }: ServerReport): Finding[] {
  if (scripts === undefined) {
    return [finding('unknown', 'scripts', `${name}: SCRIPT EXISTS is refused`, 'allow +script|exists')];
  }
  const cached = Number(info?.get('number_of_cached_scripts') ?? 0);
  const evicted = Number(info?.get('evicted_scripts') ?? 0);
  const text = `${name}: ${scripts} of ${SCRIPTS.length} frequent scripts cached, ${countOf(cached, 'script')} in all`;
  if (evicted === 0 && cached <= MANY_SCRIPTS) return [finding('ok', 'scripts', text)];
  return [
    finding(
      'warning',
      'scripts',
      `${text}${evicted === 0 ? '' : `, ${evicted} evicted`}: a client sends scripts that differ by call, so that others must be sent again`,
      'find the client that puts values into the text of EVAL instead of into ARGV',
    ),
  ];
}
