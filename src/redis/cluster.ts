import { ConnectionError } from '../internal/errors.js';
import { type ClusterClientAdapter, withNodeTimeout } from './cluster-node.js';
import { ClusterRouter } from './cluster-router.js';
import { ClusterSubscriber } from './cluster-subscriber.js';
import { ClusterTopology } from './cluster-topology.js';
import { databaseRefusal } from './database.js';
import {
  ALL_CAPABILITIES,
  type Capabilities,
  type Command,
  type Driver,
  type DriverListener,
  type DriverSubscribeOptions,
  type ExecuteOptions,
  type Reply,
  type SubscriptionKind,
} from './driver.js';

/** In ms. */
const CONNECT_TIMEOUT = 2_000;

/**
 * Uses our own connections, one to each master. The user's client provides options and the first addresses.
 */
export class ClusterDriver implements Driver {
  readonly client: string;
  readonly capabilities: Capabilities;
  readonly database: number;

  readonly #given: ClusterClientAdapter;
  readonly #topology: ClusterTopology;
  readonly #router: ClusterRouter;
  #listener: DriverListener | undefined;
  #subscriber: ClusterSubscriber | undefined;
  /** SSUBSCRIBE is available; assumed until a server has answered. */
  #sharded = true;
  #askedSharded = false;
  #lastError: Error | undefined;
  #closed = false;

  constructor(given: ClusterClientAdapter) {
    this.#given = given;
    this.client = given.client;
    this.database = given.database;
    const sharded = () => this.#sharded;
    this.capabilities = {
      ...ALL_CAPABILITIES,
      cluster: true,
      get sharded() {
        return sharded();
      },
    };
    this.#topology = new ClusterTopology(given, {
      changed: () => this.#subscriber?.onSlotsChanged(),
      returned: () => this.#listener?.nodeReturned?.(),
      reachable: () => {
        this.#lastError = undefined;
        this.#listener?.connection('ready');
      },
      unreachable: (cause) => {
        this.#lastError = cause;
        this.#listener?.connection('lost', cause);
      },
    });
    this.#router = new ClusterRouter(this.#topology);
  }

  get ready(): boolean {
    return this.#topology.ready;
  }

  attach(listener: DriverListener): void {
    this.#listener = listener;
    const publishing = () => this.#router.keylessNode;
    this.#subscriber = new ClusterSubscriber(this.#given, this.#topology, listener, publishing);
  }

  async connect(): Promise<void> {
    if (this.#closed) throw this.#offline();
    if (!this.ready) {
      await this.#given.connect();
      const refusal = () => databaseRefusal(this.#lastError, this.database);
      await this.#topology.discover(() => this.ready || refusal() !== undefined);
      if (!this.ready) throw refusal() ?? this.#offline();
    }
    if (!this.#askedSharded) await this.#askSharded();
  }

  async execute(commands: readonly Command[], options?: ExecuteOptions): Promise<Reply[]> {
    if (!this.ready) throw this.#offline();
    return commands.length === 0 ? [] : this.#router.execute(commands, options);
  }

  async subscribe(
    kind: SubscriptionKind,
    names: readonly string[],
    options?: DriverSubscribeOptions,
  ): Promise<void> {
    // The node to subscribe at is known only once the slots are known.
    if (this.#topology.map === undefined)
      await withNodeTimeout(CONNECT_TIMEOUT, 'connecting', this.connect());
    await this.#subscriber?.subscribe(kind, names, options?.binary);
  }

  async unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    await this.#subscriber?.unsubscribe(kind, names);
  }

  resetSubscriptions(kind: SubscriptionKind, cause: Error, name: string): void {
    this.#subscriber?.reset(kind, cause, name);
  }

  probeChannels(base: string): readonly string[] {
    return this.#subscriber?.probeChannels(base) ?? [];
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#subscriber?.close();
    this.#topology.close();
    this.#given.close();
  }

  async #askSharded(): Promise<void> {
    const [reply] = await this.#router.execute([['COMMAND', 'INFO', 'ssubscribe']]).catch(() => []);
    // An ACL rule may refuse COMMAND INFO; only a reply without the command counts as "no".
    if (Array.isArray(reply)) {
      this.#askedSharded = true;
      this.#sharded = Array.isArray(reply[0]) && reply[0].length > 0;
    }
  }

  #offline(): ConnectionError {
    const what = this.#closed ? 'is closed' : 'is not connected';
    const reason = this.#lastError === undefined ? '' : `: ${this.#lastError.message}`;
    return new ConnectionError(`the ${this.client} driver ${what}${reason}`, { cause: this.#lastError });
  }
}
