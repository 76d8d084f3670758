import { appendScript } from '../history/append.js';
import { readScript } from '../history/history-reader.js';
import { updateRoomsScript, updateUsersScript } from '../presence/scripts.js';
import type { PlainCommand, Reply } from '../redis/driver.js';
import type { CliConnection, MasterRef } from './cli-connection.js';
import { parseInfo, toPairs } from './replies.js';

/** Facts about one master, for `doctor`. */
export interface ServerReport {
  /** `host:port`. */
  readonly name: string;
  readonly key: string;
  /** Fields of INFO; undefined if it is refused. */
  readonly info: ReadonlyMap<string, string> | undefined;
  /** Settings of CONFIG GET; undefined if it is refused. */
  readonly config: ReadonlyMap<string, string> | undefined;
  /** Median round trip, in ms. */
  readonly latency: number;
  /** The server's clock minus the clock of this machine, in ms. */
  readonly clockOffset: number;
  /** Maximum error of `clockOffset`, in ms. */
  readonly clockError: number;
  /** Number of rollcall's scripts that the server has; undefined if SCRIPT EXISTS is refused. */
  readonly scripts: number | undefined;
}

export const SCRIPTS = [updateUsersScript, updateRoomsScript, appendScript, readScript];

const SETTINGS = ['maxmemory-policy', 'maxmemory', 'client-output-buffer-limit', 'min-replicas-to-write'];
const LATENCY_SAMPLES = 9;

/** Refused commands leave their fields undefined; other failures reject. */
export async function readServer(connection: CliConnection, { name, key }: MasterRef): Promise<ServerReport> {
  const options = connection.cluster ? { key } : {};
  const [info, exists, ...settings] = await connection.attempt(
    [
      ['INFO'],
      ['SCRIPT', 'EXISTS', ...SCRIPTS.map(({ sha }) => sha)],
      ...SETTINGS.map((setting): PlainCommand => ['CONFIG', 'GET', setting]),
    ],
    options,
  );
  const config = new Map(settings.flatMap((reply) => (reply instanceof Error ? [] : [...toPairs(reply)])));
  return {
    name,
    key,
    info: info instanceof Error || info === undefined ? undefined : parseInfo(String(info)),
    config: settings.every((reply) => reply instanceof Error) ? undefined : config,
    scripts: Array.isArray(exists) ? exists.filter((one) => Number(one) === 1).length : undefined,
    ...(await measure(connection, options)),
  };
}

type Measured = Pick<ServerReport, 'latency' | 'clockOffset' | 'clockError'>;

async function measure(connection: CliConnection, options: { key?: string }): Promise<Measured> {
  const samples: { trip: number; offset: number }[] = [];
  for (let left = LATENCY_SAMPLES; left > 0; left--) {
    const start = performance.now();
    const [time] = await connection.run([['TIME']], options);
    const trip = performance.now() - start;
    const [seconds, micros] = time as readonly Reply[];
    const server = Number(seconds) * 1_000 + Number(micros) / 1_000;
    samples.push({ trip, offset: server - (Date.now() - trip / 2) });
  }
  samples.sort((a, b) => a.trip - b.trip);
  const [fastest] = samples;
  return {
    latency: samples[Math.floor(samples.length / 2)]?.trip ?? 0,
    clockOffset: fastest?.offset ?? 0,
    clockError: (fastest?.trip ?? 0) / 2,
  };
}
