import type { ParseArgsConfig } from 'node:util';
import type { CliConnection } from './cli-connection.js';
import type { Output } from './output.js';

export type OptionConfig = NonNullable<ParseArgsConfig['options']>[string];
export type OptionValue = string | boolean | (string | boolean)[] | undefined;

/** Input and output of a command. */
export interface CommandContext {
  /** Without the name of the command and the URLs. */
  readonly args: readonly string[];
  readonly values: Readonly<Record<string, OptionValue>>;
  readonly prefix: string;
  /** Logical database of the URL. */
  readonly database: number;
  readonly output: Output;
  /** Connects; the connection is closed when the command ends. */
  open(): Promise<CliConnection>;
  /** Aborted by Ctrl-C if the command is endless; others are killed by it. */
  readonly signal: AbortSignal;
}

export interface CliCommand {
  readonly name: string;
  /** Names of the arguments, all of them required. */
  readonly args: readonly string[];
  readonly summary: string;
  /** Ctrl-C is how it ends: exit status 0. */
  readonly endless?: true;
  /** It sends messages or removes data, for which the rules of a reader are too few. */
  readonly changes?: true;
  /** Besides those that all commands have; each with its line in the help. */
  readonly options: Readonly<Record<string, OptionConfig & { readonly help: string }>>;
  /** Resolves with the exit status: 0, or 1 if something is wrong with Redis or the data. */
  run(context: CommandContext): Promise<number>;
}
