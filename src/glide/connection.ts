import { Decoder, GlideClient, GlideClusterClient, type PubSubMsg } from '@valkey/valkey-glide';
import { CommandError, ConnectionError } from '../internal/errors.js';
import type { SubscriptionKind } from '../redis/driver.js';
import { toRollcallError } from '../redis/replies.js';
import type { PubSubConnection, PubSubConnectionListener } from '../redis/subscriber.js';
import { toServerError } from './replies.js';
import type { GlideAnyClient, GlideConfiguration } from './types.js';

/** In ms, until a name counts as not confirmed. */
const SUBSCRIBE_TIMEOUT = 5_000;

/**
 * The ids of the client's connections to the masters. They change with every reconnect, which GLIDE does not
 * report.
 */
export async function connectionIds(client: GlideAnyClient): Promise<string> {
  const command = ['CLIENT', 'ID'];
  if (!(client instanceof GlideClusterClient)) return JSON.stringify(await client.customCommand(command));
  const ids = await client.customCommand(command, { route: 'allPrimaries', decoder: Decoder.String });
  // One pair of address and id a node, in any order.
  return JSON.stringify((ids as unknown[]).map((pair) => JSON.stringify(pair)).sort());
}

/** The error as rollcall's own. */
export function toKnownError(error: unknown): Error {
  return toRollcallError((error instanceof Error ? toServerError(error) : undefined) ?? error);
}

export function isClosingError(error: unknown): boolean {
  return error instanceof Error && error.name === 'ClosingError';
}

/**
 * A client of GLIDE that carries either sharded subscriptions or the others, because its messages do not contain the
 * kind. It counts as ended when its connection was replaced, because messages may have been lost before GLIDE
 * subscribed again.
 */
export class GlidePubSubConnection implements PubSubConnection {
  readonly #configuration: GlideConfiguration;
  readonly #cluster: boolean;
  readonly #sharded: boolean;
  readonly #checkInterval: number;
  readonly #listener: PubSubConnectionListener;
  /** True: payloads as bytes. */
  readonly #names: Record<SubscriptionKind, Map<string, boolean>> = {
    channel: new Map(),
    pattern: new Map(),
    sharded: new Map(),
  };
  #client: GlideAnyClient | undefined;
  #ids = '';
  #timer: NodeJS.Timeout | undefined;
  #destroyed = false;

  constructor(
    configuration: GlideConfiguration,
    { cluster, sharded, checkInterval }: { cluster: boolean; sharded: boolean; checkInterval: number },
    listener: PubSubConnectionListener,
  ) {
    this.#configuration = configuration;
    this.#cluster = cluster;
    this.#sharded = sharded;
    this.#checkInterval = checkInterval;
    this.#listener = listener;
  }

  async connect(): Promise<void> {
    const configuration = {
      ...this.#configuration,
      defaultDecoder: Decoder.Bytes,
      // CLIENT ID has to reach the connection that carries the subscriptions.
      readFrom: 'primary' as const,
      pubsubSubscriptions: {
        channelsAndPatterns: {},
        callback: (message: PubSubMsg) => this.#receive(message),
      },
    };
    const client = this.#cluster
      ? await GlideClusterClient.createClient(configuration as never)
      : await GlideClient.createClient(configuration as never);
    this.#client = client;
    if (this.#destroyed) return client.close();
    try {
      this.#ids = await connectionIds(client);
    } catch (error) {
      client.close();
      throw toKnownError(error);
    }
    this.#schedule();
  }

  async subscribe(kind: SubscriptionKind, names: readonly string[], binary: boolean): Promise<void> {
    const client = this.#requireClient();
    const known = this.#names[kind];
    const added = names.filter((name) => !known.has(name));
    for (const name of names) known.set(name, binary || known.get(name) === true);
    if (added.length === 0) return;
    try {
      await subscribe(client, kind, new Set(added));
      // A connection that was replaced meanwhile may have carried some of the names.
      await this.#assertSameConnection(client);
    } catch (error) {
      for (const name of added) known.delete(name);
      const failure = toKnownError(error);
      if ((error as Error).name !== 'TimeoutError') this.#fail(failure);
      else await this.#forget(client, kind, added);
      throw failure;
    }
  }

  async unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    const client = this.#requireClient();
    const known = names.filter((name) => this.#names[kind].delete(name));
    if (known.length === 0) return;
    try {
      await unsubscribe(client, kind, new Set(known));
    } catch (error) {
      throw toKnownError(error);
    }
  }

  destroy(): void {
    this.#destroyed = true;
    clearTimeout(this.#timer);
    this.#client?.close();
  }

  #receive({ message, channel, pattern }: PubSubMsg): void {
    if (this.#destroyed) return;
    const plain = pattern === undefined || pattern === null;
    const kind = this.#sharded ? 'sharded' : plain ? 'channel' : 'pattern';
    const name = String(plain ? channel : pattern);
    const binary = this.#names[kind].get(name);
    if (binary === undefined) return;
    const bytes = Buffer.from(message as Uint8Array);
    this.#listener.message(kind, name, String(channel), binary ? bytes : bytes.toString());
  }

  async #assertSameConnection(client: GlideAnyClient): Promise<void> {
    if ((await connectionIds(client)) !== this.#ids)
      throw new ConnectionError('GLIDE has replaced the connection');
  }

  /**
   * GLIDE does not report a channel that Redis refuses, and retries until it is unsubscribed. The other names keep
   * their subscriptions.
   */
  async #forget(client: GlideAnyClient, kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    try {
      await unsubscribeLazily(client, kind, new Set(names));
      await this.#assertSameConnection(client);
    } catch (error) {
      this.#fail(toKnownError(error));
    }
  }

  #requireClient(): GlideAnyClient {
    if (this.#client === undefined || this.#destroyed) throw new ConnectionError('the connection is closed');
    return this.#client;
  }

  #schedule(): void {
    if (this.#destroyed) return;
    this.#timer = setTimeout(() => void this.#check(), this.#checkInterval).unref();
  }

  async #check(): Promise<void> {
    try {
      await this.#assertSameConnection(this.#requireClient());
      this.#schedule();
    } catch (error) {
      this.#fail(toKnownError(error));
    }
  }

  #fail(error: Error): void {
    if (this.#destroyed) return;
    if (!(error instanceof CommandError)) this.#listener.failed(error);
    this.#listener.ended();
  }
}

function subscribe(client: GlideAnyClient, kind: SubscriptionKind, names: Set<string>): Promise<void> {
  if (kind === 'channel') return client.subscribe(names, SUBSCRIBE_TIMEOUT);
  if (kind === 'pattern') return client.psubscribe(names, SUBSCRIBE_TIMEOUT);
  return (client as GlideClusterClient).ssubscribe(names, SUBSCRIBE_TIMEOUT);
}

function unsubscribe(client: GlideAnyClient, kind: SubscriptionKind, names: Set<string>): Promise<void> {
  if (kind === 'channel') return client.unsubscribe(names, SUBSCRIBE_TIMEOUT);
  if (kind === 'pattern') return client.punsubscribe(names, SUBSCRIBE_TIMEOUT);
  return (client as GlideClusterClient).sunsubscribe(names, SUBSCRIBE_TIMEOUT);
}

function unsubscribeLazily(
  client: GlideAnyClient,
  kind: SubscriptionKind,
  names: Set<string>,
): Promise<void> {
  if (kind === 'channel') return client.unsubscribeLazy(names);
  if (kind === 'pattern') return client.punsubscribeLazy(names);
  return (client as GlideClusterClient).sunsubscribeLazy(names);
}
