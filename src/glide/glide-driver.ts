import { Batch, ClusterBatch, Decoder, GlideClusterClient } from '@valkey/valkey-glide';
import { CommandError, ConnectionError, InvalidArgumentError, UnsupportedError } from '../internal/errors.js';
import { assertOptions, numberOption } from '../internal/validate.js';
import { slotOf, slotOfCommand } from '../redis/cluster-slots.js';
import { ConnectionState } from '../redis/connection-state.js';
import {
  ALL_CAPABILITIES,
  type Capabilities,
  type Command,
  type Driver,
  type DriverListener,
  type DriverSubscribeOptions,
  type ExecuteOptions,
  isScriptCall,
  type PlainCommand,
  type Reply,
  type SubscriptionKind,
} from '../redis/driver.js';
import { ScriptRunner } from '../redis/script.js';
import { Subscriber } from '../redis/subscriber.js';
import { CallQueue } from './call-queue.js';
import { connectionIds, GlidePubSubConnection, isClosingError, toKnownError } from './connection.js';
import { GLIDE_OPTION_NAMES } from './option-names.js';
import { toReply, toServerError } from './replies.js';
import type { GlideAnyClient, GlideConfiguration, GlideDriverOptions } from './types.js';

const DEFAULT_CHECK_INTERVAL = 1_000;
/** On a Cluster, plain messages go to the node of this key. GLIDE would choose another node for each. */
const PUBLISHING_KEY = 'rollcall';
/** The queue of batches that belong to no slot, or to several. */
const ANY_SLOT = -1;
/** Until the next attempt while the connection is lost, in ms. */
const RETRY_INTERVAL = 100;

/**
 * A driver on a client of `@valkey/valkey-glide` 2, for one server or a Cluster. Pass it as the option `redis`.
 * `configuration` is what the client was created with: the driver creates clients of its own for subscriptions.
 *
 * @throws `InvalidArgumentError` for an argument that does not fit.
 */
export function createGlideDriver(
  client: GlideAnyClient,
  configuration: GlideConfiguration,
  options?: GlideDriverOptions,
): Driver {
  if (typeof client?.customCommand !== 'function' || typeof client.exec !== 'function') {
    throw new InvalidArgumentError('client', 'must be a GlideClient or a GlideClusterClient');
  }
  if (!Array.isArray(configuration?.addresses)) {
    throw new InvalidArgumentError(
      'configuration',
      'must be the configuration of the client, with addresses',
    );
  }
  assertOptions('options', options, GLIDE_OPTION_NAMES);
  const checkInterval = numberOption('checkInterval', options?.checkInterval, DEFAULT_CHECK_INTERVAL, {
    min: 10,
    max: 60_000,
  });
  return new GlideDriver(client, configuration, checkInterval);
}

class GlideDriver implements Driver {
  readonly client = 'valkey-glide';
  readonly capabilities: Capabilities;
  readonly database: number;
  readonly #given: GlideAnyClient;
  readonly #configuration: GlideConfiguration;
  readonly #checkInterval: number;
  readonly #state = new ConnectionState('valkey-glide');
  readonly #scripts = new ScriptRunner();
  readonly #subscribers: Subscriber[] = [];
  /** By slot. */
  readonly #queues = new Map<number, CallQueue>();
  #ids: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #checking = false;
  #closed = false;

  constructor(client: GlideAnyClient, configuration: GlideConfiguration, checkInterval: number) {
    this.#given = client;
    this.#configuration = configuration;
    this.#checkInterval = checkInterval;
    this.database = configuration.databaseId ?? 0;
    const cluster = client instanceof GlideClusterClient;
    // GLIDE has no sharded channels on a single server.
    this.capabilities = { ...ALL_CAPABILITIES, cluster, sharded: cluster };
  }

  get ready(): boolean {
    return this.#state.ready;
  }

  attach(listener: DriverListener): void {
    this.#state.attach((state, cause) => listener.connection(state, cause));
    const { cluster } = this.capabilities;
    for (const sharded of cluster ? [false, true] : [false]) {
      const options = { cluster, sharded, checkInterval: this.#checkInterval };
      this.#subscribers.push(
        new Subscriber(
          this.client,
          (events) => new GlidePubSubConnection(this.#configuration, options, events),
          listener,
        ),
      );
    }
  }

  async connect(): Promise<void> {
    if (this.ready) return;
    const ready = this.#state.whenReady();
    void this.#check();
    await ready;
  }

  async execute(commands: readonly Command[], options: ExecuteOptions = {}): Promise<Reply[]> {
    if (!this.ready) throw this.#state.createOfflineError();
    if (commands.length === 0) return [];
    const published = this.#isSplit(options) ? commands.filter(isPublish) : [];
    if (published.length === 0) return this.#state.track(this.#enqueue(commands, options));
    const others = commands.filter((command) => !isPublish(command));
    const [counts, replies] = await Promise.all([
      this.#state.track(this.#enqueue(published, { ...options, key: PUBLISHING_KEY })),
      others.length === 0 ? [] : this.#state.track(this.#enqueue(others, options)),
    ]);
    return commands.map((command) => (isPublish(command) ? counts : replies).shift() as Reply);
  }

  async subscribe(
    kind: SubscriptionKind,
    names: readonly string[],
    options?: DriverSubscribeOptions,
  ): Promise<void> {
    const subscriber = this.#subscriberFor(kind);
    if (subscriber === undefined) throw new UnsupportedError('GLIDE has sharded channels on a Cluster only');
    await subscriber.subscribe(kind, names, options?.binary);
  }

  async unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    await this.#subscriberFor(kind)?.unsubscribe(kind, names);
  }

  resetSubscriptions(kind: SubscriptionKind, cause: Error): void {
    this.#subscriberFor(kind)?.reset(cause);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const subscriber of this.#subscribers) subscriber.close();
    this.#rejectWaiting();
    this.#state.end();
  }

  #subscriberFor(kind: SubscriptionKind): Subscriber | undefined {
    return this.#subscribers[kind === 'sharded' ? 1 : 0];
  }

  /** Whether plain messages go to another node than the other commands. */
  #isSplit({ key, atomic }: ExecuteOptions): boolean {
    return this.capabilities.cluster && key === undefined && atomic !== true;
  }

  /** Commands of one slot stay in order; on one server all do. */
  async #enqueue(commands: readonly Command[], options: ExecuteOptions): Promise<Reply[]> {
    const slot = this.capabilities.cluster ? slotOfBatch(commands, options) : ANY_SLOT;
    let queue = this.#queues.get(slot);
    if (queue === undefined) {
      queue = new CallQueue((batch, each) =>
        this.#scripts.run(batch, (plain) => this.#send(plain, each), each.atomic === true),
      );
      this.#queues.set(slot, queue);
    }
    try {
      return await queue.run(commands, options);
    } finally {
      if (queue.idle && this.#queues.get(slot) === queue) this.#queues.delete(slot);
    }
  }

  async #send(commands: readonly PlainCommand[], options: ExecuteOptions): Promise<Reply[]> {
    const { atomic = false, buffers = false, key } = options;
    const decoder = buffers ? Decoder.Bytes : Decoder.String;
    try {
      const replies = await (this.#given instanceof GlideClusterClient
        ? this.#given.exec(fill(new ClusterBatch(atomic), commands), false, {
            decoder,
            ...(key === undefined ? {} : { route: { type: 'primarySlotKey', key } }),
          })
        : this.#given.exec(fill(new Batch(atomic), commands), false, { decoder }));
      // Null stands for a transaction that was discarded.
      if (replies === null) throw new CommandError('the transaction was discarded');
      return replies.map(toReply);
    } catch (error) {
      throw this.#toFailure(error);
    }
  }

  #toFailure(error: unknown): Error {
    if (error instanceof CommandError || (error instanceof Error && toServerError(error) !== undefined)) {
      return toKnownError(error);
    }
    const { message } = error as Error;
    // GLIDE refuses commands beyond `inflightRequestsLimit` without sending them.
    if (/inflight/i.test(message)) return new ConnectionError(message, { cause: error });
    this.#lose(error);
    return new ConnectionError(message, { cause: error, outcome: 'unknown' });
  }

  /** The connection is not usable, or does not answer. Asks until it is. */
  #lose(error: unknown): void {
    if (this.#closed) return;
    this.#state.setError(error);
    this.#rejectWaiting();
    if (isClosingError(error)) return this.#state.endByOwner();
    this.#state.down();
    this.#schedule(RETRY_INTERVAL);
  }

  #rejectWaiting(): void {
    const { message } = this.#state.createOfflineError();
    const error = new ConnectionError(message, { cause: this.#state.lastError });
    for (const queue of this.#queues.values()) queue.rejectWaiting(error);
  }

  async #check(): Promise<void> {
    if (this.#checking || this.#closed) return;
    this.#checking = true;
    clearTimeout(this.#timer);
    try {
      const ids = await connectionIds(this.#given);
      this.#checking = false;
      if (this.#closed) return;
      if (this.#ids !== ids) {
        // Commands in flight may have been lost with the connection before.
        if (this.ready) this.#state.down();
        this.#scripts.reset();
        this.#ids = ids;
      }
      this.#state.up();
      this.#schedule(this.#checkInterval);
    } catch (error) {
      this.#checking = false;
      this.#lose(error);
    }
  }

  #schedule(delay: number): void {
    clearTimeout(this.#timer);
    if (!this.#closed) this.#timer = setTimeout(() => void this.#check(), delay).unref();
  }
}

function fill<T extends Batch | ClusterBatch>(batch: T, commands: readonly PlainCommand[]): T {
  for (const command of commands) batch.customCommand([...command]);
  return batch;
}

function slotOfBatch(commands: readonly Command[], { key }: ExecuteOptions): number {
  if (key !== undefined) return slotOf(key);
  const slots = new Set(commands.map(slotOfCommand));
  const [slot] = slots;
  return slots.size === 1 && slot !== undefined ? slot : ANY_SLOT;
}

function isPublish(command: Command): boolean {
  return !isScriptCall(command) && command[0].toUpperCase() === 'PUBLISH';
}
