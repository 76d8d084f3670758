import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import type { PresenceOptions } from '../../src/index.js';
import { withDeadline } from './wait.js';

const program = fileURLToPath(new URL('invocation.child.js', import.meta.url));
const build = fileURLToPath(new URL('../../dist/index.js', import.meta.url));

const LIMIT_MS = 20_000;

export interface InvocationOptions {
  ports: readonly number[];
  cluster?: boolean;
  client?: 'node-redis' | 'ioredis';
  options?: Omit<PresenceOptions, 'redis' | 'onError' | 'clock'>;
  /** Methods of a `PresenceService` and their arguments, called one after the other. */
  calls: readonly (readonly [method: string, ...args: unknown[]])[];
}

export interface InvocationResult {
  /** What the calls resolved with, as JSON; `{ error, message }` for a rejection. */
  results: unknown[];
  errors: string[];
}

/** Runs calls in a process that lives for them only; resolves once it has ended by itself. */
export async function invoke({
  client = 'node-redis',
  ...rest
}: InvocationOptions): Promise<InvocationResult> {
  if (!existsSync(build)) throw new Error('the package is not built: npm run build');
  const child = spawn(process.execPath, [program, JSON.stringify({ client, ...rest })], {
    env: { ...process.env, NODE_OPTIONS: '' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.on('data', (chunk) => {
    text += chunk;
  });
  try {
    await withDeadline(once(child, 'close'), LIMIT_MS, 'an invocation to end by itself');
  } finally {
    child.kill('SIGKILL');
  }
  return JSON.parse(text) as InvocationResult;
}
