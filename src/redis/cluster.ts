import { ConnectionError } from '../internal/errors.js';
import { type ClusterClientAdapter, withNodeTimeout } from './cluster-node.js';
import { ClusterRouter } from './cluster-router.js';
import { ClusterSubscriber } from './cluster-subscriber.js';
import { ClusterTopology } from './cluster-topology.js';
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

/** Within how many ms a first subscription has to find a node. */
const CONNECT_TIMEOUT = 2_000;

/**
 * Drives a Redis Cluster through connections of its own, one to each master; the client it was given is
 * where their options and the first addresses come from.
 */
export class ClusterDriver implements Driver {
  readonly client: string;
  readonly capabilities: Capabilities;

  readonly #given: ClusterClientAdapter;
  readonly #topology: ClusterTopology;
  readonly #router: ClusterRouter;
  #listener: DriverListener | undefined;
  #subscriber: ClusterSubscriber | undefined;
  /** Whether the servers have SSUBSCRIBE; until one was asked, it is assumed. */
  #sharded = true;
  #askedSharded = false;
  #lastError: Error | undefined;
  #closed = false;

  constructor(given: ClusterClientAdapter) {
    this.#given = given;
    this.client = given.client;
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
    const publishing = () => this.#router.anywhere;
    this.#subscriber = new ClusterSubscriber(this.#given, this.#topology, listener, publishing);
  }

  async connect(): Promise<void> {
    if (this.#closed) throw this.#offline();
    if (!this.ready) {
      await this.#given.connect();
      await this.#topology.discover(() => this.ready);
      if (!this.ready) throw this.#offline();
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
    // Where to subscribe is known only after that.
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
    return this.#subscriber?.probes(base) ?? [];
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#subscriber?.close();
    this.#topology.close();
    this.#given.close();
  }

  async #askSharded(): Promise<void> {
    const [reply] = await this.#router.execute([['COMMAND', 'INFO', 'ssubscribe']]).catch(() => []);
    // A rule may forbid the question; what we use of the answer is only a clear no.
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
