/** The command line is wrong: one line, exit status 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** The command cannot go on: one line, exit status 1. */
export class CliError extends Error {
  override readonly name = 'CliError';
}
