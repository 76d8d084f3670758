import { type Reply, RespConnection } from './resp.js';
import { waitFor } from './wait.js';

/** A change of presence, as it was published. */
export interface WireChange {
  at: number;
  user: string;
  status: string;
  previous: string;
  version: number;
}

const COMMAND_MS = 10_000;

/** Observes presence from outside: the published messages, and the data in Redis. */
export class PresenceObserver {
  readonly changes: WireChange[] = [];
  /** Messages published, of any number of changes each. */
  messages = 0;
  readonly #base: string;
  readonly #commands: RespConnection;
  #subscription: RespConnection | undefined;

  private constructor(base: string, commands: RespConnection) {
    this.#base = base;
    this.#commands = commands;
  }

  static async open(port: number, base: string): Promise<PresenceObserver> {
    const wire = new PresenceObserver(base, await RespConnection.open(port, COMMAND_MS));
    wire.#subscription = await RespConnection.open(port, COMMAND_MS, (reply) => wire.#receive(reply));
    await wire.#subscription.send(['SUBSCRIBE', `${base}:events`], COMMAND_MS);
    return wire;
  }

  close(): void {
    this.#commands.close();
    this.#subscription?.close();
  }

  async run(...args: string[]): Promise<Reply> {
    const reply = await this.#commands.send(args, COMMAND_MS);
    if (reply instanceof Error) throw reply;
    return reply;
  }

  /** The users reported offline whose ids have the prefix. */
  offline(prefix = ''): string[] {
    return this.of(prefix)
      .filter(({ status }) => status === 'offline')
      .map(({ user }) => user);
  }

  /** Changes of users whose ids have the prefix. A restored record after a loss is not a change. */
  of(prefix = ''): WireChange[] {
    return this.changes.filter(
      ({ user, status, previous }) => status !== previous && user.startsWith(prefix),
    );
  }

  /** When the last of `count` users was announced offline. */
  async untilOffline(prefix: string, count: number, timeout: number): Promise<number> {
    await waitFor(() => this.offline(prefix).length >= count, {
      timeout,
      message: () => `${count} users ${prefix}* to go offline; ${this.offline(prefix).length} did`,
    });
    return Math.max(
      ...this.of(prefix)
        .filter(({ status }) => status === 'offline')
        .map(({ at }) => at),
    );
  }

  /** Every user who is not offline: "status socket,socket" by what readers see. */
  async seen(): Promise<Map<string, string>> {
    const seen = new Map<string, string>();
    const keys = await this.#keys('user');
    if (keys.length === 0) return seen;
    const records = (await this.run('MGET', ...keys)) as (string | null)[];
    keys.forEach((key, at) => {
      const record = records[at];
      if (record === null || record === undefined) return;
      // See update-users.lua.
      const [header, ...lines] = record.split('\n') as [string, ...string[]];
      const status = header.slice(1).split('"')[0];
      if (status === 'offline') return;
      const ids = lines.map((line) => line.split('"')[0]).sort();
      seen.set(key.slice(`${this.#base}:user:`.length), `${status} ${ids.join(',')}`);
    });
    return seen;
  }

  /** Users with at least one socket entry. Their hashes may also remember removed sockets, in fields without an owner. */
  async usersWithEntries(): Promise<string[]> {
    const begin = `${this.#base}:sockets:`.length;
    const users: string[] = [];
    for (const key of await this.#keys('sockets')) {
      const fields = (await this.run('HKEYS', key)) as string[];
      if (fields.some((field) => !field.startsWith('"'))) users.push(key.slice(begin));
    }
    return users.sort();
  }

  /** Node id → score of its lease. */
  async leases(): Promise<Map<string, number>> {
    const flat = (await this.run('ZRANGE', `${this.#base}:nodes`, '0', '-1', 'WITHSCORES')) as string[];
    const leases = new Map<string, number>();
    for (let at = 0; at + 1 < flat.length; at += 2) leases.set(flat[at] as string, Number(flat[at + 1]));
    return leases;
  }

  /** How many users are online, by the index. */
  async online(): Promise<number> {
    return Number(await this.run('SCARD', `${this.#base}:online`));
  }

  /** How many users are waited for: under grace. */
  async waitedFor(): Promise<number> {
    return Number(await this.run('ZCARD', `${this.#base}:due`));
  }

  /** Redis's own time, in ms. */
  async now(): Promise<number> {
    const [seconds, micros] = (await this.run('TIME')) as [string, string];
    return Number(seconds) * 1_000 + Number(micros) / 1_000;
  }

  /** Waits until Redis's clock has gone on by `ms`: for what lasts that long, or for nothing to happen. */
  async afterRedisTime(ms: number): Promise<void> {
    const end = (await this.now()) + ms;
    await waitFor(async () => (await this.now()) >= end, { timeout: ms + 5_000, interval: 50 });
  }

  async #keys(kind: string): Promise<string[]> {
    return (await this.run('KEYS', `${this.#base}:${kind}:*`)) as string[];
  }

  #receive(reply: Reply): void {
    if (!Array.isArray(reply) || reply[0] !== 'message') return;
    this.messages++;
    const at = performance.now();
    const batch = JSON.parse(String(reply[2])) as [string, string, string, number, number, number][];
    for (const [user, status, previous, , version] of batch) {
      this.changes.push({ at, user, status, previous, version });
    }
  }
}
