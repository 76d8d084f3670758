import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Reply, RespConnection } from './resp.js';
import { findRedisServer } from './tools.js';
import { waitFor, withDeadline } from './wait.js';

const START_MS = 10_000;
const STOP_MS = 10_000;
const COMMAND_MS = 10_000;

export interface RedisServerOptions {
  /** Listen here instead of on a spare port. */
  port?: number;
  /** More arguments for redis-server; they win over the ones set here. */
  args?: string[];
}

export interface RedisMonitor {
  /** What MONITOR has reported so far, one line a command. */
  readonly lines: string[];
  /** Every command the server ran before this call. */
  stop(): Promise<string[]>;
}

export interface RedisServer {
  readonly port: number;
  readonly url: string;
  /** The process of now: `restart` brings another. */
  readonly pid: number;
  /** Ends the server and removes its folder. Safe to call twice, and on a dead or frozen server. */
  stop(): Promise<void>;
  /** Sends a signal that ends the server (SIGKILL), and resolves once it is gone. */
  kill(signal?: NodeJS.Signals): Promise<void>;
  /** Freezes the process. Connections stay open and receive no replies. */
  freeze(): void;
  thaw(): void;
  /** A new process on the same port, after ending the old one if it still runs. Memory is lost. */
  restart(): Promise<void>;
  /** Runs one command. An array comes back one item a line, nil as an empty string. */
  cli(...args: string[]): Promise<string>;
  monitor(): Promise<RedisMonitor>;
}

/** Starts a redis-server of its own on the loopback interface, and resolves once it answers. */
export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const program = findRedisServer();
  if (!program) throw new Error('redis-server not found: install it, or set REDIS_SERVER to its path');
  const dir = mkdtempSync(join(tmpdir(), 'rollcall-redis-'));
  try {
    // Somebody else can take a spare port before the server does: then try another one.
    for (let triesLeft = options.port === undefined ? 5 : 1; ; triesLeft--) {
      const port = options.port ?? (await sparePort());
      try {
        return new Server(
          program,
          dir,
          port,
          options.args ?? [],
          await launch(program, dir, port, options.args),
        );
      } catch (error) {
        if (triesLeft <= 1 || !/in use/i.test(String(error))) throw error;
      }
    }
  } catch (error) {
    rmSync(dir, { recursive: true, force: true });
    throw error;
  }
}

/**
 * A port nobody listens on, below the range from which systems take the ports of outgoing
 * connections. Within it, a client that reconnects while the server is down can be given the very
 * port it is calling, and so connect to itself.
 */
export async function sparePort(): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, 32_000);
    const probe = createServer();
    const free = await new Promise<boolean>((resolve) => {
      probe.once('error', () => resolve(false));
      probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

interface Running {
  child: ChildProcess;
  pid: number;
  /** Resolves once the process is gone. */
  gone: Promise<void>;
  watchdog: ChildProcess;
}

async function launch(program: string, dir: string, port: number, extra: string[] = []): Promise<Running> {
  const log = join(dir, 'log');
  const out = openSync(log, 'w');
  // biome-ignore format: one option a line reads better
  const args = [
    '--bind', '127.0.0.1',
    '--port', String(port),
    '--dir', dir,
    '--save', '',
    '--appendonly', 'no',
    '--daemonize', 'no',
    // By default a master waits 5 s for more replicas before it sends its data.
    '--repl-diskless-sync-delay', '0',
    ...extra,
  ];
  const child = spawn(program, args, { stdio: ['ignore', out, out], cwd: dir });
  closeSync(out);
  const gone = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  const { pid } = child;
  if (pid === undefined) {
    const [error] = (await once(child, 'error')) as [Error];
    throw new Error(`redis-server did not start: ${error.message}`);
  }
  const running: Running = { child, pid, gone, watchdog: startWatchdog(pid, dir) };
  try {
    const failed = gone.then(() => {
      throw new Error(`redis-server ended while starting:\n${readFileSync(log, 'utf8')}`);
    });
    const answers = waitFor(() => isUp(port, pid), { timeout: START_MS, message: `redis-server on ${port}` });
    await Promise.race([answers, failed]);
  } catch (error) {
    await end(running, 'SIGKILL');
    throw error;
  }
  // A caller that forgets to stop the server must still be able to exit; the watchdog ends it then.
  child.unref();
  return running;
}

/**
 * Ends the server and removes its folder when this process is gone, however it went: a handler in
 * this process would not run after a SIGKILL. The shell waits for its standard input to close.
 */
function startWatchdog(pid: number, dir: string): ChildProcess {
  const script = 'while read -r _; do :; done; kill -9 "$0"; rm -rf "$1"';
  const watchdog = spawn('sh', ['-c', script, String(pid), dir], {
    stdio: ['pipe', 'ignore', 'ignore'],
    // Out of reach of a Ctrl-C, which goes to the whole process group.
    detached: true,
  });
  watchdog.on('error', () => {});
  watchdog.unref();
  (watchdog.stdin as unknown as { unref?: () => void } | null)?.unref?.();
  return watchdog;
}

/** Whether the server on `port` answers, and is the process that we started. */
async function isUp(port: number, pid: number): Promise<boolean> {
  const connection = await RespConnection.open(port, 1_000);
  try {
    const pong = await connection.send(['PING'], 1_000);
    if (pong instanceof Error) return /^NOAUTH/.test(pong.message);
    const info = await connection.send(['INFO', 'server'], 1_000);
    return String(info).includes(`process_id:${pid}\r\n`);
  } finally {
    connection.close();
  }
}

async function end(running: Running, signal: NodeJS.Signals): Promise<void> {
  const { child, pid, gone, watchdog } = running;
  child.ref();
  // First the watchdog: it must never act on a pid that the system may have given to another process.
  if (watchdog.exitCode === null && watchdog.signalCode === null) watchdog.kill('SIGKILL');
  if (child.exitCode === null && child.signalCode === null) child.kill(signal);
  await withDeadline(gone, STOP_MS, `ending redis-server (pid ${pid}) with ${signal}`);
}

class Server implements RedisServer {
  readonly port: number;
  readonly url: string;
  readonly #program: string;
  readonly #dir: string;
  readonly #args: string[];
  readonly #monitors = new Set<RespConnection>();
  #running: Running;
  #stopped = false;

  constructor(program: string, dir: string, port: number, args: string[], running: Running) {
    this.#program = program;
    this.#dir = dir;
    this.port = port;
    this.url = `redis://127.0.0.1:${port}`;
    this.#args = args;
    this.#running = running;
  }

  get pid(): number {
    return this.#running.pid;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const connection of this.#monitors) connection.close();
    this.#monitors.clear();
    // Nothing on it is worth a clean end, and a frozen server would not notice any other signal.
    await end(this.#running, 'SIGKILL');
    rmSync(this.#dir, { recursive: true, force: true });
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await end(this.#running, signal);
  }

  freeze(): void {
    this.#running.child.kill('SIGSTOP');
  }

  thaw(): void {
    this.#running.child.kill('SIGCONT');
  }

  async restart(): Promise<void> {
    if (this.#stopped) throw new Error('this server was stopped for good');
    const { child } = this.#running;
    // A frozen server handles SIGTERM only once it goes on. With SIGTERM an append-only file that
    // was asked for in `args` is complete when the next process reads it.
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGCONT');
    await end(this.#running, 'SIGTERM');
    this.#running = await launch(this.#program, this.#dir, this.port, this.#args);
  }

  async cli(...args: string[]): Promise<string> {
    const connection = await RespConnection.open(this.port, COMMAND_MS);
    try {
      return asText(await connection.send(args, COMMAND_MS));
    } finally {
      connection.close();
    }
  }

  async monitor(): Promise<RedisMonitor> {
    const lines: string[] = [];
    const connection = await RespConnection.open(this.port, COMMAND_MS, (line) => lines.push(String(line)));
    this.#monitors.add(connection);
    asText(await connection.send(['MONITOR'], COMMAND_MS));
    return {
      lines,
      stop: async () => {
        // The server reports in the order it runs: once our own marker is reported, so is all before.
        const marker = `monitor-end-${randomInt(2 ** 40)}`;
        await this.cli('ECHO', marker);
        const index = await waitFor(
          () => {
            const found = lines.findIndex((line) => line.includes(marker));
            return found === -1 ? undefined : { found };
          },
          { timeout: COMMAND_MS, message: 'the end of MONITOR' },
        );
        connection.close();
        this.#monitors.delete(connection);
        return lines.slice(0, index?.found);
      },
    };
  }
}

function asText(reply: Reply): string {
  if (reply instanceof Error) throw reply;
  if (Array.isArray(reply)) return reply.map(asText).join('\n');
  return reply === null ? '' : String(reply);
}
