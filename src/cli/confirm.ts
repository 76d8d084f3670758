import { createInterface } from 'node:readline/promises';
import { CliError, UsageError } from './usage-error.js';

/**
 * Asks on the terminal, unless `yes`.
 *
 * @throws {@link UsageError} without a terminal; {@link CliError} for any answer but "y" or "yes".
 */
export async function confirm(question: string, yes: boolean): Promise<void> {
  if (yes) return;
  if (process.stdin.isTTY !== true) {
    throw new UsageError(`${question} There is no terminal to ask on: pass --yes`);
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    // Ctrl-C rejects.
    const answer = await terminal.question(`${question} [y/N] `).catch(() => 'no');
    if (!/^y(es)?$/i.test(answer.trim())) throw new CliError('not confirmed, nothing was changed');
  } finally {
    terminal.close();
  }
}
