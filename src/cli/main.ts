import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { messageOf } from '../internal/diagnostics.js';
import { isRollcallError } from '../internal/errors.js';
import { prefixOption } from '../internal/validate.js';
import { hidePassword, looksLikeUrl, parseAddress } from './address.js';
import { CliConnection } from './cli-connection.js';
import type { CliCommand, OptionConfig, OptionValue } from './command.js';
import { doctor } from './doctor.js';
import { drain } from './drain.js';
import { forget } from './forget.js';
import { commandHelp, GENERAL_OPTIONS, generalHelp } from './help.js';
import { kick } from './kick.js';
import { memory } from './memory.js';
import { nodes } from './nodes.js';
import { LIBRARIES, type Library } from './open-client.js';
import { Output } from './output.js';
import { room } from './room.js';
import { tail } from './tail.js';
import { top } from './top.js';
import { CliError, UsageError } from './usage-error.js';
import { asUsage, numberOption } from './values.js';
import { who } from './who.js';

const COMMANDS: readonly CliCommand[] = [doctor, nodes, who, room, top, tail, memory, kick, drain, forget];

const DEFAULT_URL = 'redis://127.0.0.1:6379';

/** Exit statuses. */
const FAILED = 1;
const WRONG_USAGE = 2;

interface Invocation {
  readonly interruption: AbortController;
  /** Once it is known. */
  command?: CliCommand;
}

/** Runs a command line, without the names of Node and the script; resolves with the exit status. */
export async function main(argv: readonly string[]): Promise<number> {
  const invocation: Invocation = { interruption: new AbortController() };
  try {
    return await run(argv, invocation);
  } catch (error) {
    if (invocation.interruption.signal.aborted) return 0;
    process.stderr.write(`rollcall: ${describe(error, invocation.command)}\n`);
    if (process.env['ROLLCALL_DEBUG'] === '1') process.stderr.write(`${(error as Error).stack}\n`);
    return error instanceof UsageError ? WRONG_USAGE : FAILED;
  }
}

async function run(argv: readonly string[], invocation: Invocation): Promise<number> {
  const { values, positionals } = parse(argv);
  const urls = positionals.filter(looksLikeUrl);
  const [name, ...args] = positionals.filter((each) => !looksLikeUrl(each));
  if (values['version'] === true) {
    process.stdout.write(`${readVersion()}\n`);
    return 0;
  }
  if (name === undefined || name === 'help') return showHelp(name === 'help' ? args[0] : undefined, values);
  const command = findCommand(name);
  invocation.command = command;
  if (values['help'] === true) return showHelp(name, values);
  assertOptionsOf(command, values);
  assertArguments(command, args);
  const prefix = asUsage(() => prefixOption('--prefix', values['prefix'], 'rollcall'));
  const timeout = numberOption('timeout', values['timeout'], 5_000, 1);
  const library = libraryOption(values['client']);
  const address = parseAddress(urls.length > 0 ? urls : fromEnvironment(), {
    cluster: values['cluster'] === true,
    sentinel: values['sentinel'] as string | undefined,
  });
  const connections: CliConnection[] = [];
  const open = async () => {
    const connection = await CliConnection.open({ address, prefix, timeout, library });
    connections.push(connection);
    return connection;
  };
  try {
    const output = Output.of(values['json'] === true);
    if (command.endless === true) abortOnInterrupt(invocation.interruption);
    const { signal } = invocation.interruption;
    return await command.run({ args, values, prefix, database: address.database, output, open, signal });
  } finally {
    for (const connection of connections) await connection.close();
  }
}

function parse(argv: readonly string[]): { values: Record<string, OptionValue>; positionals: string[] } {
  const options: Record<string, OptionConfig> = {};
  for (const each of [GENERAL_OPTIONS, ...COMMANDS.map((command) => command.options)]) {
    for (const [name, { help, ...config }] of Object.entries(each)) options[name] = config;
  }
  try {
    return parseArgs({ args: [...argv], options, allowPositionals: true });
  } catch (error) {
    // Node adds advice about arguments that begin with a dash.
    throw new UsageError(`${messageOf(error).split('. ')[0]}; rollcall --help lists the options`);
  }
}

function findCommand(name: string): CliCommand {
  const command = COMMANDS.find((each) => each.name === name);
  if (command !== undefined) return command;
  const known = COMMANDS.map((each) => each.name).join(', ');
  throw new UsageError(`there is no command ${JSON.stringify(name)}; known are ${known}`);
}

function assertArguments(command: CliCommand, args: readonly string[]): void {
  const usage = ['rollcall', command.name, ...command.args].join(' ');
  const missing = command.args[args.length];
  if (missing !== undefined) throw new UsageError(`${usage}: ${missing} is missing`);
  const extra = args[command.args.length];
  // A URL with a wrong scheme or without one is not told from an argument.
  if (extra !== undefined) {
    throw new UsageError(`${usage}: what is ${hidePassword(extra)}? A URL begins with redis:// or rediss://`);
  }
}

function assertOptionsOf(command: CliCommand, values: Record<string, OptionValue>): void {
  for (const name of Object.keys(values)) {
    if (!(name in GENERAL_OPTIONS) && !(name in command.options)) {
      throw new UsageError(`rollcall ${command.name} has no option --${name}`);
    }
  }
}

function showHelp(name: string | undefined, values: Record<string, OptionValue>): number {
  const asked = name !== undefined || values['help'] === true || values['help'] === undefined;
  const text = name === undefined ? generalHelp(COMMANDS) : commandHelp(findCommand(name));
  process.stdout.write(`${text}\n`);
  return asked ? 0 : WRONG_USAGE;
}

function fromEnvironment(): string[] {
  const { REDIS_URL = '' } = process.env;
  return REDIS_URL === '' ? [DEFAULT_URL] : REDIS_URL.split(/\s+|,(?=rediss?:)/).filter((url) => url !== '');
}

function libraryOption(value: OptionValue): Library | undefined {
  if (value === undefined) return undefined;
  const library = LIBRARIES.find((name) => name === value);
  if (library === undefined) throw new UsageError(`--client must be ${LIBRARIES.join(' or ')}`);
  return library;
}

/** One line. */
function describe(error: unknown, command: CliCommand | undefined): string {
  const text = messageOf(error).replaceAll(/\s*\n\s*/g, ' ');
  if (error instanceof UsageError || error instanceof CliError) return text;
  if (!isRollcallError(error)) return `unexpected error: ${text}`;
  // A command within a script is refused without NOPERM.
  if (/NOPERM|executing the script can't/.test(text)) {
    const who =
      command?.changes === true ? `an application, which ${command.name} needs` : 'a user that may only read';
    return `${text}; rollcall doctor --acl prints the rules of ${who}`;
  }
  if (/NOAUTH|WRONGPASS/.test(text)) return `${text}; the URL has the form redis://user:password@host:6379`;
  return text;
}

function abortOnInterrupt(controller: AbortController): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => controller.abort());
}

function readVersion(): string {
  const file = new URL('../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
