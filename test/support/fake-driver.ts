import { CommandError, ConnectionError } from '../../src/internal/errors.js';
import {
  ALL_CAPABILITIES,
  type Capabilities,
  type Command,
  type Driver,
  type DriverListener,
  type DriverSubscribeOptions,
  type ExecuteOptions,
  type Payload,
  type Reply,
  SUBSCRIPTION_KINDS,
  type SubscriptionKind,
} from '../../src/redis/driver.js';
import { type Deferred, deferred } from './wait.js';

/** A call of the driver that the test has yet to answer. */
export class FakeCall {
  settled = false;
  readonly answer: Deferred<Reply[]> = deferred();

  constructor(
    readonly method: 'connect' | 'execute' | 'subscribe' | 'unsubscribe',
    readonly kind: SubscriptionKind,
    readonly names: readonly string[],
    readonly commands: readonly Command[],
    readonly options: ExecuteOptions | undefined,
    readonly binary: boolean,
    readonly onAnswered: (call: FakeCall) => void,
  ) {}

  /** Redis replies. */
  ack(replies: Reply[] = []): void {
    this.onAnswered(this);
    this.answer.resolve(replies);
  }

  /** Redis refuses the call. */
  refuse(message = 'NOPERM no permission'): void {
    this.fail(new CommandError(`Redis refused: ${message}`));
  }

  /** The connection breaks during the call. By the rules of the port that completes UNSUBSCRIBE. */
  interrupt(outcome: 'failed' | 'unknown' = 'unknown'): void {
    if (this.method === 'unsubscribe') this.ack();
    else this.fail(new ConnectionError('the connection broke', { outcome }));
  }

  fail(error: Error): void {
    this.settled = true;
    this.onAnswered(this);
    this.answer.reject(error);
  }
}

/** A driver whose replies and events a test controls. */
export class FakeDriver implements Driver {
  readonly client = 'fake';
  readonly capabilities: Capabilities;
  ready = true;
  closed = 0;
  /** Answers each call automatically, for tests of other things. */
  onCall: ((call: FakeCall) => void) | undefined;
  /** Every call so far, in order. */
  readonly calls: FakeCall[] = [];
  /** The subscriptions in Redis, as `kind name`. */
  readonly known = new Set<string>();
  /** Violations of the rules of the port by the callers of the driver. */
  readonly breaches: string[] = [];
  readonly #busy = new Set<string>();
  readonly #pending = new Set<FakeCall>();
  #listener: DriverListener | undefined;

  constructor(capabilities: Partial<Capabilities> = {}) {
    this.capabilities = { ...ALL_CAPABILITIES, ...capabilities };
  }

  /** Calls that wait for an answer, oldest first. */
  get pending(): FakeCall[] {
    return [...this.#pending];
  }

  /** The one call that waits for an answer. */
  get only(): FakeCall {
    const [call, ...more] = this.#pending;
    if (call === undefined || more.length > 0) throw new Error(`${this.#pending.size} calls are pending`);
    return call;
  }

  attach(listener: DriverListener): void {
    if (this.#listener !== undefined) this.breaches.push('attached twice');
    this.#listener = listener;
  }

  async connect(): Promise<void> {
    await this.#call('connect', 'channel', [], []);
  }

  async execute(commands: readonly Command[], options?: ExecuteOptions): Promise<Reply[]> {
    if (!this.ready) throw new ConnectionError('not connected');
    return this.#call('execute', 'channel', [], commands, options);
  }

  async subscribe(
    kind: SubscriptionKind,
    names: readonly string[],
    options?: DriverSubscribeOptions,
  ): Promise<void> {
    await this.#call('subscribe', kind, names, [], undefined, options?.binary);
  }

  async unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    await this.#call('unsubscribe', kind, names, []);
  }

  /** Kinds given up so far. */
  readonly resets: SubscriptionKind[] = [];

  resetSubscriptions(kind: SubscriptionKind, cause: Error): void {
    this.resets.push(kind);
    this.drop(cause, kind);
  }

  async close(): Promise<void> {
    this.closed++;
    this.ready = false;
  }

  /** Receives a message for `name`. */
  message(kind: SubscriptionKind, name: string, payload: Payload, channel = name): void {
    this.#listener?.message(kind, name, channel, payload);
  }

  /** The connection for commands changes. */
  connection(state: 'ready' | 'lost' | 'ended', cause?: Error): void {
    this.ready = state === 'ready';
    this.#listener?.connection(state, cause);
  }

  /** A node of the cluster is there that was not. */
  returned(): void {
    this.#listener?.nodeReturned?.();
  }

  /** A subscribed connection breaks: of these kinds, or of all. SUBSCRIBEs under way are interrupted. */
  drop(cause: Error = new ConnectionError('gone'), ...kinds: SubscriptionKind[]): void {
    const all = kinds.length === 0 ? SUBSCRIPTION_KINDS : kinds;
    for (const kind of all) {
      const calls = this.pending.filter((call) => call.kind === kind && call.names.length > 0);
      for (const call of calls) call.interrupt();
      const mark = `${kind} `;
      const names = [...this.known]
        .filter((key) => key.startsWith(mark))
        .map((key) => key.slice(mark.length));
      for (const name of names) this.known.delete(mark + name);
      if (names.length > 0) this.#listener?.dropped(kind, names, cause);
    }
  }

  #call(
    method: FakeCall['method'],
    kind: SubscriptionKind,
    names: readonly string[],
    commands: readonly Command[],
    options?: ExecuteOptions,
    binary = false,
  ): Promise<Reply[]> {
    const keys = names.map((name) => `${kind} ${name}`);
    for (const key of keys) {
      if (this.#busy.has(key)) this.breaches.push(`two commands under way for ${key}`);
      this.#busy.add(key);
    }
    if (new Set(keys).size < keys.length) this.breaches.push(`a name twice in one ${method}`);
    const call = new FakeCall(method, kind, names, commands, options, binary, (settled) => {
      this.#pending.delete(settled);
      for (const key of keys) {
        this.#busy.delete(key);
        if (settled.settled) continue;
        if (method === 'subscribe') this.known.add(key);
        if (method === 'unsubscribe') this.known.delete(key);
      }
      settled.settled = true;
    });
    this.calls.push(call);
    this.#pending.add(call);
    this.onCall?.(call);
    return call.answer.promise;
  }
}
