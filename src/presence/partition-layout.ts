import { randomBytes } from 'node:crypto';
import { ConfigurationError } from '../internal/errors.js';
import type { ClientHandle } from '../redis/client-handle.js';
import type { PlainCommand, SubscriptionKind } from '../redis/driver.js';
import type { PartitionKeys } from './keys.js';
import { FORMAT } from './record.js';
import type { RedisClock } from './redis-clock.js';

/** Enough to spread the load over the masters, few enough to sweep all. */
const CLUSTER_PARTITIONS = 64;

/** Default of `partitions`. */
export function defaultPartitions(cluster: boolean): number {
  return cluster ? CLUSTER_PARTITIONS : 1;
}

/** Format, number of partitions, `s` for sharded channels, and a random part. Format 1 had no format mark. */
const STORED_LAYOUT = /^(?:f(\d+) )?(\d+)(s?) \S+$/;

export interface StoredLayout {
  readonly format: number;
  readonly partitions: number;
  /** Changes are announced on sharded channels. */
  readonly sharded: boolean;
}

/** `undefined` for text that no release has written. */
export function decodeLayout(text: string): StoredLayout | undefined {
  const match = STORED_LAYOUT.exec(text);
  if (match === null) return undefined;
  const [, format = '1', partitions, sharded] = match;
  return { format: Number(format), partitions: Number(partitions), sharded: sharded === 's' };
}

/**
 * Settings that all services under one prefix share: the first one writes them to every partition. The random part
 * shows that a partition was wiped and written again.
 */
export class PartitionLayout {
  /** On a Cluster, changes on classic channels would load every node. */
  channels: Exclude<SubscriptionKind, 'pattern'> = 'channel';
  readonly #client: ClientHandle;
  readonly #prefix: string;
  readonly #keys: readonly PartitionKeys[];
  readonly #redisClock: RedisClock;

  constructor(client: ClientHandle, prefix: string, keys: readonly PartitionKeys[], redisClock: RedisClock) {
    this.#client = client;
    this.#prefix = prefix;
    this.#keys = keys;
    this.#redisClock = redisClock;
  }

  get publishCommand(): 'PUBLISH' | 'SPUBLISH' {
    return this.channels === 'sharded' ? 'SPUBLISH' : 'PUBLISH';
  }

  /**
   * Writes the layout where there is none. Resolves with the stored layouts of `partitions`, by default all.
   *
   * @throws {@link ConfigurationError} when a stored layout differs.
   */
  async check(partitions: readonly number[] = [...this.#keys.keys()]): Promise<string[]> {
    const stored = await Promise.all(partitions.map((partition) => this.#checkOne(partition)));
    const layouts = stored.map((text) => STORED_LAYOUT.exec(text));
    const formats = new Set(layouts.map((layout) => layout?.[1] ?? '1'));
    for (const format of formats) if (format !== String(FORMAT)) throw this.#formatMismatch(format);
    const shapes = new Set(layouts.map((layout) => `${layout?.[2]}${layout?.[3]}`));
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

  async #checkOne(partition: number): Promise<string> {
    const { layout } = this.#keys[partition] as PartitionKeys;
    const { cluster, sharded } = this.#client.capabilities;
    const shape = `f${FORMAT} ${this.#keys.length}${cluster && sharded ? 's' : ''}`;
    const value = `${shape} ${randomBytes(6).toString('base64url')}`;
    const commands: PlainCommand[] = [['SETNX', layout, value], ['GET', layout], ['TIME']];
    const [, reply, time] = await this.#client.execute('connect', commands, { key: layout });
    const [seconds, micros] = Array.isArray(time) ? time : [];
    this.#redisClock.observe(partition, Number(seconds) * 1_000 + Number(micros) / 1_000);
    return String(reply);
  }

  #formatMismatch(found: string): ConfigurationError {
    return new ConfigurationError(
      `the presence data under prefix ${JSON.stringify(this.#prefix)} has format ${found}, written by another release of rollcall; this release uses format ${FORMAT}: stop all processes of the other release and delete its keys, or use another prefix`,
    );
  }

  #mismatch(found: string): ConfigurationError {
    const mine = this.#keys.length;
    return new ConfigurationError(
      `the presence data under prefix ${JSON.stringify(this.#prefix)} is laid out in ${found} partitions, this service uses ${mine}: set partitions to ${found}, or give this layout a prefix of its own`,
    );
  }
}
