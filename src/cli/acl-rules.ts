/** Names in a rule besides commands. */
export interface AclNames {
  readonly user: string;
  /** `prefix` of the presence service. */
  readonly prefix: string;
  /** Channels of the application, as patterns. */
  readonly channels: readonly string[];
  /** `prefix` of the pub/sub service. `channels` contain it. @default '' */
  readonly pubsubPrefix?: string;
  /** Logical database. `channels` contain it. @default 0 */
  readonly database?: number;
}

/** One `ACL SETUSER` line each. */
const APPLICATION = [
  'subscribe unsubscribe psubscribe punsubscribe publish',
  'ssubscribe sunsubscribe spublish',
  'eval evalsha script|load time get set del exists',
  'multi exec setnx mget pexpire hget hgetall hset hdel hlen hexists hscan',
  'sadd srem scard sismember smembers srandmember sscan',
  'zadd zrem zscore zrange zrangebyscore zscan',
  'rpush rpushx rpop lindex llen lpos lrange lset ltrim pexpireat',
  'info config|get',
];

/** Work goes on without them: docs/topologies.md says what is lost. */
const OPTIONAL = ['info', 'config|get'];
/** Redis 7.0 and later. */
const SHARDED = ['ssubscribe', 'sunsubscribe', 'spublish'];

const ON_CLUSTER = 'cluster|slots command|info ping';
const OF_IOREDIS_CLUSTER = 'cluster|info client|setname readonly';
const OF_NODE_REDIS_SENTINEL = 'role';
const IN_OTHER_DATABASE = 'select';

/** Channels of parts that not every application has; a prefix of the pub/sub service belongs before them. */
const NOTIFICATION_CHANNELS = 'notifications:*';
const HTTP_CHANNELS = 'rollcall:http:*';
const SOCKET_IO_CHANNELS = 'rollcall:socket.io:*';

/** Commands sent by the read-only commands of this CLI. */
const READ_ONLY = [
  'ping time info config|get command|info script|exists acl|whoami acl|dryrun',
  'scan dbsize type pttl memory|usage get mget',
  'zrange zscore scard sscan sismember hget hgetall hlen hscan llen lrange lindex lpos',
  'subscribe unsubscribe psubscribe punsubscribe ssubscribe sunsubscribe eval evalsha script|load',
  'cluster|slots cluster|info readonly role client|setname',
];

/** The parts of an application's rules, as docs/topologies.md shows them. */
export interface AclRules {
  readonly always: readonly string[];
  /** Also, on every node of a Cluster. */
  readonly onCluster: readonly string[];
  /** Also, for the Cluster client of ioredis. */
  readonly ofIoredisCluster: readonly string[];
  /** Also, for the Sentinel client of node-redis. */
  readonly ofNodeRedisSentinel: readonly string[];
  /** Also, with a notification service. */
  readonly ofNotifications: readonly string[];
  /** Also, where clients may fall back to HTTP. */
  readonly ofHttpFallback: readonly string[];
  /** Also, with `trackPresence` and its option `pubsub`. */
  readonly ofSocketIo: readonly string[];
  /** Also, in a logical database other than 0. */
  readonly inOtherDatabase: readonly string[];
}

export function applicationRules({ user, prefix, channels, pubsubPrefix = '' }: AclNames): AclRules {
  const add = (commands: string) => setUser(user, ...allow(commands));
  const names = [
    `~{${prefix}:*`,
    '~rollcall:*',
    `&{${prefix}:*`,
    '&rollcall:probe:*',
    ...channels.map(toRule),
  ];
  return {
    always: [setUser(user, 'reset', 'on', '>password'), setUser(user, ...names), ...APPLICATION.map(add)],
    onCluster: [add(ON_CLUSTER)],
    ofIoredisCluster: [add(OF_IOREDIS_CLUSTER)],
    ofNodeRedisSentinel: [add(OF_NODE_REDIS_SENTINEL)],
    ofNotifications: [setUser(user, toRule(pubsubPrefix + NOTIFICATION_CHANNELS))],
    ofHttpFallback: [setUser(user, toRule(pubsubPrefix + HTTP_CHANNELS))],
    ofSocketIo: [setUser(user, toRule(pubsubPrefix + SOCKET_IO_CHANNELS))],
    inOtherDatabase: [add(IN_OTHER_DATABASE)],
  };
}

/**
 * For the commands of this CLI that only read, on any topology. The user may run scripts, but a script may only
 * run the user's own commands, and none of them writes.
 */
export function readOnlyRules({ user, prefix, channels, database = 0 }: AclNames): readonly string[] {
  const names = [`~{${prefix}:*`, '~rollcall:*', `&{${prefix}:*`, ...channels.map(toRule)];
  return [
    setUser(user, 'reset', 'on', '>password'),
    setUser(user, ...names),
    ...[...READ_ONLY, ...(database === 0 ? [] : [IN_OTHER_DATABASE])].map((commands) =>
      setUser(user, ...allow(commands)),
    ),
  ];
}

/** The line that adds what is missing. */
export function addingRule(user: string, missing: readonly string[]): string {
  return setUser(user, ...missing);
}

/** Something that the application needs, as ACL rules name it, and a call that needs it. */
export interface AclNeed {
  /** `+get`, `~rollcall:*`, `&news:*`. */
  readonly rule: string;
  readonly call: readonly string[];
  readonly optional: boolean;
}

/** Does not contain `multi` and `exec`, which a check within a transaction cannot queue. */
export function applicationNeeds(
  { prefix, channels, database = 0 }: Omit<AclNames, 'user'>,
  server: { readonly cluster: boolean; readonly sharded: boolean },
): AclNeed[] {
  const presence = `{${prefix}:0}:doctor`;
  const commands = [...APPLICATION, ...(server.cluster ? [ON_CLUSTER] : [])].flatMap(split);
  const needs = commands
    .filter((name) => server.sharded || !SHARDED.includes(name))
    .filter((name) => name !== 'multi' && name !== 'exec')
    .map((name) => need(`+${name}`, callOf(name, presence, `{${prefix}:0}:events`), OPTIONAL.includes(name)));
  return [
    ...needs,
    ...(database === 0 ? [] : [need('+select', ['SELECT', String(database)])]),
    need(`~{${prefix}:*`, ['GET', presence]),
    need('~rollcall:*', ['GET', 'rollcall:log:{doctor}']),
    need(`&{${prefix}:*`, ['PUBLISH', `{${prefix}:0}:events`, '']),
    need('&rollcall:probe:*', ['PUBLISH', 'rollcall:probe:doctor', '']),
    ...channels.map((channel) => need(toRule(channel), ['PUBLISH', channel.replace(/\*$/, 'doctor'), ''])),
  ];
}

function need(rule: string, call: readonly string[], optional = false): AclNeed {
  return { rule, call, optional };
}

/** Number of arguments after the key of commands that take some. */
const ARGUMENTS: Readonly<Record<string, readonly string[]>> = {
  set: ['0'],
  setnx: ['0'],
  pexpire: ['0'],
  pexpireat: ['0'],
  hget: ['0'],
  hset: ['0', '0'],
  hdel: ['0'],
  hexists: ['0'],
  hscan: ['0'],
  sadd: ['0'],
  srem: ['0'],
  sismember: ['0'],
  sscan: ['0'],
  zadd: ['0', '0'],
  zrem: ['0'],
  zscore: ['0'],
  zrange: ['0', '0'],
  zrangebyscore: ['0', '0'],
  zscan: ['0'],
  rpush: ['0'],
  rpushx: ['0'],
  lindex: ['0'],
  lpos: ['0'],
  lrange: ['0', '0'],
  lset: ['0', '0'],
  ltrim: ['0', '0'],
};

/** Commands that take no key. */
const KEYLESS: Readonly<Record<string, readonly string[]>> = {
  eval: ['return 1', '0'],
  evalsha: ['0', '0'],
  'script|load': ['return 1'],
  time: [],
  info: [],
  'config|get': ['maxmemory-policy'],
  'cluster|slots': [],
  'command|info': ['get'],
  ping: [],
};

function callOf(name: string, key: string, channel: string): string[] {
  const words = name.toUpperCase().split('|');
  if (name.endsWith('publish')) return [...words, channel, ''];
  if (name.endsWith('subscribe')) return [...words, channel];
  return [...words, ...(KEYLESS[name] ?? [key, ...(ARGUMENTS[name] ?? [])])];
}

function toRule(channel: string): string {
  return `&${channel}`;
}

function setUser(user: string, ...words: readonly string[]): string {
  return ['ACL SETUSER', user, ...words].join(' ');
}

function allow(commands: string): string[] {
  return split(commands).map((name) => `+${name}`);
}

function split(commands: string): string[] {
  return commands.split(' ');
}
