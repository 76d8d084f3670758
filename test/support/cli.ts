import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { waitFor, withDeadline } from './wait.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const program = `${root}dist/cli.js`;

const RUN_MS = 30_000;

export interface CliOptions {
  /** Added to the environment, which has no REDIS_URL. */
  readonly env?: Readonly<Record<string, string>>;
  /** Where the program looks for a client library. Default: the root of the package. */
  readonly cwd?: string;
  /** Its standard input, which is closed after it. */
  readonly input?: string;
}

export interface CliResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The built program `rollcall` in a process of its own. */
export class CliProcess {
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  stdout = '';
  stderr = '';

  constructor(args: readonly string[], { env = {}, cwd = root, input = '' }: CliOptions = {}) {
    if (!existsSync(program)) throw new Error('the package is not built: npm run build');
    const { REDIS_URL: _, ...inherited } = process.env;
    const child = spawn(process.execPath, [program, ...args], {
      cwd,
      env: { ...inherited, NODE_OPTIONS: '', ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#child = child;
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    // The program may end without having read it.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    this.#closed = once(child, 'close');
  }

  /** Waits until the output contains `text`. */
  async waitForOutput(text: string, timeout = 10_000): Promise<void> {
    const message = () => `${JSON.stringify(text)} in: ${this.stdout}\n${this.stderr}`;
    await waitFor(() => this.stdout.includes(text), { timeout, message });
  }

  interrupt(): void {
    this.#child.kill('SIGINT');
  }

  /** Waits until it has ended by itself. */
  async ended(): Promise<CliResult> {
    try {
      await withDeadline(this.#closed, RUN_MS, `the end of rollcall (${this.stdout}${this.stderr})`);
    } catch (error) {
      this.#child.kill('SIGKILL');
      throw error;
    }
    return { status: this.#child.exitCode, stdout: this.stdout, stderr: this.stderr };
  }
}

/** Runs the program to its end. */
export function runCli(args: readonly string[], options?: CliOptions): Promise<CliResult> {
  return new CliProcess(args, options).ended();
}

/** Runs it with --json, and returns what it printed. */
export async function runJson<T>(args: readonly string[], options?: CliOptions): Promise<T> {
  const { stdout, stderr } = await runCli([...args, '--json'], options);
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout) as T;
}
