import { systemClock, type Timer } from '../internal/clock.js';
import { messageOf } from '../internal/diagnostics.js';
import { ConnectionError } from '../internal/errors.js';
import { PartitionKeys } from '../presence/keys.js';
import { decodeLayout, type StoredLayout } from '../presence/partition-layout.js';
import { FORMAT } from '../presence/record.js';
import { ClientHandle } from '../redis/client-handle.js';
import { keysOfMasters } from '../redis/cluster-slots.js';
import type { RedisClient } from '../redis/detect.js';
import type { ExecuteOptions, PlainCommand, Reply } from '../redis/driver.js';
import { describeAddress, type RedisAddress } from './address.js';
import { type Library, type OpenedClient, openClient } from './open-client.js';
import { parseInfo } from './replies.js';
import { readSentinels } from './sentinel-report.js';
import { CliError } from './usage-error.js';

export interface ConnectionOptions {
  readonly address: RedisAddress;
  /** `prefix` of the presence service. */
  readonly prefix: string;
  /** Of every call, in ms. */
  readonly timeout: number;
  /** Otherwise the first one that is installed. */
  readonly library?: Library | undefined;
}

export interface LossListener {
  lost(reason: string): void;
  gone(error: Error): void;
  /** In ms. */
  readonly wait: number;
}

/** A server that has slots, or the only one. */
export interface MasterRef {
  /** `host:port`. */
  readonly name: string;
  /** Leads a command to this master. */
  readonly key: string;
}

/**
 * Clients wait for a master whose name no sentinel knows.
 *
 * @throws {@link CliError} if all sentinels that answer refuse the name.
 */
async function assertMasterKnown({ address, timeout }: ConnectionOptions): Promise<void> {
  if (address.topology !== 'sentinel') return;
  const views = await readSentinels(address, timeout);
  const refused = views.filter(({ error }) => /No such master/i.test(error ?? ''));
  if (refused.length === 0 || views.some(({ master }) => master !== undefined)) return;
  const names = refused.map(({ name }) => name).join(', ');
  throw new CliError(
    `no master named ${JSON.stringify(address.masterName)} is known to ${names}: correct the name in the URL, or --sentinel`,
  );
}

/** The commands of this CLI reach Redis through it. Reads only, and writes nothing by itself. */
export class CliConnection {
  readonly address: RedisAddress;
  readonly prefix: string;
  readonly timeout: number;
  readonly #opened: OpenedClient;
  readonly #handle: ClientHandle;

  private constructor(options: ConnectionOptions, opened: OpenedClient) {
    this.address = options.address;
    this.prefix = options.prefix;
    this.timeout = options.timeout;
    this.#opened = opened;
    this.#handle = ClientHandle.open('connection', opened.client, options.timeout, systemClock);
  }

  /**
   * Follows the server: the URL of a Cluster's node opens the Cluster.
   *
   * @throws a `RollcallError` when Redis cannot be reached, {@link CliError} for a sentinel without a name.
   */
  static async open(options: ConnectionOptions): Promise<CliConnection> {
    const connection = await CliConnection.#connect(options);
    if (options.address.topology !== 'single') return connection;
    try {
      const [reply] = await connection.attempt([['INFO', 'server']]);
      const fields = parseInfo(reply instanceof Error ? '' : String(reply));
      // Valkey 9 has another name for it.
      const mode = fields.get('redis_mode') ?? fields.get('server_mode');
      if (mode === 'sentinel') {
        throw new CliError('this is a sentinel, not a server: name its master with --sentinel NAME');
      }
      if (mode !== 'cluster') return connection;
    } catch (error) {
      await connection.close();
      if (!(error instanceof ConnectionError)) throw error;
      // Connected, but not to Redis, or not by the protocol that it expects.
      const reason = messageOf(error.cause ?? error);
      throw new CliError(`${connection.url} does not answer like a Redis server: ${reason}`);
    }
    await connection.close();
    return CliConnection.#connect({ ...options, address: { ...options.address, topology: 'cluster' } });
  }

  static async #connect(options: ConnectionOptions): Promise<CliConnection> {
    const opened = await openClient(options.address, options.library);
    let connection: CliConnection | undefined;
    try {
      connection = new CliConnection(options, opened);
      await connection.#handle.connect();
      return connection;
    } catch (error) {
      if (connection === undefined) opened.close();
      else await connection.close();
      if (!(error instanceof ConnectionError)) throw error;
      await assertMasterKnown(options);
      const reason = messageOf(error).replace(/the \S+ client is closed: /, '');
      throw new CliError(reason.replace(/^Redis(?= cannot)/, describeAddress(options.address)));
    }
  }

  get client(): RedisClient {
    return this.#opened.client;
  }

  /** Name and version of the client library. */
  get library(): string {
    return `${this.#opened.library} ${this.#opened.version}`;
  }

  get cluster(): boolean {
    return this.#handle.capabilities.cluster;
  }

  get url(): string {
    return describeAddress(this.address);
  }

  /** Rejects when Redis refuses one of the commands. They are sent again after a lost connection. */
  run(commands: readonly PlainCommand[], options?: ExecuteOptions): Promise<Reply[]> {
    return this.#handle.execute(commands[0]?.[0] ?? '', commands, options);
  }

  /** The reply of a refused command is an `Error`. Sent once. */
  attempt(commands: readonly PlainCommand[], options?: ExecuteOptions): Promise<Reply[]> {
    const what = commands[0]?.[0] ?? '';
    return this.#handle.withDeadline(what, () => this.#handle.send(commands, options));
  }

  /** The keys of all partitions, and their layout; `undefined` without presence data under the prefix. */
  async presence(): Promise<
    { readonly keys: readonly PartitionKeys[]; readonly layout: StoredLayout } | undefined
  > {
    const { layout: key } = new PartitionKeys(this.prefix, 0);
    const [text] = await this.run([['GET', key]]);
    if (typeof text !== 'string') return undefined;
    const layout = decodeLayout(text);
    if (layout === undefined) throw new CliError(`the key ${key} holds no layout of rollcall`);
    if (layout.format !== FORMAT) {
      throw new CliError(
        `the presence data under prefix ${JSON.stringify(this.prefix)} has format ${layout.format}, this release reads format ${FORMAT}: use the rollcall command of the application's release`,
      );
    }
    return { layout, keys: this.partitionKeys(layout.partitions) };
  }

  /** @throws {@link CliError} without presence data under the prefix. */
  async requirePresence(): Promise<{
    readonly keys: readonly PartitionKeys[];
    readonly layout: StoredLayout;
  }> {
    const presence = await this.presence();
    if (presence !== undefined) return presence;
    throw new CliError(
      `no presence data under prefix ${JSON.stringify(this.prefix)} in database ${this.address.database}: pass the prefix of your PresenceService with --prefix; rollcall doctor lists those it finds`,
    );
  }

  partitionKeys(partitions: number): PartitionKeys[] {
    const { database } = this.#handle;
    return Array.from({ length: partitions }, (_, at) => new PartitionKeys(this.prefix, at, database));
  }

  async masters(): Promise<MasterRef[]> {
    if (!this.cluster) {
      const { topology, nodes, masterName } = this.address;
      const [node] = nodes;
      return [
        { name: topology === 'sentinel' ? `master ${masterName}` : `${node?.host}:${node?.port}`, key: '' },
      ];
    }
    const [slots] = await this.run([['CLUSTER', 'SLOTS']]);
    return keysOfMasters(slots as readonly Reply[]).map(({ master: { host, port }, key }) => ({
      name: `${host}:${port}`,
      key,
    }));
  }

  /** Reports the loss of the connection, and when it is not back after `wait` ms. Ends with the returned function. */
  watchState({ lost, gone, wait }: LossListener): () => void {
    let timer: Timer | undefined;
    const cancel = () => {
      timer?.cancel();
      timer = undefined;
    };
    const unlisten = this.#handle.listen({
      connection: (state, cause) => {
        const reason = messageOf(cause ?? 'closed by the server');
        if (state === 'ready') return cancel();
        if (state === 'ended') return gone(new CliError(`the connection has ended: ${reason}`));
        if (timer !== undefined) return;
        lost(reason);
        timer = systemClock.after(wait, () =>
          gone(new CliError(`${this.url} has not answered for ${wait} ms: ${reason}`)),
        );
      },
    });
    return () => {
      cancel();
      unlisten();
    };
  }

  async close(): Promise<void> {
    await this.#handle.close();
    this.#opened.close();
  }
}
