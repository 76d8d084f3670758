import type { CliCommand } from './command.js';

/** Options of all commands. */
export const GENERAL_OPTIONS: CliCommand['options'] = {
  prefix: { type: 'string', help: "prefix of your PresenceService (default: 'rollcall')" },
  cluster: { type: 'boolean', help: 'the URLs are nodes of a Cluster' },
  sentinel: { type: 'string', help: 'the URLs are sentinels, and this is the name of their master' },
  client: { type: 'string', help: 'redis or ioredis (default: the first one that your project has)' },
  timeout: { type: 'string', help: 'limit of every call, in ms (default: 5000)' },
  json: { type: 'boolean', help: 'print JSON' },
  help: { type: 'boolean', short: 'h', help: 'print help' },
  version: { type: 'boolean', help: 'print the version' },
};

export function generalHelp(commands: readonly CliCommand[]): string {
  return [
    'rollcall COMMAND [ARGUMENT …] [URL …] [OPTION …]',
    '',
    ...columns(commands.map((command) => [[command.name, ...command.args].join(' '), command.summary])),
    '',
    'Options of all commands:',
    ...columns(optionLines(GENERAL_OPTIONS)),
    '',
    'URL: redis://user:password@host:6379/0, rediss:// for TLS, redis+sentinel://host:26379/mymaster,',
    'redis+cluster://host:7000,host:7001. Several URLs are nodes of a Cluster, or with --sentinel its sentinels.',
    'Without a URL: REDIS_URL, or redis://127.0.0.1:6379.',
    '',
    'Exit status: 0 fine; 1 something is wrong, or the command failed; 2 wrong usage.',
    'rollcall help COMMAND shows the options of a command.',
  ].join('\n');
}

export function commandHelp(command: CliCommand): string {
  const options = optionLines(command.options);
  return [
    `rollcall ${[command.name, ...command.args].join(' ')} [URL …] [OPTION …]`,
    '',
    `${command.summary}.`,
    ...(options.length === 0 ? [] : ['', 'Options:', ...columns(options)]),
    '',
    'Options of all commands: see rollcall --help.',
  ].join('\n');
}

function optionLines(options: CliCommand['options']): [string, string][] {
  return Object.entries(options).map(([name, { type, help }]) => [
    `--${name}${type === 'string' ? ` ${name === 'sentinel' ? 'NAME' : 'VALUE'}` : ''}`,
    help,
  ]);
}

function columns(rows: readonly (readonly [string, string] | string[])[]): string[] {
  const width = Math.max(...rows.map(([left = '']) => left.length));
  return rows.map(([left = '', right = '']) => `  ${left.padEnd(width)}  ${right}`);
}
