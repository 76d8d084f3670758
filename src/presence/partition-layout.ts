import { randomBytes } from 'node:crypto';
import { ConfigurationError } from '../internal/errors.js';
import type { ClientHandle } from '../redis/client-handle.js';
import type { PlainCommand, SubscriptionKind } from '../redis/driver.js';
import type { PartitionKeys } from './keys.js';

/** Partitions on a Cluster: enough for its nodes to share the work, few enough to look after one by one. */
const CLUSTER_PARTITIONS = 64;

/** How many partitions there are unless somebody says otherwise. */
export function defaultPartitions(cluster: boolean): number {
  return cluster ? CLUSTER_PARTITIONS : 1;
}

const STORED_LAYOUT = /^(\d+)(s?) \S+$/;

/**
 * What all services under one prefix must agree on, as the first of them wrote it down in every
 * partition: how many partitions there are, and whether changes are announced on sharded channels.
 * A random part tells everybody who looks at it when that partition was wiped in between.
 */
export class PartitionLayout {
  /** What changes are announced on. On a Cluster a classic channel would cost every node something. */
  channels: Exclude<SubscriptionKind, 'pattern'> = 'channel';
  readonly #client: ClientHandle;
  readonly #prefix: string;
  readonly #keys: readonly PartitionKeys[];

  constructor(client: ClientHandle, prefix: string, keys: readonly PartitionKeys[]) {
    this.#client = client;
    this.#prefix = prefix;
    this.#keys = keys;
  }

  /** The command that announces. */
  get publishCommand(): 'PUBLISH' | 'SPUBLISH' {
    return this.channels === 'sharded' ? 'SPUBLISH' : 'PUBLISH';
  }

  /**
   * Writes the layout where there is none; resolves with each partition's as it is stored.
   *
   * @throws {@link ConfigurationError} when it is another one.
   */
  async check(): Promise<string[]> {
    const stored = await Promise.all(this.#keys.map((keys) => this.#checkOne(keys)));
    const shapes = new Set(stored.map((text) => STORED_LAYOUT.exec(text)?.slice(1).join('') ?? text));
    const mine = String(this.#keys.length);
    for (const shape of shapes) {
      if (shape !== mine && shape !== `${mine}s`) throw this.#mismatch(shape.replace('s', ''));
    }
    if (shapes.size > 1) throw this.#mismatch([...shapes].join(' and '));
    const sharded = shapes.has(`${mine}s`);
    if (sharded && !this.#client.capabilities.sharded) {
      throw new ConfigurationError(
        `the presence data under prefix ${JSON.stringify(this.#prefix)} announces changes on sharded channels, which this client or server does not have`,
      );
    }
    this.channels = sharded ? 'sharded' : 'channel';
    return stored;
  }

  async #checkOne({ layout }: PartitionKeys): Promise<string> {
    const { cluster, sharded } = this.#client.capabilities;
    const shape = `${this.#keys.length}${cluster && sharded ? 's' : ''}`;
    const value = `${shape} ${randomBytes(6).toString('base64url')}`;
    const commands: PlainCommand[] = [
      ['SETNX', layout, value],
      ['GET', layout],
    ];
    const [, reply] = await this.#client.execute('connect', commands, { key: layout });
    return String(reply);
  }

  #mismatch(found: string): ConfigurationError {
    const mine = this.#keys.length;
    return new ConfigurationError(
      `the presence data under prefix ${JSON.stringify(this.#prefix)} is laid out in ${found} partitions, this service uses ${mine}: set partitions to ${found}, or give this layout a prefix of its own`,
    );
  }
}
